//! containerd's gRPC messages and services: layouts only.
#![forbid(unsafe_code)]
