//! Docker's Engine API over the engine.
#![forbid(unsafe_code)]
