//! Tasks without a daemon and without containers: what shims do that are not ours.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code")]

mod burial;
mod hanging;
