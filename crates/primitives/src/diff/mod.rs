//! Layers of mounts, and mounts of layers: containerd's diff service.

mod apply;
mod create;
mod snapshot;
pub(crate) mod view;

pub use create::DiffRequest;
pub use snapshot::SnapshotLayer;
