//! What a container takes of the disk: `ps --size`, `inspect --size`.

use std::sync::Arc;

use crate::{Container, Engine, Result};

/// The most layers below a container, as the store has it.
const MAX_LAYERS: usize = 1024;

/// Bytes on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// What the container wrote.
    pub rw: u64,
    /// That and its image.
    pub root_fs: u64,
}

impl Engine {
    /// What a container takes of the disk, without volumes.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn container_sizes(&self, container: &Arc<Container>) -> Result<Sizes> {
        let (context, snapshotter, key) = self.snapshot_of(container).await?;
        let store = &self.shared.store;
        let rw = store.snapshot_usage(context.clone(), snapshotter.clone(), key.clone()).await?.size;
        let mut root_fs = rw;
        let mut next = store.snapshot_stat(context.clone(), snapshotter.clone(), key).await?.parent;
        for _ in 0..MAX_LAYERS {
            let Some(parent) = next else { break };
            let layer = store.snapshot_stat(context.clone(), snapshotter.clone(), parent).await?;
            root_fs = root_fs.saturating_add(layer.usage.size);
            next = layer.parent;
        }
        Ok(Sizes { rw, root_fs })
    }
}
