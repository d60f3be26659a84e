//! containerd's gRPC services over the primitives: a projection, one to one; and the ttrpc service to which shims report.
//!
//! `gantryd` gives it a store, a listener and who it is; every service is a module. Wire types are translated in `from_proto.rs`
//! and `into_proto.rs`, errors in `status.rs`. The services are those of containerd v2.2 ([`VERSION`]); what a request's
//! metadata says is read in `request.rs`.
//!
//! What it never does: it holds no state but open streams, makes no decision that the primitives could make, opens no socket,
//! and knows no other door.
#![forbid(unsafe_code)]

mod batch;
mod containers;
mod content;
mod diff;
mod events;
mod forward;
mod from_proto;
mod health;
mod images;
mod into_proto;
mod introspection;
mod leases;
mod mounts;
mod namespaces;
mod observe;
mod oversize;
mod request;
mod sandboxes;
mod serve;
mod snapshots;
mod status;
mod streaming;
mod tasks;
mod time;
mod transfer;
mod version;

pub use forward::serve_events;
pub use http::HeaderMap;
pub use introspection::{About, Proxy};
pub use observe::Observer;
pub use serve::{Door, Limits};
pub use tonic::Code;
pub use version::VERSION;
