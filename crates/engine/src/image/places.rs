//! What a container's start has made in its files for mounts that every container has, and that no image should have.
//!
//! Where an image has no `/proc`, `/etc/hosts` and so on, the runtime makes them empty in the container's upper directory. While the
//! container runs they are mounted over, so that whatever is at these paths in the upper directory afterwards was made for the
//! mount. It is removed before a build makes a layer of the rest, as dockerd's layers have none of it either.
//!
//! The container's program may have moved the directories that they are in, and put links in their place: nothing is looked up
//! through a link, and only what is empty is removed (CVE-2024-23652).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use gantry_sys::path::open_beneath;
use gantry_types::{Digest, Mount};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fgetxattr, openat, statat, unlinkat};
use rustix::io::Errno;

use super::{Afterwards, ConfigRequest, FoundImage, SnapshotImage};
use crate::{Container, Engine, Error, Result};

/// Files in `/etc`.
const FILES: [&CStr; 3] = [c"hostname", c"hosts", c"resolv.conf"];
/// Their directory.
const ETC: &CStr = c"etc";
/// Directories of the root.
const DIRECTORIES: [&CStr; 3] = [c"dev", c"proc", c"sys"];
/// Says of a directory that it hides what is below.
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

impl Engine {
    /// Makes an image of a container that has ended, as a step of a build: without what its start made for its mounts. A container
    /// that gives its files away cannot be started again.
    ///
    /// # Errors
    /// Conflict for a container that runs; what the store and the kernel say.
    pub async fn image_from_container(
        &self,
        container: &Arc<Container>,
        parent: FoundImage,
        image: ConfigRequest,
        afterwards: Afterwards,
    ) -> Result<Digest> {
        container.require_own()?;
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned("making an image", async move {
            // Nobody starts it meanwhile.
            let _gate = container.gate.lock().await;
            if container.record().state.status.is_alive() {
                return Err(Error::Conflict(format!("container {} is running", container.id)));
            }
            let (snapshotter, snapshot) = (engine.snapshotter().to_owned(), container.id.clone());
            let store = &engine.shared.store;
            let mounts = store.snapshot_mounts(engine.context(), snapshotter, snapshot.clone()).await?;
            engine.blocking("cleaning a container's files", move || clean(&mounts)).await?;
            let request = SnapshotImage { snapshot, parent: Some(parent), image, afterwards };
            engine.image_from_snapshot(request).await
        })
        .await
    }
}

fn failed(action: &'static str) -> impl FnOnce(Errno) -> Error {
    let failed = Error::io(action, "the files of a container");
    move |errno| failed(errno.into())
}

fn open(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(failed("opening"))
}

fn clean(mounts: &[Mount]) -> Result<()> {
    let [mount] = mounts else { return Ok(()) };
    if mount.kind != "overlay" {
        // A snapshot without layers: its files are its own.
        return Ok(());
    }
    let option = |name: &str| mount.options.iter().find_map(|option| option.strip_prefix(name));
    let Some(upper) = option("upperdir=") else { return Ok(()) };
    let upper = open(upper)?;
    for name in DIRECTORIES {
        remove_empty(upper.as_fd(), name, FileType::Directory)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let etc = match open_beneath(upper.as_fd(), ETC, flags) {
        Ok(etc) => etc,
        // Not in this layer, or a link now.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(errno) => return Err(failed("opening")(errno)),
    };
    for name in FILES {
        remove_empty(etc.as_fd(), name, FileType::RegularFile)?;
    }
    let lower = option("lowerdir=").unwrap_or_default();
    if is_copy(&upper, &etc, lower)? {
        remove_empty(upper.as_fd(), ETC, FileType::Directory)?;
    }
    Ok(())
}

/// Removes a file or directory of a kind, if there is nothing in it.
fn remove_empty(dir: BorrowedFd<'_>, name: &CStr, kind: FileType) -> Result<()> {
    let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat.map_err(failed("looking at"))?,
    };
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Ok(());
    }
    let flags = match kind {
        FileType::Directory => AtFlags::REMOVEDIR,
        _ if stat.st_size == 0 && stat.st_nlink == 1 => AtFlags::empty(),
        _ => return Ok(()),
    };
    match unlinkat(dir, name, flags) {
        Err(Errno::NOTEMPTY) => Ok(()),
        result => result.map_err(failed("removing")),
    }
}

/// Whether a directory of the upper layer says nothing that the next one below does not: it is there only for what is in it.
fn is_copy(upper: &OwnedFd, dir: &OwnedFd, lower: &str) -> Result<bool> {
    if OPAQUE.iter().any(|name| fgetxattr(dir, *name, &mut [0_u8; 8][..]).is_ok()) {
        return Ok(false);
    }
    let own = statat(upper, ETC, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("looking at"))?;
    for path in lower.split(':').filter(|path| !path.is_empty()) {
        let below = match statat(open(path)?, ETC, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            below => below.map_err(failed("looking at"))?,
        };
        let is_dir = FileType::from_raw_mode(below.st_mode) == FileType::Directory;
        let of = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
        return Ok(!is_dir || of(&own) == of(&below));
    }
    // Nobody else has it: it was made for what was in it.
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mounted(upper: &std::path::Path, lower: &std::path::Path) -> Vec<Mount> {
        let options = vec![format!("upperdir={}", upper.display()), format!("lowerdir={}", lower.display())];
        vec![Mount { kind: "overlay".into(), source: "overlay".into(), target: String::new(), options }]
    }

    fn directories() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (upper, lower) = (dir.path().join("upper"), dir.path().join("lower"));
        for path in [upper.join("proc"), upper.join("etc"), lower.join("etc")] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(upper.join("etc/hosts"), "").unwrap();
        (dir, upper, lower)
    }

    #[test]
    fn what_was_made_for_mounts_goes() {
        let (_dir, upper, lower) = directories();
        clean(&mounted(&upper, &lower)).unwrap();
        assert_eq!(fs::read_dir(&upper).unwrap().count(), 0);
    }

    #[test]
    fn what_a_program_has_made_stays() {
        let (_dir, upper, lower) = directories();
        fs::write(upper.join("etc/own"), "").unwrap();
        fs::write(upper.join("etc/resolv.conf"), "x").unwrap();
        clean(&mounted(&upper, &lower)).unwrap();
        assert!(upper.join("etc/own").exists() && upper.join("etc/resolv.conf").exists());
        assert!(!upper.join("etc/hosts").exists() && !upper.join("proc").exists());
        let (_dir, upper, lower) = directories();
        fs::set_permissions(upper.join("etc"), fs::Permissions::from_mode(0o700)).unwrap();
        clean(&mounted(&upper, &lower)).unwrap();
        assert!(upper.join("etc").exists());
    }

    #[test]
    fn cve_2024_23652_links_of_a_program_lead_nowhere() {
        let (dir, upper, lower) = directories();
        let host = dir.path().join("host");
        fs::create_dir_all(host.join("empty")).unwrap();
        fs::write(host.join("hosts"), "").unwrap();
        fs::rename(upper.join("etc"), upper.join("moved")).unwrap();
        symlink(&host, upper.join("etc")).unwrap();
        fs::remove_dir(upper.join("proc")).unwrap();
        symlink(host.join("empty"), upper.join("proc")).unwrap();
        clean(&mounted(&upper, &lower)).unwrap();
        assert!(host.join("hosts").exists() && host.join("empty").exists());
        assert!(upper.join("proc").is_symlink());
    }
}
