//! `containerd.services.sandbox.v1`.

pub(crate) mod controller;
pub(crate) mod store;
