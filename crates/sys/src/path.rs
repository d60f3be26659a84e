//! Paths below a directory that somebody else may be changing: the rooted resolver.
//!
//! Everything in a container's root file system is resolved here. openat2(2) with `RESOLVE_IN_ROOT` (Linux 5.6) takes
//! absolute paths, absolute symbolic links and `..` as relative to the root; magic links are never followed. What is
//! made, is made below a descriptor of its parent, one component at a time, so that a swapped component redirects
//! nothing (CVE-2021-30465, CVE-2024-45310).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;

/// How often a lookup is tried again that raced with a rename somewhere on the system.
const MAX_RACES: u32 = 128;
/// The longest component of a path, in bytes: NAME_MAX.
const MAX_NAME: usize = 255;
/// The longest path, in bytes: PATH_MAX.
pub const MAX_PATH: usize = 4096;
/// How many dangling links a path may lead through: as many as the kernel follows.
const MAX_LINKS: u32 = 40;
/// How many missing components [`make_dirs`] makes at most.
const MAX_DEPTH: usize = 512;

fn resolve(
    root: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
    mode: Mode,
    how: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let mut races = 0;
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, mode, how) {
            // RESOLVE_IN_ROOT gives EAGAIN when a rename or mount anywhere made a `..` uncertain.
            Err(Errno::AGAIN) if races < MAX_RACES => races += 1,
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Opens `path` as if `root` were `/`.
///
/// # Errors
/// `ELOOP` for magic links, `EAGAIN` when renames elsewhere never let the lookup finish, and what openat(2) gives.
pub fn open_in_root(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    resolve(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` below `dir` without following any symbolic link and without leaving the mount of `dir`.
///
/// For procfs and sysfs, where another mount or a link on the way means that somebody tampers (CVE-2025-52881).
///
/// # Errors
/// `EXDEV` for another mount on the way or a `..` out of `dir`; `ELOOP` for a symbolic link.
pub fn open_beneath(dir: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH
        | ResolveFlags::NO_XDEV
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS;
    resolve(dir, path, flags, Mode::empty(), how)
}

/// What [`ensure`] makes where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// A string that ends with NUL, on the stack.
struct Name {
    bytes: [u8; MAX_NAME + 1],
    len: usize,
}

impl Name {
    fn new(bytes: &[u8]) -> Result<Self, Errno> {
        if bytes.len() > MAX_NAME {
            return Err(Errno::NAMETOOLONG);
        }
        let mut name = Name { bytes: [0; MAX_NAME + 1], len: bytes.len() };
        name.bytes[..bytes.len()].copy_from_slice(bytes);
        Ok(name)
    }

    fn as_cstr(&self) -> Result<&CStr, Errno> {
        CStr::from_bytes_with_nul(&self.bytes[..=self.len]).map_err(|_| Errno::INVAL)
    }
}

/// Opens `path` below `root` with `O_PATH`, after making what is missing of it: directories of mode 0755 and, for
/// [`Missing::File`], an empty file of mode 0644 in the end.
///
/// Symbolic links are followed inside the root; what a dangling one points to is made inside the root, too.
///
/// # Errors
/// `ENOTDIR`, `ELOOP`, and what mkdirat(2) and openat(2) give, `EROFS` among them.
pub fn ensure(root: BorrowedFd<'_>, path: &CStr, missing: Missing) -> Result<OwnedFd, Errno> {
    match ensure_plain(root, path, missing) {
        Err(Errno::LOOP) => {
            let path = without_dangling(root, path.to_bytes())?;
            ensure_plain(root, &path, missing)
        }
        result => result,
    }
}

fn ensure_plain(root: BorrowedFd<'_>, path: &CStr, missing: Missing) -> Result<OwnedFd, Errno> {
    match open_in_root(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    let (parent, name) = split_last(path.to_bytes());
    let dir = make_dirs_plain(root, parent)?;
    let name = Name::new(name)?;
    if name.len == 0 {
        return Ok(dir);
    }
    make_one(dir.as_fd(), name.as_cstr()?, missing)
}

/// The path without its last component, and that component; trailing slashes do not count.
fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|&b| b != b'/').map_or(0, |i| i + 1);
    let path = &path[..end];
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Makes one entry in `dir` and opens it; an entry that came into being meanwhile is opened if it is no link.
fn make_one(dir: BorrowedFd<'_>, name: &CStr, missing: Missing) -> Result<OwnedFd, Errno> {
    if name.to_bytes() == b".." || name.to_bytes() == b"." {
        return Err(Errno::NOENT);
    }
    match missing {
        Missing::Directory => match mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        },
        Missing::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(dir, name, flags, Mode::from_raw_mode(0o644)) {
                Ok(_) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    let made = openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let kind = FileType::from_raw_mode(fstat(&made)?.st_mode);
    match (kind, missing) {
        (FileType::Symlink, _) => Err(Errno::LOOP),
        (FileType::Directory, Missing::File) => Err(Errno::ISDIR),
        (FileType::Directory, _) | (_, Missing::File) => Ok(made),
        _ => Err(Errno::NOTDIR),
    }
}

/// Opens the directory `path` below `root` with `O_PATH`, after making what is missing of it with mode 0755.
///
/// # Errors
/// As [`ensure`].
pub fn make_dirs(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    match make_dirs_plain(root, path) {
        Err(Errno::LOOP) => make_dirs_plain(root, without_dangling(root, path)?.to_bytes()),
        result => result,
    }
}

/// The path with dangling symbolic links in it replaced by what they point to.
///
/// The text alone tells where something will be made; each lookup on it is made inside the root, so that a link that
/// somebody swaps meanwhile leads elsewhere in the root at most. It allocates, but only for roots with such links.
fn without_dangling(root: BorrowedFd<'_>, path: &[u8]) -> Result<CString, Errno> {
    let mut path = path.to_vec();
    for _ in 0..MAX_LINKS {
        let Some(replaced) = replace_dangling(root, &path)? else {
            return CString::new(path).map_err(|_| Errno::INVAL);
        };
        if replaced.len() >= MAX_PATH {
            return Err(Errno::NAMETOOLONG);
        }
        path = replaced;
    }
    Err(Errno::LOOP)
}

/// Replaces the first dangling link of a path; `None` if there is none.
fn replace_dangling(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut start = 0;
    for component in path.split(|&b| b == b'/') {
        let end = start + component.len();
        if !component.is_empty() {
            let prefix = CString::new(&path[..end]).map_err(|_| Errno::INVAL)?;
            match open_in_root(root, &prefix, OFlags::PATH) {
                Ok(_) => {}
                Err(Errno::NOENT) => {
                    let link = match open_in_root(root, &prefix, OFlags::PATH | OFlags::NOFOLLOW) {
                        Err(Errno::NOENT) => return Ok(None),
                        link => link?,
                    };
                    let target = rustix::fs::readlinkat(&link, c"", Vec::new())?;
                    let before: &[u8] =
                        if target.as_bytes().starts_with(b"/") { b"" } else { &path[..start] };
                    return Ok(Some([before, target.as_bytes(), &path[end..]].concat()));
                }
                Err(errno) => return Err(errno),
            }
        }
        start = end + 1;
    }
    Ok(None)
}

fn make_dirs_plain(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    if path.len() >= MAX_PATH {
        return Err(Errno::NAMETOOLONG);
    }
    let mut buffer = [0u8; MAX_PATH];
    buffer[..path.len()].copy_from_slice(path);
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    // The longest part that exists is resolved by the kernel; what is missing behind it has no links.
    let mut cut = path.len();
    let mut dir = loop {
        buffer[cut] = 0;
        let prefix = match CStr::from_bytes_until_nul(&buffer[..=cut]) {
            Ok(prefix) if !prefix.is_empty() => prefix,
            _ => c"/",
        };
        match open_in_root(root, prefix, flags) {
            Ok(dir) => break dir,
            Err(Errno::NOENT) if cut > 0 => {}
            Err(errno) => return Err(errno),
        }
        cut = path[..cut].iter().rposition(|&b| b == b'/').unwrap_or(0);
    };
    for (depth, component) in
        path[cut..].split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".").enumerate()
    {
        if depth >= MAX_DEPTH {
            return Err(Errno::NAMETOOLONG);
        }
        let name = Name::new(component)?;
        dir = make_one(dir.as_fd(), name.as_cstr()?, Missing::Directory)?;
    }
    Ok(dir)
}

/// The path of a descriptor below `/proc/self/fd`, on the stack.
#[derive(Debug, Clone, Copy)]
pub struct FdPath {
    bytes: [u8; 32],
    len: usize,
}

impl FdPath {
    /// The path `/proc/self/fd/N` of `fd`.
    pub fn new(fd: BorrowedFd<'_>) -> Self {
        use std::os::fd::AsRawFd;
        const PREFIX: &[u8] = b"/proc/self/fd/";
        let mut path = FdPath { bytes: [0; 32], len: PREFIX.len() };
        path.bytes[..PREFIX.len()].copy_from_slice(PREFIX);
        let (digits, count) = decimal(fd.as_raw_fd().unsigned_abs());
        path.bytes[PREFIX.len()..PREFIX.len() + count].copy_from_slice(&digits[10 - count..]);
        path.len += count;
        path
    }

    /// The path as a string that ends with NUL.
    pub fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.bytes[..=self.len]).unwrap_or(c"")
    }
}

/// The decimal digits of a number, at the end of the array, and how many they are.
pub fn decimal(mut number: u32) -> ([u8; 10], usize) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return (digits, 10 - at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (std::path::PathBuf, OwnedFd) {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("gantry-path-{}-{number}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let fd = rustix::fs::open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn missing_directories_and_the_file_are_made() {
        let (dir, fd) = root();
        ensure(fd.as_fd(), c"/a/b/../c//d", Missing::File).unwrap_err();
        ensure(fd.as_fd(), c"/a/b/c/d", Missing::File).unwrap();
        assert!(dir.join("a/b/c/d").is_file());
        ensure(fd.as_fd(), c"e/f/", Missing::Directory).unwrap();
        assert!(dir.join("e/f").is_dir());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn links_stay_inside_the_root() {
        let (dir, fd) = root();
        std::fs::create_dir(dir.join("etc")).unwrap();
        symlink("/etc", dir.join("abs")).unwrap();
        symlink("../../../etc", dir.join("up")).unwrap();
        ensure(fd.as_fd(), c"/abs/x", Missing::File).unwrap();
        ensure(fd.as_fd(), c"/up/y", Missing::File).unwrap();
        assert!(dir.join("etc/x").exists() && dir.join("etc/y").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn dangling_links_are_made_good_inside_the_root() {
        let (dir, fd) = root();
        symlink("/nowhere/file", dir.join("absolute")).unwrap();
        ensure(fd.as_fd(), c"/absolute", Missing::File).unwrap();
        assert!(dir.join("nowhere/file").is_file());
        std::fs::create_dir(dir.join("var")).unwrap();
        symlink("../../../run", dir.join("var/run")).unwrap();
        ensure(fd.as_fd(), c"/var/run/a", Missing::Directory).unwrap();
        make_dirs(fd.as_fd(), b"/var/run/b").unwrap();
        assert!(dir.join("run/a").is_dir() && dir.join("run/b").is_dir());
        symlink("second", dir.join("first")).unwrap();
        symlink("third", dir.join("second")).unwrap();
        ensure(fd.as_fd(), c"/first", Missing::Directory).unwrap();
        assert!(dir.join("third").is_dir());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn circular_and_magic_links_are_refused() {
        let (dir, fd) = root();
        symlink("other", dir.join("one")).unwrap();
        symlink("one", dir.join("other")).unwrap();
        assert_eq!(ensure(fd.as_fd(), c"/one", Missing::File).unwrap_err(), Errno::LOOP);
        symlink("grow/x", dir.join("grow")).unwrap();
        assert!(ensure(fd.as_fd(), c"/grow", Missing::File).is_err());
        let proc = rustix::fs::open("/proc", OFlags::PATH, Mode::empty()).unwrap();
        assert_eq!(open_in_root(proc.as_fd(), c"self/cwd", OFlags::PATH).unwrap_err(), Errno::LOOP);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn numbers_become_descriptor_paths() {
        assert_eq!(&decimal(0).0[9..], b"0");
        let (digits, count) = decimal(1203);
        assert_eq!(&digits[10 - count..], b"1203");
        let (dir, fd) = root();
        let target = std::fs::read_link(FdPath::new(fd.as_fd()).as_cstr().to_str().unwrap()).unwrap();
        assert_eq!(target, dir);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
