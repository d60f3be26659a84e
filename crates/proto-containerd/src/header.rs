//! The names of the metadata that every request may carry.

/// The namespace of the request.
pub const NAMESPACE: &str = "containerd-namespace";
/// The same for ttrpc; clients of gRPC send both.
pub const NAMESPACE_TTRPC: &str = "containerd-namespace-ttrpc";
/// The lease that is to keep what the request creates.
pub const LEASE: &str = "containerd-lease";
/// Ours: the cursor of the last event that a subscriber knows; it gets those after it.
pub const SINCE: &str = "since";
/// The longest message in either direction.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
