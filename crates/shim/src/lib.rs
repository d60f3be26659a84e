//! A pod's parent.
#![forbid(unsafe_code)]

pub mod metrics;
