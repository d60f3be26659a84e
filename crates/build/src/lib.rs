//! Dockerfiles: parsed, and built by the engine.
#![forbid(unsafe_code)]
