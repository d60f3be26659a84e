//! containerd's gRPC services over the primitives.
#![forbid(unsafe_code)]
