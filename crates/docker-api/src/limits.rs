//! How much of anything a client may send, and a server tell.

/// The largest body that is one JSON value, in bytes.
pub const MAX_JSON_BODY: usize = 4 << 20;
/// The largest value of [`crate::header::REGISTRY_AUTH`] and [`crate::header::REGISTRY_CONFIG`], in bytes.
pub const MAX_AUTH_HEADER: usize = 64 << 10;
/// The longest text of filters, in bytes.
pub const MAX_FILTERS: usize = 64 << 10;
/// How many keys and values filters may have together.
pub const MAX_FILTER_VALUES: usize = 1024;
/// The longest name of a container, a volume or a network, in bytes.
pub const MAX_NAME: usize = 255;
/// The longest message of a stream, in bytes.
pub const MAX_MESSAGE: usize = 1 << 20;
/// How many ports one range may name, on either side.
pub const MAX_PORT_RANGE: usize = 65_536;
/// The longest specification of a mount, in bytes.
pub const MAX_MOUNT: usize = 16 << 10;
