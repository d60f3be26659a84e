//! The snapshotter contract, its drivers and its conformance suite.
#![forbid(unsafe_code)]
