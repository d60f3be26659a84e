//! Who a container's process is: names are looked up in the container's own files, which are strangers' bytes.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gantry_spec::user;
use gantry_sys::path::open_in_root;
use gantry_types::Mount;
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::read;

use crate::record::Record;
use crate::{Engine, Error, Result};

/// What is read of /etc/passwd and /etc/group: more than any has, and little memory (CVE-2026-47262).
const MAX_FILE_BYTES: usize = 1 << 20;

/// Ids.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Identity {
    pub(crate) user: user::User,
    pub(crate) groups: Vec<u32>,
}

/// How many users of images are remembered.
const MAX_KNOWN: usize = 256;

/// Users of images, as long as no container has changed the files: most containers have the same few.
#[derive(Debug, Default)]
pub(crate) struct Identities(Mutex<HashMap<Asked, Identity>>);

/// An image's layers, a user, and groups.
type Asked = (String, String, Vec<String>);

impl Identities {
    fn known(&self) -> MutexGuard<'_, HashMap<Asked, Identity>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, asked: Asked, identity: &Identity) {
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(asked, identity.clone());
    }
}

/// Whether what is mounted has the image's /etc: nothing was written below it.
fn is_as_in_image(rootfs: &[Mount]) -> bool {
    let [mount] = rootfs else { return false };
    let upper = mount.options.iter().find_map(|option| option.strip_prefix("upperdir="));
    // A name that is there is enough, whatever it is: it is not followed.
    upper.is_some_and(|upper| {
        std::fs::symlink_metadata(std::path::Path::new(upper).join("etc"))
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    })
}

impl Engine {
    /// The ids of the user of a container that does not run, and whose root is made of `rootfs`.
    ///
    /// # Errors
    /// Those of the store; Invalid for a user that it does not have.
    pub(crate) async fn identity(&self, record: &Record, rootfs: &[Mount]) -> Result<Identity> {
        let text = record.process.user.clone();
        let groups = record.options.process.groups.clone();
        if !is_as_in_image(rootfs) {
            return self.look_up(record, text, groups).await;
        }
        let asked = (record.image.chain.clone(), text.clone(), groups.clone());
        let known = self.shared.identities.known().get(&asked).cloned();
        if let Some(identity) = known {
            return Ok(identity);
        }
        let identity = self.look_up(record, text, groups).await?;
        self.shared.identities.remember(asked, &identity);
        Ok(identity)
    }

    async fn look_up(&self, record: &Record, text: String, groups: Vec<String>) -> Result<Identity> {
        let (snapshotter, key) = (self.snapshotter().to_owned(), record.id.clone());
        let root = self.shared.store.snapshot_files(self.context(), snapshotter, key).await?;
        self.blocking("looking up a user", move || of(&text, &groups, root.as_ref())).await
    }
}

/// The ids of a user, by the files below a container's root. Blocks.
///
/// # Errors
/// Invalid for a user that it does not have.
pub(crate) fn of(text: &str, groups: &[String], root: Option<&OwnedFd>) -> Result<Identity> {
    let file = |path: &std::ffi::CStr| root.map_or_else(|| Ok(Vec::new()), |root| contents(root, path));
    let (passwd, group) = (file(c"etc/passwd")?, file(c"etc/group")?);
    let refused = |error: user::Error| Error::Invalid(error.to_string());
    let user = user::resolve(text, &passwd, &group).map_err(refused)?;
    let groups = user::resolve_groups(groups, &group).map_err(refused)?;
    Ok(Identity { user, groups })
}

/// A regular file below a root; nothing where there is none. What is no regular file is not opened for reading: a FIFO would
/// wait, and a device may do anything.
fn contents(root: &OwnedFd, path: &std::ffi::CStr) -> Result<Vec<u8>> {
    let failed =
        |errno: rustix::io::Errno| Error::io("reading", path.to_string_lossy().as_ref())(errno.into());
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(found) = open_in_root(root.as_fd(), path, flags) else { return Ok(Vec::new()) };
    if FileType::from_raw_mode(fstat(&found).map_err(failed)?.st_mode) != FileType::RegularFile {
        return Ok(Vec::new());
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open_in_root(root.as_fd(), path, flags).map_err(failed)?;
    if FileType::from_raw_mode(fstat(&file).map_err(failed)?.st_mode) != FileType::RegularFile {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; MAX_FILE_BYTES + 1];
    let mut filled = 0;
    while filled < bytes.len() {
        match read(&file, &mut bytes[filled..]).map_err(failed)? {
            0 => break,
            count => filled += count,
        }
    }
    if filled > MAX_FILE_BYTES {
        let path = path.to_string_lossy();
        return Err(Error::Invalid(format!("the container's /{path} has more than {MAX_FILE_BYTES} bytes")));
    }
    bytes.truncate(filled);
    Ok(bytes)
}
