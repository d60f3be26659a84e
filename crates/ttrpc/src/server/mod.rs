//! The side that answers.
mod connection;
mod serve;

pub use connection::{Call, Connection, MAX_CALLS, MAX_OUTPUT_BYTES, PAUSE_BYTES, Suspended};
pub use serve::{Server, serve};
