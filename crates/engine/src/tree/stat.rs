//! What is known of one file of a container: docker's `HEAD /containers/<id>/archive`.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use gantry_layer::is_kernel_interface;
use gantry_sys::path::MAX_PATH;
use jiff::Timestamp;
use rustix::fs::{FileType, OFlags, Stat, fstat, readlinkat};
use rustix::io::Errno;

use super::asked::Asked;
use super::root::Wanted;
use super::{failed, open_in};
use crate::{Container, Engine, Error, Result};

/// As many links as docker follows in the text of a path.
const MAX_LINKS: u32 = 255;

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// The last component of the path that was asked for.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Kind and permissions in the bits of Go's `fs.FileMode`, as docker's clients expect them.
    pub mode: u32,
    /// When it was changed.
    pub mtime: Timestamp,
    /// Of a link: the absolute path that it leads to in the container, as far as there is something. Empty for others.
    pub link_target: String,
}

impl Engine {
    /// Looks at a file of a container. A link is not followed, unless the path ends with `/` or `/.`.
    ///
    /// # Errors
    /// NotFound; Invalid for a path that is none.
    pub async fn archive_stat(&self, container: &Arc<Container>, path: &str) -> Result<FileStat> {
        let asked = Asked::parse(path)?;
        let name = container.record().name.clone();
        self.with_root(container, Wanted::All, move |root| Ok(find(root.as_fd(), &asked, &name)?.1)).await
    }
}

/// Pins a file, and looks at it. Blocks.
///
/// # Errors
/// NotFound; Invalid for a slash behind what is no directory.
pub(super) fn find(root: BorrowedFd<'_>, asked: &Asked, container: &str) -> Result<(OwnedFd, FileStat)> {
    let missing = || Error::NoFile { path: asked.text.clone(), container: container.to_owned() };
    let pinned = match open_in(root, &asked.path, OFlags::NOFOLLOW) {
        Err(Errno::NOENT) => return Err(missing()),
        Err(Errno::NOTDIR) => return Err(Error::Invalid(format!("lstat {}: not a directory", asked.text))),
        pinned => pinned.map_err(failed("looking at", &asked.text))?,
    };
    let stat = fstat(&pinned).map_err(failed("looking at", &asked.text))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    // Docker shows none of the kernel's files, which have no sizes to go by.
    if !is_directory && is_kernel_interface(pinned.as_fd()).map_err(failed("looking at", &asked.text))? {
        return Err(missing());
    }
    let link_target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            evaluate(root, asked.path.to_bytes()).map_err(failed("following", &asked.text))?
        }
        _ => Vec::new(),
    };
    let found = FileStat {
        name: asked.name.clone(),
        size: stat.st_size,
        mode: go_mode(&stat),
        mtime: time(&stat),
        link_target: String::from_utf8_lossy(&link_target).into_owned(),
    };
    Ok((pinned, found))
}

fn time(stat: &Stat) -> Timestamp {
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let clamped = stat.st_mtime.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second() - 1);
    Timestamp::new(clamped, nanoseconds).unwrap_or_default()
}

/// The bits of Go's `fs.FileMode`, Go 1.
fn go_mode(stat: &Stat) -> u32 {
    const DIRECTORY: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const NAMED_PIPE: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const SET_UID: u32 = 1 << 23;
    const SET_GID: u32 = 1 << 22;
    const CHAR_DEVICE: u32 = 1 << 21;
    const STICKY: u32 = 1 << 20;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => DIRECTORY,
        FileType::Symlink => SYMLINK,
        FileType::BlockDevice => DEVICE,
        FileType::CharacterDevice => DEVICE | CHAR_DEVICE,
        FileType::Fifo => NAMED_PIPE,
        FileType::Socket => SOCKET,
        _ => 0,
    };
    let special = [(0o4000, SET_UID), (0o2000, SET_GID), (0o1000, STICKY)];
    let special =
        special.iter().filter(|(bit, _)| stat.st_mode & bit != 0).fold(0, |all, (_, bit)| all | bit);
    kind | special | (stat.st_mode & 0o777)
}

/// The text of a path with all links in it followed inside the root, as far as there is something.
///
/// It is told to clients, and nothing is opened by it: each step looks at what is in the root.
fn evaluate(root: BorrowedFd<'_>, path: &[u8]) -> std::result::Result<Vec<u8>, Errno> {
    let mut done: Vec<u8> = Vec::new();
    let mut rest: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
    let mut links = 0;
    while let Some(component) = rest.pop() {
        if component == b".." {
            done.truncate(done.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
            continue;
        }
        let next = [&done[..], b"/", &component[..]].concat();
        if next.len() >= MAX_PATH {
            return Err(Errno::NAMETOOLONG);
        }
        let Some(target) = link(root, &next)? else {
            done = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS || rest.len() + target.len() > MAX_PATH {
            return Err(Errno::LOOP);
        }
        if target.starts_with(b"/") {
            done.clear();
        }
        rest.extend(components(&target).rev().map(<[u8]>::to_vec));
    }
    if done.is_empty() { Ok(b"/".to_vec()) } else { Ok(done) }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty() && *component != b".")
}

/// What a path leads to, if it is a link.
fn link(root: BorrowedFd<'_>, path: &[u8]) -> std::result::Result<Option<Vec<u8>>, Errno> {
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    let pinned = match open_in(root, &path, OFlags::NOFOLLOW) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        pinned => pinned?,
    };
    match FileType::from_raw_mode(fstat(&pinned)?.st_mode) {
        FileType::Symlink => Ok(Some(readlinkat(&pinned, c"", Vec::new())?.into_bytes())),
        _ => Ok(None),
    }
}
