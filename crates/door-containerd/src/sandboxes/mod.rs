//! `containerd.services.sandbox.v1`.

pub(crate) mod store;
