//! From an image's configuration and a container's options to the OCI runtime's configuration; pure.
#![forbid(unsafe_code)]
