//! What is copied: found below the root of a context or an image, and hashed.
//!
//! Links are followed inside the root alone. The hash is over contents, modes, links and names below what is copied, and over owners
//! where these are kept; not over times, so that a context that is sent again hits the cache.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use gantry_sys::path::open_in_root;
use gantry_types::{Algorithm, Digest, Hasher};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::context::MAX_DEPTH;
use crate::glob::{Dialect, Glob, has_wildcards};
use crate::{Error, Result};

/// The most things that a pattern may mean.
const MAX_MATCHES: usize = 65_536;
/// What is read at once.
const READ_BYTES: usize = 256 << 10;

/// Whose files become whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// Those that they have.
    Kept,
    /// Others.
    Changed,
}

/// Something that is copied.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its last name.
    pub(crate) name: Vec<u8>,
    /// Itself, opened with `O_PATH`.
    pub(crate) file: OwnedFd,
    /// Whether it is a directory, of which the contents are copied.
    pub(crate) is_dir: bool,
    /// Whether it comes from the web: then it is no archive, whatever its bytes are.
    pub(crate) is_fetched: bool,
    /// Where it is below its root; empty for the root, and for what is in none.
    pub(crate) path: String,
}

/// The names in a directory in their order, and which of them are directories.
///
/// # Errors
/// Io.
pub(crate) fn list(dir: BorrowedFd<'_>, path: &str) -> Result<Vec<(CString, bool)>> {
    let failed = || Error::errno("reading", path);
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let is_dir = match entry.file_type() {
            FileType::Unknown => {
                let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed())?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
            kind => kind == FileType::Directory,
        };
        names.push((name.to_owned(), is_dir));
    }
    names.sort_unstable();
    Ok(names)
}

/// A path of an instruction, relative to the root; None for one that leaves it.
fn relative(text: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// What a path or pattern means. Blocks.
///
/// # Errors
/// The text of an error, for the instruction to say.
pub(crate) fn find(root: BorrowedFd<'_>, text: &str) -> std::result::Result<Vec<Source>, String> {
    let path =
        relative(text).ok_or_else(|| format!("forbidden path outside the build context: {text} ()"))?;
    if !has_wildcards(&path) {
        return Ok(vec![open(root, &path)?]);
    }
    let mut found = Vec::new();
    let parts: Vec<&str> = path.split('/').collect();
    let top = openat(root, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    descend(root, top.map_err(|errno| errno.to_string())?.as_fd(), "", &parts, &mut found)?;
    if found.is_empty() {
        return Err("no source files were specified".to_owned());
    }
    Ok(found)
}

/// A directory of a repository; empty means its root. Blocks.
///
/// # Errors
/// The text of an error.
pub(crate) fn find_directory(root: BorrowedFd<'_>, text: &str) -> std::result::Result<Source, String> {
    let path = relative(text).ok_or_else(|| format!("{text} leads out of the repository"))?;
    match open(root, &path)? {
        source @ Source { is_dir: true, .. } => Ok(source),
        _ => Err(format!("{text} is no directory of the repository")),
    }
}

fn missing(path: &str) -> String {
    format!("file not found in build context or excluded by .dockerignore: stat {path}: file does not exist")
}

fn open(root: BorrowedFd<'_>, path: &str) -> std::result::Result<Source, String> {
    let at = CString::new(if path.is_empty() { "." } else { path })
        .map_err(|_| "a path has a zero byte".to_owned())?;
    let file = match open_in_root(root, &at, OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing(path)),
        file => file.map_err(|errno| format!("{path}: {errno}"))?,
    };
    let stat = fstat(&file).map_err(|errno| format!("{path}: {errno}"))?;
    let name = path.rsplit('/').next().unwrap_or_default().as_bytes().to_vec();
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            Ok(Source { name, file, is_dir: true, is_fetched: false, path: path.to_owned() })
        }
        FileType::RegularFile => {
            Ok(Source { name, file, is_dir: false, is_fetched: false, path: path.to_owned() })
        }
        _ => Err(format!("{path} is neither a file nor a directory")),
    }
}

/// What a source of `--parents` means: files, each with the number of parts of its path that are no parents because they stand
/// before `/./`. Blocks.
///
/// # Errors
/// The text of an error.
pub(crate) fn find_with_parents(
    root: BorrowedFd<'_>,
    text: &str,
) -> std::result::Result<Vec<(Source, usize)>, String> {
    let before = text.trim_start_matches("./").split_once("/./").map_or("", |(before, _)| before);
    let before = relative(before).unwrap_or_default();
    let skipped = before.split('/').filter(|part| !part.is_empty()).count();
    let found = if text.contains("**") { find_deep(root, text)? } else { find(root, text)? };
    Ok(found.into_iter().map(|source| (source, skipped)).collect())
}

