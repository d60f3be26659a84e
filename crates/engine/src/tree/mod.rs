//! The files of containers: `cp` in both directions, `export`, `diff`, sizes, and what an image gives to a new volume.
//!
//! Doors call the methods of [`Engine`] that are here; `container` calls [`Engine::copy_up`].
//!
//! ```text
//! running, paused  ─► /proc/<pid>/root of its first process ─┐
//! else, own door   ─► its snapshot and volumes, mounted in a ├─► Root: a descriptor ─► openat2(2), RESOLVE_IN_ROOT
//!                     namespace that nobody else sees        │
//! else, others'    ─► its snapshot, for reading alone ───────┘
//! ```
//! Containers are adversaries, running ones above all. Their paths are never resolved by their texts on the host, but below the
//! descriptor of their root (CVE-2018-15664, CVE-2019-18466); what is mounted for a while is mounted upon descriptors
//! (CVE-2026-41568, CVE-2026-42306); nothing of theirs is ever executed or loaded, so that neither a library (CVE-2019-14271) nor
//! a decompressor (CVE-2026-41567) of theirs can be called: archives are read and written by `gantry_layer` in this process.
//! An upper directory that is mounted is not mounted a second time: the gate of a container that does not run is held meanwhile.

mod asked;
mod changes;
mod copy_up;
mod get;
mod process;
mod put;
mod root;
mod size;
mod stat;
mod stopped;
#[cfg(test)]
mod tests;

pub use changes::{FileChange, FileChangeKind};
pub(crate) use copy_up::settle;
pub use put::{Overwrite, Ownership, PutOptions};
pub use size::Sizes;
pub use stat::FileStat;

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::{Engine, Error, Result};

/// The error of an archive.
fn archive(error: gantry_layer::Error) -> Error {
    Error::Store(error.into())
}

/// The error of a system call on a container's file.
fn failed(action: &'static str, path: impl AsRef<std::path::Path>) -> impl FnOnce(Errno) -> Error {
    let failed = Error::io(action, path);
    move |errno| failed(errno.into())
}

/// Opens a path below a root, with `O_PATH` and what `flags` say beyond it.
fn open_in(
    root: BorrowedFd<'_>,
    path: &std::ffi::CStr,
    flags: rustix::fs::OFlags,
) -> std::result::Result<std::os::fd::OwnedFd, Errno> {
    gantry_sys::path::open_in_root(root, path, rustix::fs::OFlags::PATH | flags)
}

impl Engine {
    /// Where the snapshot of a container is.
    async fn snapshot_of(
        &self,
        container: &crate::Container,
    ) -> Result<(gantry_primitives::Context, String, String)> {
        let (namespace, id) = container.key();
        let context = gantry_primitives::Context::new(namespace.clone());
        if container.owner == crate::Owner::Docker {
            return Ok((context, self.snapshotter().to_owned(), id));
        }
        let stored = self.shared.store.container_get(namespace, id).await?;
        Ok((context, stored.snapshotter, stored.snapshot_key))
    }
}
