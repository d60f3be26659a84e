//! Archives into a container: docker's `PUT /containers/<id>/archive`.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use gantry_layer::{
    ApplyOptions, Compression, Error as LayerError, Inflate, InflateLimits, Replace, Target, Whiteouts, apply,
};
use rustix::fs::{AtFlags, FileType, OFlags, StatVfsMountFlags, StatxFlags, fstat, fstatvfs, statx};
use rustix::io::Errno;

use super::asked::Asked;
use super::root::{Root, Wanted};
use super::{archive, failed, open_in};
use crate::image::ByteSource;
use crate::{Container, Engine, Error, Result};

const ROOTFS: &str = "container rootfs";
const VOLUME: &str = "mounted volume";

/// What may come instead of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Anything instead of anything.
    #[default]
    Anything,
    /// No directory instead of what is none, and no other way round.
    SameKind,
}

/// Whose the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// Those that the archive names.
    #[default]
    Archive,
    /// The user's of the container, if it has one.
    User,
}

/// How an archive is put into a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PutOptions {
    /// What may come instead of what.
    pub overwrite: Overwrite,
    /// Whose the files are.
    pub ownership: Ownership,
}

impl Engine {
    /// Unpacks an archive, whatever its compression, in a directory of a container. Links on the way to it are
    /// followed in the container. What was unpacked before an error stays.
    ///
    /// # Errors
    /// NotFound for the directory; Invalid for what is none, and for archives; PermissionDenied for what is read-only; Foreign
    /// for a container of another door that does not run.
    pub async fn archive_put(
        &self,
        container: &Arc<Container>,
        path: &str,
        options: PutOptions,
        source: ByteSource,
    ) -> Result<()> {
        let asked = Asked::parse(path)?;
        let record = container.record();
        let unpack = move |root: &Root| {
            let dir = directory(root.as_fd(), &asked, &record.name)?;
            check_writable(root.as_fd(), &dir)?;
            let owner = match options.ownership {
                Ownership::User if !record.process.user.is_empty() => {
                    let user = crate::container::user_of(&record.process.user, &[], Some(root.dir()))?.user;
                    Some((user.uid, user.gid))
                }
                _ => None,
            };
            let replace = match options.overwrite {
                Overwrite::Anything => Replace::Anything,
                Overwrite::SameKind => Replace::SameKind,
            };
            let base = asked.path.to_bytes().to_vec();
            let options = ApplyOptions { owner, base, replace, ..ApplyOptions::default() };
            match root.shift() {
                None => put(root.as_fd(), source, &options),
                Some(shift) => {
                    let owner = owner.map(|owner| shift.on_host(owner)).transpose()?;
                    let options = ApplyOptions { owner, id_map: Some(shift.map().clone()), ..options };
                    shift.as_owner(|| put(root.as_fd(), source, &options))
                }
            }
        };
        self.with_root(container, Wanted::AllWritable, unpack).await?;
        self.announce(&container.event("extract-to-dir")).await;
        Ok(())
    }
}

fn directory(root: BorrowedFd<'_>, asked: &Asked, container: &str) -> Result<OwnedFd> {
    let refused = || Error::Invalid("extraction point is not a directory".to_owned());
    let dir = match open_in(root, &asked.path, OFlags::empty()) {
        Err(Errno::NOENT) => {
            return Err(Error::NoFile { path: asked.text.clone(), container: container.to_owned() });
        }
        Err(Errno::NOTDIR) => return Err(refused()),
        dir => dir.map_err(failed("opening", &asked.text))?,
    };
    let stat = fstat(&dir).map_err(failed("looking at", &asked.text))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory { Ok(dir) } else { Err(refused()) }
}

/// Says before anything is read what the kernel would say later.
fn check_writable(root: BorrowedFd<'_>, dir: &OwnedFd) -> Result<()> {
    let failed = |errno| failed("looking at", "a container's mounts")(errno);
    if !fstatvfs(dir).map_err(failed)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let mount = |fd: BorrowedFd<'_>| {
        statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map(|stat| stat.stx_mnt_id)
    };
    let is_root = mount(root).map_err(failed)? == mount(dir.as_fd()).map_err(failed)?;
    Err(Error::ReadOnly(if is_root { ROOTFS } else { VOLUME }))
}

/// Unpacks an archive below a root. Blocks.
pub(super) fn put(root: BorrowedFd<'_>, source: impl Read, options: &ApplyOptions) -> Result<()> {
    // No program is run for any compression (CVE-2026-41567).
    let mut inflate = Inflate::new(source, Compression::Detect, InflateLimits::archives());
    let target = Target { root, whiteouts: Whiteouts::None, lower: &[] };
    match apply(&mut inflate, &target, options) {
        Ok(_) => Ok(()),
        // Behind a link, or remounted meanwhile.
        Err(LayerError::System { errno: Errno::ROFS, .. }) => Err(Error::ReadOnly(VOLUME)),
        Err(LayerError::Overwrite { path, there, comes }) => {
            let base = String::from_utf8_lossy(&options.base);
            let below = path.strip_prefix(base.trim_matches(['/', '.'])).unwrap_or(&path);
            let (below, base) = (below.trim_start_matches('/'), base.trim_end_matches("/."));
            Err(Error::Invalid(format!("cannot overwrite {there} {below:?} with {comes} {base:?}")))
        }
        Err(error) => Err(archive(error)),
    }
}
