//! The shim's parts: `docs/design/0004-shim.md` is the protocol of record.
#![forbid(unsafe_code)]

pub mod streams;
