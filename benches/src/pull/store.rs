//! A directory of one engine for one pull.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A new tmpfs; on drop it goes with whatever was mounted below it.
#[derive(Debug)]
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one at `path`, which is made if it is not there.
    pub(crate) fn mount(path: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
        // Inodes enough for 100,000 snapshots.
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), c"size=80%,nr_inodes=4000000,mode=755")
            .map_err(|errno| format!("a tmpfs at {}: {errno} (this needs root)", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        for mounted in gantry_testkit::mounts_below(&self.0).iter().rev() {
            let _ = unmount(mounted, UnmountFlags::DETACH);
        }
    }
}
