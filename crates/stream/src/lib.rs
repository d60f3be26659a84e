//! Framings of hijacked streams; bytes only.
#![forbid(unsafe_code)]