/// What a pattern with `**` means: that stands for any number of directories. Nothing is looked for in a directory that fits.
///
/// # Errors
/// The text of an error.
fn find_deep(root: BorrowedFd<'_>, text: &str) -> std::result::Result<Vec<Source>, String> {
    let path =
        relative(text).ok_or_else(|| format!("forbidden path outside the build context: {text} ()"))?;
    let glob = Glob::parse(&path, Dialect::Ignore).ok_or_else(|| "syntax error in pattern".to_owned())?;
    let mut found = Vec::new();
    let top = openat(root, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    walk(root, top.map_err(|errno| errno.to_string())?.as_fd(), "", &glob, &mut found, 0)?;
    if found.is_empty() {
        return Err("no source files were specified".to_owned());
    }
    Ok(found)
}

fn walk(
    root: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    path: &str,
    glob: &Glob,
    found: &mut Vec<Source>,
    depth: usize,
) -> std::result::Result<(), String> {
    for (name, is_dir) in list(dir, path).map_err(|error| error.to_string())? {
        let Some(text) = name.to_str().ok() else { continue };
        let path = if path.is_empty() { text.to_owned() } else { format!("{path}/{text}") };
        if glob.is_match(&path) {
            found.push(open(root, &path)?);
            if found.len() > MAX_MATCHES {
                return Err(format!("a pattern means more than {MAX_MATCHES} files"));
            }
        } else if is_dir && depth < MAX_DEPTH {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner =
                openat(dir, &name, flags, Mode::empty()).map_err(|errno| format!("{path}: {errno}"))?;
            walk(root, inner.as_fd(), &path, glob, found, depth + 1)?;
        }
    }
    Ok(())
}

/// Follows a pattern, a part of it at a time. Links on the way are not followed, as in docker's walk of the context.
fn descend(
    root: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    path: &str,
    parts: &[&str],
    found: &mut Vec<Source>,
) -> std::result::Result<(), String> {
    let [part, rest @ ..] = parts else { return Ok(()) };
    let glob = Glob::parse(part, Dialect::Go).ok_or_else(|| "syntax error in pattern".to_owned())?;
    for (name, is_dir) in list(dir, path).map_err(|error| error.to_string())? {
        let Some(name) = name.to_str().ok().filter(|name| glob.is_match(name)) else { continue };
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        if rest.is_empty() {
            match open(root, &path) {
                Ok(source) => found.push(source),
                // A link to nowhere, or what cannot be copied: a pattern does not mean it by name.
                Err(error) => return Err(error),
            }
        } else if is_dir {
            let name = CString::new(name).map_err(|_| "a path has a zero byte".to_owned())?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner =
                openat(dir, &name, flags, Mode::empty()).map_err(|errno| format!("{path}: {errno}"))?;
            descend(root, inner.as_fd(), &path, rest, found)?;
        }
        if found.len() > MAX_MATCHES {
            return Err(format!("a pattern means more than {MAX_MATCHES} files"));
        }
    }
    Ok(())
}

/// Opens for reading what is open with `O_PATH`.
///
/// # Errors
/// Those of the kernel.
pub(crate) fn reopen(file: BorrowedFd<'_>, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    let path = gantry_sys::path::FdPath::new(file);
    openat(rustix::fs::CWD, path.as_cstr(), flags | OFlags::CLOEXEC, Mode::empty())
}

/// The hash of something that is copied. Blocks.
///
/// # Errors
/// Io, Limit.
pub(crate) fn hash(source: &Source, owners: Owners) -> Result<Digest> {
    let mut hash = Hash { hasher: Hasher::new(Algorithm::Sha256), owners, buffer: vec![0; READ_BYTES] };
    let failed = || Error::errno("reading", OsStr::from_bytes(&source.name));
    let stat = fstat(&source.file).map_err(failed())?;
    if source.is_dir {
        let dir = reopen(source.file.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed())?;
        hash.directory(dir.as_fd(), 0)?;
    } else {
        // The name counts: it may become that of the copy.
        hash.head(&source.name, &stat);
        hash.contents(reopen(source.file.as_fd(), OFlags::RDONLY).map_err(failed())?)?;
    }
    Ok(hash.hasher.finish())
}

struct Hash {
    hasher: Hasher,
    owners: Owners,
    buffer: Vec<u8>,
}

impl Hash {
    /// What is known of a file without reading it. Sizes of directories mean nothing.
    fn head(&mut self, name: &[u8], stat: &Stat) {
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let size = if is_dir { 0 } else { stat.st_size };
        let owner = if self.owners == Owners::Kept { (stat.st_uid, stat.st_gid) } else { (0, 0) };
        let line =
            format!("{} {:o} {} {} {} {}\n", name.len(), stat.st_mode, owner.0, owner.1, size, stat.st_rdev);
        self.hasher.update(line.as_bytes());
        self.hasher.update(name);
    }

    fn contents(&mut self, file: OwnedFd) -> Result<()> {
        const CAPABILITY: &str = "security.capability";
        let mut value = [0; 64];
        if let Ok(length) = fgetxattr(&file, CAPABILITY, &mut value[..]) {
            self.hasher.update(CAPABILITY.as_bytes());
            self.hasher.update(&value[..length]);
        }
        let mut file = File::from(file);
        loop {
            match file.read(&mut self.buffer).map_err(Error::io("reading", "a file that is copied"))? {
                0 => return Ok(()),
                count => self.hasher.update(&self.buffer[..count]),
            }
        }
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            let what = "what is copied".to_owned();
            return Err(Error::Limit { what, limit: MAX_DEPTH as u64, unit: "directories in each other" });
        }
        for (name, is_dir) in list(dir, "what is copied")? {
            let failed = || Error::errno("reading", OsStr::from_bytes(name.to_bytes()));
            let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed())?;
            self.head(name.to_bytes(), &stat);
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if is_dir => {
                    let inner =
                        openat(dir, &name, flags | OFlags::DIRECTORY, Mode::empty()).map_err(failed())?;
                    self.directory(inner.as_fd(), depth + 1)?;
                    self.hasher.update(b"..\n");
                }
                FileType::RegularFile => {
                    let file =
                        openat(dir, &name, flags | OFlags::NONBLOCK, Mode::empty()).map_err(failed())?;
                    self.contents(file)?;
                }
                FileType::Symlink => {
                    let link = readlinkat(dir, &name, Vec::new()).map_err(failed())?;
                    self.hasher.update(link.to_bytes_with_nul());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a.d/x", "b.d/y", "c/z"] {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::write(dir.path().join(path), path).unwrap();
        }
        fs::write(dir.path().join("f1"), "1").unwrap();
        fs::write(dir.path().join("f2"), "2").unwrap();
        let fd = File::open(dir.path()).unwrap().into();
        (dir, fd)
    }

    fn names(found: &[Source]) -> Vec<String> {
        found.iter().map(|source| String::from_utf8(source.name.clone()).unwrap()).collect()
    }

    #[test]
    fn patterns_mean_what_is_there() {
        let (_dir, root) = tree();
        let find = |text| find(root.as_fd(), text);
        assert_eq!(names(&find("*.d").unwrap()), ["a.d", "b.d"]);
        assert_eq!(names(&find("/./f?").unwrap()), ["f1", "f2"]);
        assert_eq!(names(&find("*/z").unwrap()), ["z"]);
        assert!(find(".").unwrap()[0].is_dir);
        assert!(find("q*").unwrap_err().contains("no source files"));
        assert!(find("nope").unwrap_err().contains("file not found in build context"));
        assert!(find("f1/x").is_err() && find("[").is_err());
    }

    #[test]
    fn nothing_outside_the_root_is_found() {
        let (dir, root) = tree();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        symlink(outside.path(), dir.path().join("abs")).unwrap();
        symlink("../../../../../etc/passwd", dir.path().join("up")).unwrap();
        symlink("c", dir.path().join("inner")).unwrap();
        for text in ["../x", "/../x", "c/../../x"] {
            assert!(find(root.as_fd(), text).unwrap_err().contains("forbidden path"), "{text}");
        }
        for text in ["abs", "abs/secret", "up", "u*"] {
            assert!(find(root.as_fd(), text).unwrap_err().contains("file not found"), "{text}");
        }
        assert!(find(root.as_fd(), "inner").unwrap()[0].is_dir);
        assert_eq!(names(&find(root.as_fd(), "inner/z").unwrap()), ["z"]);
    }

    #[test]
    fn hashes_are_of_contents_and_modes() {
        let (dir, root) = tree();
        let hash = |text: &str| hash(&find(root.as_fd(), text).unwrap()[0], Owners::Changed).unwrap();
        let (whole, file) = (hash("."), hash("f1"));
        assert_eq!(whole, hash("."));
        let touched = fs::File::options().write(true).open(dir.path().join("f1")).unwrap();
        touched.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!((&whole, &file), (&hash("."), &hash("f1")));
        fs::set_permissions(dir.path().join("f1"), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(whole != hash(".") && file != hash("f1"));
        assert_ne!(hash("f1"), hash("f2"));
        symlink("f1", dir.path().join("l")).unwrap();
        let with = hash(".");
        fs::remove_file(dir.path().join("l")).unwrap();
        symlink("f2", dir.path().join("l")).unwrap();
        assert_ne!(with, hash("."));
    }
}
