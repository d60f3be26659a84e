//! An archive of a tree as it is, which others may be changing meanwhile: for copies out of containers.
//!
//! Each component is opened below the descriptor of its directory, and never as a link, so that who swaps directories for links
//! (CVE-2018-15664) gives files of the tree or nothing. What is gone before it is reached is left out, and a file that became
//! shorter is filled up with zeros. Names come in order, times are whole seconds, sockets are left out. Directories of the
//! kernel's own file systems are given without what is in them: their files have no sizes, and are not the container's.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Stat, fstat, fstatfs};
use rustix::io::Errno;

use crate::apply::name::join;
use crate::apply::tree::open_real;
use crate::attributes::{is_dir, is_portable, list, pin, reopen_dir, xattrs};
use crate::diff::DiffSummary;
use crate::diff::node::{Node, give};
use crate::diff::writer::{Head, Short, Writer};
use crate::{Error, IdMap, Limits};

/// Directories above the current one whose descriptors are kept. Those of deeper ones are opened again.
const MAX_OPEN: usize = 16;
/// What the name of a file with several costs beyond its bytes.
const NAME_OVERHEAD: usize = 96;

/// The numbers of file systems that are interfaces of the kernel: statfs(2), `linux/magic.h`.
const KERNEL_INTERFACES: [i64; 16] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x27_e0eb,   // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xcafe_4a11, // bpf
    0x4249_4e4d, // binfmt_misc
    0x6265_6570, // configfs
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x6e73_6673, // nsfs
    0xf97c_ff8c, // selinuxfs
];

/// Whether the directory itself has an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopEntry {
    /// It has one.
    Given,
    /// There are only those of what is in it.
    Left,
}

/// How an archive is made.
#[derive(Debug, Clone, Copy)]
pub struct PackOptions<'a> {
    /// Whether the directory itself has an entry.
    pub top: TopEntry,
    /// Directories below it, relative and clean, that are given without what is in them.
    pub hollow: &'a [&'a [u8]],
    /// Whose the files are in the archive; as on disk without it. An owner whom no range has becomes nobody (65534).
    pub owners: Option<&'a IdMap>,
    /// What it may not exceed.
    pub limits: Limits,
}

impl Default for PackOptions<'_> {
    fn default() -> Self {
        Self { top: TopEntry::Given, hollow: &[], owners: None, limits: Limits::default() }
    }
}

/// Writes an archive of `top`, which may be an `O_PATH` descriptor of anything, and of all that is below it. Its names begin with
/// `name`.
///
/// # Errors
/// The writer's, what the kernel refuses, and ResourceExhausted for more names of files with several names than `limits` have
/// memory for.
pub fn pack(
    top: BorrowedFd<'_>,
    name: &[u8],
    out: &mut dyn Write,
    options: &PackOptions<'_>,
) -> Result<DiffSummary, Error> {
    let stat = fstat(top).map_err(|errno| Error::system("stat", name, errno))?;
    let mut pack = Pack { top, name, out: Writer::new(out), sources: HashMap::new(), bytes: 0, options };
    if is_dir(&stat) {
        pack.tree(&stat)?;
    } else {
        pack.file(name, top, &stat)?;
    }
    pack.out.finish()
}

struct Pack<'a> {
    top: BorrowedFd<'a>,
    name: &'a [u8],
    out: Writer<'a>,
    /// The first name of each file with several.
    sources: HashMap<(u64, u64), Vec<u8>>,
    bytes: usize,
    options: &'a PackOptions<'a>,
}

/// A directory that is being walked.
struct Frame {
    /// Below the top.
    path: Vec<u8>,
    names: Vec<Vec<u8>>,
    next: usize,
    open: Option<OwnedFd>,
}

/// Whether something may simply be gone, or be something else by now.
fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE)
}

