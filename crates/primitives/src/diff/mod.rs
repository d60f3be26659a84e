//! Layers of mounts, and mounts of layers: containerd's diff service.

mod apply;
mod create;
pub(crate) mod view;

pub use create::DiffRequest;
