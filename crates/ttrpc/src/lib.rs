//! ttrpc: calls over a local socket, as containerd and its shims make them.
//!
//! ```text
//!   u32 length (big endian) | u32 stream | u8 type | u8 flags | length bytes
//!   request, stream 1 ──►     service, method, payload, timeout, metadata
//!   request, stream 3 ──►
//!                     ◄── response, stream 3     status or payload
//!                     ◄── response, stream 1
//! ```
//! A client's streams are odd and grow; each has one request and one response, in any order.
//!
//! [`server::Connection`] and [`client::Calls`] take and give bytes, and know no socket: the shim drives them from its epoll
//! loop. [`client::Client`] and [`server::serve`] are the same with a thread, for tests, benchmarks and simple daemons.
//!
//! Streaming methods are deliberately absent: no service of a shim's has one. What a frame's sender gets wrong is answered as
//! Go's implementation (containerd/ttrpc 1.2) answers it. Memory is bounded by [`frame::MAX_MESSAGE_BYTES`],
//! [`server::MAX_CALLS`] and [`server::MAX_OUTPUT_BYTES`], and an idle connection holds none.
#![forbid(unsafe_code)]

pub mod client;
pub mod frame;
pub mod message;
mod output;
pub mod server;
pub mod status;

pub use client::{CallError, Client};
pub use status::{Code, Status};