impl Pack<'_> {
    /// The name of an entry.
    fn named(&self, path: &[u8]) -> Vec<u8> {
        match path {
            b"" => self.name.to_vec(),
            path if self.name.ends_with(b"/") => [self.name, path].concat(),
            path => join(self.name, path),
        }
    }

    fn tree(&mut self, stat: &Stat) -> Result<(), Error> {
        if self.options.top == TopEntry::Given {
            self.directory(b"", self.top, stat)?;
        }
        let top = reopen_dir(self.top).map_err(|errno| Error::system("open", self.name, errno))?;
        let mut frames: Vec<Frame> = self.frame(Vec::new(), top)?.into_iter().collect();
        while let Some(frame) = frames.last_mut() {
            let Some(name) = frame.names.get(frame.next).cloned() else {
                frames.pop();
                continue;
            };
            frame.next += 1;
            let path = join(&frame.path, &name);
            self.reopen(frame)?;
            let Some(dir) = &frame.open else {
                frames.pop();
                continue;
            };
            if let Some(child) = self.visit(dir.as_fd(), &name, path)? {
                let deep = frames.len() > MAX_OPEN;
                if let (true, Some(frame)) = (deep, frames.last_mut()) {
                    frame.open = None;
                }
                frames.push(child);
            }
        }
        Ok(())
    }

    /// Opens the directory of a frame again, unless it is gone.
    fn reopen(&self, frame: &mut Frame) -> Result<(), Error> {
        if frame.open.is_none() {
            match open_real(self.top, &frame.path).and_then(reopen_dir) {
                Ok(dir) => frame.open = Some(dir),
                Err(errno) if is_gone(errno) => {}
                Err(errno) => return Err(Error::system("open", &self.named(&frame.path), errno)),
            }
        }
        Ok(())
    }

    fn frame(&self, path: Vec<u8>, dir: OwnedFd) -> Result<Option<Frame>, Error> {
        let failed = |errno| Error::system("read", &self.named(&path), errno);
        if self.options.hollow.contains(&&path[..]) || is_kernel_interface(dir.as_fd()).map_err(failed)? {
            return Ok(None);
        }
        let names = match list(dir.as_fd()) {
            Err(errno) if is_gone(errno) => return Ok(None),
            names => names.map_err(failed)?,
        };
        Ok(Some(Frame { path, names, next: 0, open: Some(dir) }))
    }

    /// One name; a directory is walked next.
    fn visit(&mut self, dir: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> Result<Option<Frame>, Error> {
        let pinned = match pin(dir, name) {
            Err(errno) if is_gone(errno) => return Ok(None),
            pinned => pinned.map_err(|errno| Error::system("open", &self.named(&path), errno))?,
        };
        let failed = |errno| Error::system("stat", &path, errno);
        let stat = fstat(&pinned).map_err(failed)?;
        if !is_dir(&stat) {
            self.file(&self.named(&path), pinned.as_fd(), &stat)?;
            return Ok(None);
        }
        self.directory(&path, pinned.as_fd(), &stat)?;
        match reopen_dir(&pinned) {
            Err(errno) if is_gone(errno) => Ok(None),
            dir => {
                let dir = dir.map_err(|errno| Error::system("open", &self.named(&path), errno))?;
                self.frame(path, dir)
            }
        }
    }

    fn directory(&mut self, path: &[u8], fd: BorrowedFd<'_>, stat: &Stat) -> Result<(), Error> {
        let mut name = self.named(path);
        if !name.ends_with(b"/") {
            name.push(b'/');
        }
        let xattrs = xattrs(fd, is_portable).map_err(|errno| Error::system("listxattr", &name, errno))?;
        let (uid, gid) = self.owner(stat);
        self.out.head(&Head {
            flag: b'5',
            path: &name,
            mode: stat.st_mode,
            uid,
            gid,
            mtime: stat.st_mtime,
            xattrs: &xattrs,
            ..Head::default()
        })
    }

    /// Whose a file is in the archive.
    fn owner(&self, stat: &Stat) -> (u32, u32) {
        let own = (stat.st_uid, stat.st_gid);
        self.options.owners.map_or(own, |owners| owners.archived(own.0, own.1))
    }

    fn file(&mut self, name: &[u8], fd: BorrowedFd<'_>, stat: &Stat) -> Result<(), Error> {
        if FileType::from_raw_mode(stat.st_mode) == FileType::Socket {
            return Ok(());
        }
        let inode = (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
        let source = inode.and_then(|inode| self.sources.get(&inode).cloned());
        if let (Some(inode), None) = (inode, &source) {
            self.bytes += name.len() + NAME_OVERHEAD;
            let limit = self.options.limits.names_bytes;
            if self.bytes > limit {
                return Err(Error::Limit { what: "bytes of names of hard links", limit: limit as u64 });
            }
            self.sources.insert(inode, name.to_vec());
        }
        let source = source.as_deref().unwrap_or_default();
        let mut stat = *stat;
        (stat.st_uid, stat.st_gid) = self.owner(&stat);
        let stat = &stat;
        give(&mut self.out, &Node { path: name, fd, stat, source, mtime: stat.st_mtime, short: Short::Fill })
    }
}

/// Whether a file is of a file system that is an interface of the kernel, such as procfs: what it seems to be says little of what
/// reading gives.
///
/// # Errors
/// What fstatfs(2) says.
pub fn is_kernel_interface(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(KERNEL_INTERFACES.contains(&(fstatfs(file)?.f_type as i64)))
}
