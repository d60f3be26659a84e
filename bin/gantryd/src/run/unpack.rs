//! Layers: from a blob to a directory that overlayfs takes as it is (image-spec v1.1.0, layer.md).
//!
//! Every path is resolved below the layer's own directory, whatever links the layer has made before. A layer is there as a whole
//! or not at all.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use gantry_sys::Errno;
use gantry_sys::path::{make_dirs, open_in_root};
use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fchown, fsetxattr, futimens, linkat, makedev, mkdirat, mknodat, openat, symlinkat, unlinkat,
};
use tar::{Entry, EntryType};

use crate::run::layout::{Descriptor, Digest, Hashed, Layout};

/// The directory of a layer, unpacked if it is not yet there.
pub(crate) fn layer(layers: &Path, layout: &Layout, blob: &Descriptor, diff_id: &Digest) -> Result<PathBuf> {
    let ready = layers.join(diff_id.hex());
    if ready.is_dir() {
        return Ok(ready);
    }
    fs::create_dir_all(layers)?;
    let fresh = tempfile::Builder::new().prefix(".new-").tempdir_in(layers)?;
    let mut bytes = layout.blob(blob)?;
    let unpacked = match blob.media_type.rsplit_once(['+', '.']) {
        Some((_, "gzip")) => unpack(Hashed::new(MultiGzDecoder::new(&mut bytes)), fresh.path(), diff_id),
        Some((_, "tar")) => unpack(Hashed::new(&mut bytes), fresh.path(), diff_id),
        _ => bail!("layers of type {:?} are not known", blob.media_type),
    };
    // A wrong blob explains whatever else went wrong.
    bytes.check(blob.digest()).with_context(|| format!("layer {}", diff_id.hex()))?;
    unpacked.with_context(|| format!("layer {}", diff_id.hex()))?;
    match fs::rename(fresh.path(), &ready) {
        // Somebody else was faster.
        Err(_) if ready.is_dir() => {}
        renamed => renamed.with_context(|| format!("cannot make {}", ready.display()))?,
    }
    Ok(ready)
}

fn unpack(stream: Hashed<impl Read>, directory: &Path, diff_id: &Digest) -> Result<()> {
    let root: OwnedFd = File::open(directory)?.into();
    fchmod(&root, Mode::from_raw_mode(0o755))?;
    let mut archive = tar::Archive::new(stream);
    // Times of directories change with what comes into them.
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&path).into_owned();
        if let Some(times) = place(root.as_fd(), &path, &mut entry).with_context(|| shown)? {
            directories.push((path, times));
        }
    }
    for (path, times) in directories.iter().rev() {
        if let Ok(directory) = make_dirs(root.as_fd(), &clean(path)?) {
            futimens(openat(directory, c".", DIRECTORY, Mode::empty())?, times)?;
        }
    }
    archive.into_inner().check(diff_id)
}

/// The path without leading slashes and dots. `..` has no place in a layer.
fn clean(path: &[u8]) -> Result<Vec<u8>> {
    let parts: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    ensure!(!parts.contains(&&b".."[..]), "a layer's path may not have `..`");
    Ok(parts.join(&b'/'))
}

/// The directory of a path, and the name in it; no name for the root itself.
fn parent(root: BorrowedFd<'_>, path: &[u8]) -> Result<(OwnedFd, CString)> {
    let path = clean(path)?;
    let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], &path[..]),
    };
    let directory =
        if directory.is_empty() { root.try_clone_to_owned()? } else { make_dirs(root, directory)? };
    Ok((directory, CString::new(name)?))
}

