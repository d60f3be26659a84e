//! The side that calls.
mod blocking;
mod calls;

pub use blocking::{CallError, Client};
pub use calls::{Answer, Calls, Options, RequestError};
