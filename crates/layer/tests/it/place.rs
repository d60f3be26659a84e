//! A private directory to apply to, and what is in it.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use gantry_layer::{Applied, ApplyOptions, Error, Target, Whiteouts, apply};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::forge::{Item, archive};

pub(crate) const OVERLAY: Whiteouts = Whiteouts::Overlay { userxattr: false };

pub(crate) struct Place {
    temp: tempfile::TempDir,
    fd: OwnedFd,
}

pub(crate) fn open(path: &Path) -> OwnedFd {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

impl Place {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("root")).unwrap();
        let fd = open(&temp.path().join("root"));
        Self { temp, fd }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The directory that holds the root: nothing may ever come to be here.
    pub(crate) fn outside(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.temp.path().join("root").join(path)
    }

    pub(crate) fn apply_with(
        &self,
        mut bytes: &[u8],
        whiteouts: Whiteouts,
        options: &ApplyOptions,
    ) -> Result<Applied, Error> {
        let source: &mut dyn Read = &mut bytes;
        apply(source, &Target { root: self.fd(), whiteouts, lower: &[] }, options)
    }

    pub(crate) fn apply(&self, whiteouts: Whiteouts, items: &[Item]) -> Result<Applied, Error> {
        self.apply_with(&archive(items), whiteouts, &ApplyOptions::default())
    }

    /// A layer of an overlay.
    pub(crate) fn layer(items: &[Item]) -> (Self, Applied) {
        let place = Self::new();
        let applied = place.apply(OVERLAY, items).unwrap();
        (place, applied)
    }

    pub(crate) fn stat(&self, path: &str) -> std::fs::Metadata {
        std::fs::symlink_metadata(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        std::fs::symlink_metadata(self.path(path)).is_ok()
    }

    pub(crate) fn read(&self, path: &str) -> String {
        String::from_utf8(std::fs::read(self.path(path)).unwrap()).unwrap()
    }

    pub(crate) fn is_whiteout(&self, path: &str) -> bool {
        let stat = self.stat(path);
        stat.file_type().is_char_device() && stat.rdev() == 0
    }

    pub(crate) fn xattr(&self, path: &str, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(self.path(path), name, &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    }

    pub(crate) fn is_opaque(&self, path: &str) -> bool {
        self.xattr(path, "trusted.overlay.opaque").as_deref() == Some(b"y")
    }

    pub(crate) fn tree(&self) -> BTreeMap<String, String> {
        tree(&self.path(""))
    }
}

/// Everything below a directory: kind, mode, owner, time, content, attributes.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(dir) = left.pop() {
        let mut entries: Vec<_> =
            std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let stat = std::fs::symlink_metadata(&path).unwrap();
            if stat.is_dir() {
                left.push(path.clone());
            }
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.insert(name, (path, stat));
        }
    }
    let names: Vec<_> = found.keys().cloned().collect();
    for name in names {
        let stat = &found[&name].1;
        if !stat.is_dir() && stat.nlink() > 1 {
            inodes.entry(stat.ino()).or_insert_with(Vec::new).push(name);
        }
    }
    // The links of an overlay's file are counted where it lies, hidden ones too: what counts here are the names that are seen.
    let inodes = inodes.into_iter().filter(|(_, names)| names.len() > 1);
    let inodes = inodes.map(|(inode, mut names)| (inode, names.swap_remove(0))).collect();
    found.into_iter().map(|(name, (path, stat))| (name, describe(&path, &stat, &inodes))).collect()
}

fn describe(path: &Path, stat: &std::fs::Metadata, inodes: &BTreeMap<u64, String>) -> String {
    let kind = stat.file_type();
    let content = if kind.is_symlink() {
        std::fs::read_link(path).unwrap().to_string_lossy().into_owned()
    } else if kind.is_file() {
        let bytes = std::fs::read(path).unwrap();
        format!(
            "{} bytes {:x}",
            bytes.len(),
            bytes.iter().fold(7u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
        )
    } else if kind.is_dir() {
        String::new()
    } else {
        format!("device {}", stat.rdev())
    };
    let link = inodes.get(&stat.ino()).filter(|_| !stat.is_dir()).cloned().unwrap_or_default();
    let attributes: Vec<_> =
        xattrs(path).iter().map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect();
    format!(
        "{:o} {}:{} {}.{:09} [{content}] ={link} {attributes:?}",
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.mtime(),
        stat.mtime_nsec()
    )
}

pub(crate) fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let mut list: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 65536];
            let name = std::ffi::OsStr::from_bytes(name);
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_string_lossy().into_owned(), value[..length].to_vec())
        })
        .collect();
    list.sort();
    list
}