/// Makes what an entry says; the times to set later, if it is a directory.
fn place(root: BorrowedFd<'_>, path: &[u8], entry: &mut Entry<'_, impl Read>) -> Result<Option<Timestamps>> {
    let kind = entry.header().entry_type();
    if kind.is_pax_global_extensions() {
        return Ok(None);
    }
    let (directory, name) = parent(root, path)?;
    if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
        white_out(&directory, hidden)?;
        return Ok(None);
    }
    let mode = Mode::from_raw_mode(entry.header().mode()? & 0o7777);
    let (uid, gid) = owner(entry)?;
    let mtime = Timespec { tv_sec: entry.header().mtime()?.try_into()?, tv_nsec: 0 };
    let times = Timestamps { last_access: mtime, last_modification: mtime };
    if kind.is_dir() {
        if !name.is_empty() {
            make_directory(&directory, &name)?;
        }
        let here = if name.is_empty() { c"." } else { &name };
        let made = openat(&directory, here, DIRECTORY, Mode::empty())?;
        fchown(&made, Some(uid), Some(gid))?;
        fchmod(&made, mode)?;
        attributes(&made, entry)?;
        return Ok(Some(times));
    }
    match unlinkat(&directory, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).context("cannot take the place of what is there"),
    }
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&directory, &name, flags, Mode::RUSR | Mode::WUSR)?);
            io::copy(entry, &mut file)?;
            // chown(2) takes away set-user-id bits and capabilities.
            fchown(&file, Some(uid), Some(gid))?;
            fchmod(&file, mode)?;
            attributes(&file, entry)?;
            futimens(&file, &times)?;
            return Ok(None);
        }
        EntryType::Link => {
            let target = entry.link_name_bytes().context("a hard link to nothing")?.into_owned();
            let (other, target) = parent(root, &target)?;
            linkat(&other, &target, &directory, &name, AtFlags::empty())?;
            return Ok(None);
        }
        EntryType::Symlink => {
            let target = entry.link_name_bytes().context("a link to nothing")?;
            symlinkat(OsStr::from_bytes(&target), &directory, &name)?;
        }
        EntryType::Fifo => mknodat(&directory, &name, FileType::Fifo, mode, 0)?,
        EntryType::Char => mknodat(&directory, &name, FileType::CharacterDevice, mode, device(entry)?)?,
        EntryType::Block => mknodat(&directory, &name, FileType::BlockDevice, mode, device(entry)?)?,
        other => bail!("entries of type {other:?} are not known"),
    }
    chownat(&directory, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != EntryType::Symlink {
        rustix::fs::chmodat(&directory, &name, mode, AtFlags::empty())?;
    }
    rustix::fs::utimensat(&directory, &name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(None)
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes a directory, in the place of anything that is none.
fn make_directory(parent: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    match mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) if openat(parent, name, DIRECTORY, Mode::empty()).is_ok() => Ok(()),
        Err(Errno::EXIST) => {
            unlinkat(parent, name, AtFlags::empty())?;
            mkdirat(parent, name, Mode::RWXU)
        }
        made => made,
    }
}

/// Hides what a lower layer has, in overlayfs's words: a device 0:0, or a mark on the directory.
fn white_out(directory: &OwnedFd, hidden: &[u8]) -> Result<()> {
    if hidden == b".wh..opq" {
        // What make_dirs gives may be without reading.
        let opened = openat(directory, c".", DIRECTORY, Mode::empty())?;
        return Ok(fsetxattr(opened, c"trusted.overlay.opaque", b"y", XattrFlags::empty())?);
    }
    if hidden.is_empty() || hidden.starts_with(b".wh.") || hidden == b"." || hidden == b".." {
        return Ok(());
    }
    let name = CString::new(hidden)?;
    match mknodat(directory, &name, FileType::CharacterDevice, Mode::empty(), 0) {
        // The layer has it itself: that is what is to be seen.
        Err(Errno::EXIST) => Ok(()),
        made => Ok(made?),
    }
}

fn owner(entry: &Entry<'_, impl Read>) -> Result<(Uid, Gid)> {
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX).context("no user or group id");
    Ok((Uid::from_raw(id(entry.header().uid()?)?), Gid::from_raw(id(entry.header().gid()?)?)))
}

fn device(entry: &Entry<'_, impl Read>) -> Result<Dev> {
    let header = entry.header();
    let (major, minor) = (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
    ensure!((major, minor) != (0, 0), "a device 0:0 would hide a file");
    Ok(makedev(major, minor))
}

/// The extended attributes that an image may set: `trusted.overlay.*` would be orders to the kernel.
fn attributes(file: impl AsFd, entry: &mut Entry<'_, impl Read>) -> Result<()> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions {
        let extension = extension?;
        let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") else { continue };
        if name == b"security.capability" || name.starts_with(b"user.") {
            let name = CString::new(name)?;
            fsetxattr(file.as_fd(), &name, extension.value_bytes(), XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// The text of a file as the layers, the lowest first, show it; none if no layer has it.
pub(crate) fn text_of(layers: &[PathBuf], path: &str) -> Option<String> {
    let path = CString::new(path).ok()?;
    layers.iter().rev().find_map(|layer| {
        let root: OwnedFd = File::open(layer).ok()?.into();
        let mut text = String::new();
        let file = open_in_root(root.as_fd(), &path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
        File::from(file).take(1 << 20).read_to_string(&mut text).ok()?;
        Some(text)
    })
}

#[cfg(test)]
mod tests;
