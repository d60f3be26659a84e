//! HTTP as Docker's API needs it: HTTP/1.1 with connections that are taken over (`Upgrade: tcp`, or without any word of it).
//!
//! ```text
//! Listener ─► Socket ─► first bytes ─┬─ "PRI * HTTP/2.0": gRPC of builders, refused (h2.rs)
//!                                    └─ hyper's HTTP/1.1 ─► Call ─► route.rs ─► Answer
//!                                                                                │ hijacked: hyper's part ends,
//!                                                                                ▼ bytes both ways (hijack.rs)
//! ```

mod answer;
mod body;
mod call;
mod connection;
mod h2;
mod hijack;
mod listener;
mod query;
mod received;
mod socket;

pub(crate) use answer::{Answer, Outcome, Sender};
pub(crate) use body::{Body, Broken};
pub(crate) use call::Call;
#[cfg(feature = "fuzzing")]
pub(crate) use call::read_json;
pub(crate) use h2::NO_BUILDKIT;
pub(crate) use hijack::{Hijack, Wire};
pub use listener::Listener;
#[cfg(feature = "fuzzing")]
pub(crate) use query::Query;
pub(crate) use received::Received;

/// A path without percent signs.
pub(crate) fn decode_path(path: &str) -> Result<std::borrow::Cow<'_, str>, crate::failure::Failure> {
    query::decode(path, query::Plus::IsPlus)
}

/// How much of anything a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// The longest head of a request, in bytes. Credentials of several registries are in one.
    pub head_bytes: usize,
    /// The longest path and query, in bytes.
    pub target_bytes: usize,
    /// The longest body that is one JSON value, in bytes.
    pub json_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            head_bytes: 256 << 10,
            target_bytes: 60 << 10,
            json_bytes: gantry_docker_api::limits::MAX_JSON_BODY,
        }
    }
}
