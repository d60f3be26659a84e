//! The distribution client: resolve, pull, push, authentication, mirrors.
#![forbid(unsafe_code)]
