//! A directory of a cgroup file system, and the files in it, always by descriptor.
//!
//! Names may come from a container's configuration, and the directories below may be a container's own, so every
//! lookup is beneath the directory and follows no link.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir as ReadDir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

/// The longest file of a cgroup that is read: `memory.numa_stat` and `cgroup.procs` grow with the host.
const MAX_FILE_BYTES: usize = 16 << 20;

/// As much as the kernel gives at once of a file that is shown whole.
const ONE_PIECE_BYTES: usize = 4096;

const MODE: u16 = 0o755;

/// An open cgroup.
#[derive(Debug)]
pub(crate) struct Dir(OwnedFd);

impl Dir {
    /// Opens a path of the host, as the root of a hierarchy or from a record.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).map(Self)
    }

    /// Opens a cgroup below this one; an empty path is this one.
    pub(crate) fn open_below(&self, path: &str) -> Result<Self, Errno> {
        let path = if path.is_empty() { "." } else { path };
        self.lookup(path, OFlags::PATH | OFlags::DIRECTORY).map(Self)
    }

    pub(crate) fn open_child(&self, name: &CStr) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        retry_on_intr(|| rustix::fs::openat2(&self.0, name, flags, Mode::empty(), beneath())).map(Self)
    }

    /// Opens the parent. Cgroups do not move between parents, so this undoes [`Dir::open_child`].
    pub(crate) fn open_parent(&self) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        retry_on_intr(|| rustix::fs::openat(&self.0, c"..", flags, Mode::empty())).map(Self)
    }

    pub(crate) fn make_child(&self, path: &str) -> Result<(), Errno> {
        retry_on_intr(|| rustix::fs::mkdirat(&self.0, path, Mode::from_raw_mode(MODE.into())))
    }

    pub(crate) fn remove_child(&self, name: &CStr) -> Result<(), Errno> {
        retry_on_intr(|| rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR))
    }

    /// The names of the cgroups directly below.
    pub(crate) fn children(&self) -> Result<Vec<CString>, Errno> {
        let fd = self.lookup(".", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in ReadDir::new(fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Writes a file with one call: the kernel takes each write as one command.
    pub(crate) fn write(&self, file: &str, value: &[u8]) -> Result<(), Errno> {
        let fd = self.lookup(file, OFlags::WRONLY)?;
        write_once(&fd, value)
    }

    /// Reads a file into `buffer`, replacing what it held.
    pub(crate) fn read_into(&self, file: &str, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        let fd = self.lookup(file, OFlags::RDONLY)?;
        read_all(&fd, buffer)
    }

    /// Reads a file whose content the kernel gives in one piece: any but lists of processes.
    pub(crate) fn read(&self, file: &str) -> Result<String, Errno> {
        let fd = self.lookup(file, OFlags::RDONLY)?;
        let mut buffer = Vec::with_capacity(ONE_PIECE_BYTES);
        retry_on_intr(|| rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut buffer)))?;
        if buffer.len() == buffer.capacity() {
            let mut rest = Vec::new();
            read_all(&fd, &mut rest)?;
            buffer.append(&mut rest);
        }
        String::from_utf8(buffer).map_err(|_| Errno::ILSEQ)
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        rustix::fs::accessat(&self.0, file, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    pub(crate) fn open_file(&self, file: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.lookup(file, flags)
    }

    /// Another descriptor of an open cgroup.
    pub(crate) fn from_fd(fd: impl AsFd) -> Result<Self, Errno> {
        rustix::io::fcntl_dupfd_cloexec(fd, 0).map(Self)
    }

    /// Another descriptor of the same cgroup.
    pub(crate) fn reopen(&self) -> Result<Self, Errno> {
        self.open_below("")
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    fn lookup(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        retry_on_intr(|| rustix::fs::openat2(&self.0, path, flags, Mode::empty(), beneath()))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

pub(crate) fn write_once(fd: impl AsFd, value: &[u8]) -> Result<(), Errno> {
    match retry_on_intr(|| rustix::io::write(&fd, value))? {
        written if written == value.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

pub(crate) fn read_all(fd: impl AsFd, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    buffer.clear();
    loop {
        if buffer.len() >= MAX_FILE_BYTES {
            return Err(Errno::FBIG);
        }
        buffer.reserve(4096);
        if retry_on_intr(|| rustix::io::read(&fd, rustix::buffer::spare_capacity(buffer)))? == 0 {
            return Ok(());
        }
    }
}

/// Reads a file of `/proc` or `/sys` that is not in a cgroup.
pub(crate) fn read_host_file(path: &Path) -> Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
    let mut buffer = Vec::new();
    read_all(&fd, &mut buffer)?;
    String::from_utf8(buffer).map_err(|_| Errno::ILSEQ)
}

/// A short text without allocation: the kernel's values are numbers.
pub(crate) struct Text {
    bytes: [u8; Self::CAPACITY],
    length: usize,
}

impl Text {
    const CAPACITY: usize = 96;

    pub(crate) fn new(value: fmt::Arguments<'_>) -> Self {
        let mut text = Self { bytes: [0; Self::CAPACITY], length: 0 };
        fmt::Write::write_fmt(&mut text, value).expect("a few numbers are shorter than the buffer");
        text
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).expect("only text is appended")
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Dir) {
        let tree = tempfile::tempdir().unwrap();
        let dir = Dir::open(tree.path()).unwrap();
        (tree, dir)
    }

    #[test]
    fn names_from_a_configuration_stay_beneath_and_follow_no_link() {
        let (tree, dir) = scratch();
        std::os::unix::fs::symlink("/etc/passwd", tree.path().join("link")).unwrap();
        for name in ["../x", "/etc/passwd", "link", "a/../../x"] {
            assert!(dir.read(name).is_err(), "{name}");
            assert!(dir.write(name, b"1").is_err(), "{name}");
        }
    }

    #[test]
    fn writing_never_creates_a_file() {
        let (_tree, dir) = scratch();
        assert_eq!(dir.write("memory.max", b"1"), Err(Errno::NOENT));
        assert!(!dir.has("memory.max"));
    }

    #[test]
    fn children_are_directories_only() {
        let (tree, dir) = scratch();
        std::fs::write(tree.path().join("file"), "x").unwrap();
        dir.make_child("child").unwrap();
        assert_eq!(dir.children().unwrap(), [CString::from(c"child")]);
        dir.remove_child(c"child").unwrap();
        assert!(dir.children().unwrap().is_empty());
    }

    #[test]
    fn a_file_longer_than_a_page_is_read_whole() {
        let (tree, dir) = scratch();
        let content = "0123456789".repeat(3000);
        std::fs::write(tree.path().join("long"), &content).unwrap();
        assert_eq!(dir.read("long").unwrap(), content);
    }
}
