//! What is left out of a tree, and `--parents`: trees that are taken apart are copied first, and lose what is left out.
//!
//! The patterns are those of `.dockerignore`. `--exclude` sees names below each directory that is copied, and the last name of a file;
//! with `--parents`, whole paths, or what follows `/./` in the source.

use std::ffi::{CStr, CString};
use std::fs::DirBuilder;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use gantry_sys::path::open_in_root;
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, fchmod, fchown, fstat, futimens, mkdirat, openat,
    unlinkat,
};
use rustix::io::Errno;

use crate::context::MAX_DEPTH;
use crate::ignore::Ignore;
use crate::place::{self, Archives, Place};
use crate::tree::{Source, list, reopen};
use crate::{Error, Result};

/// Removes what is excluded from a tree of the builder's own. Blocks.
///
/// # Errors
/// Io.
pub(crate) fn remove_excluded(root: BorrowedFd<'_>, ignore: &Ignore) -> Result<()> {
    if ignore.is_empty() {
        return Ok(());
    }
    remove_in(root, "", 0, ignore)
}

fn remove_in(dir: BorrowedFd<'_>, path: &str, depth: usize, ignore: &Ignore) -> Result<()> {
    for (name, is_dir) in list(dir, path)? {
        // No pattern can name what is no text.
        let Some(text) = name.to_str().ok() else { continue };
        let path = if path.is_empty() { text.to_owned() } else { format!("{path}/{text}") };
        let excluded = ignore.excludes(&path);
        if is_dir && (!excluded || ignore.has_exceptions()) && depth < MAX_DEPTH {
            let inner = open_dir(dir, &name, &path)?;
            remove_in(inner.as_fd(), &path, depth + 1, ignore)?;
        }
        if !excluded {
            continue;
        }
        let removed = if is_dir && ignore.has_exceptions() {
            // What was taken back stays in it.
            match unlinkat(dir, &name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY) => Ok(()),
                result => result,
            }
        } else if is_dir {
            remove_tree(dir, &name, &path)?;
            Ok(())
        } else {
            unlinkat(dir, &name, AtFlags::empty())
        };
        removed.map_err(Error::errno("removing", &path))?;
    }
    Ok(())
}

fn open_dir(dir: BorrowedFd<'_>, name: &CStr, path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).map_err(Error::errno("opening", path))
}

fn remove_tree(dir: BorrowedFd<'_>, name: &CStr, path: &str) -> Result<()> {
    let inner = open_dir(dir, name, path)?;
    for (child, is_dir) in list(inner.as_fd(), path)? {
        if is_dir {
            remove_tree(inner.as_fd(), &child, path)?;
        } else {
            unlinkat(&inner, &child, AtFlags::empty()).map_err(Error::errno("removing", path))?;
        }
    }
    unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(Error::errno("removing", path))
}

/// A copy of directories without what is excluded, and files that are not. `place` is a directory that is not there yet. Blocks.
///
/// # Errors
/// Io, and those of copying.
pub(crate) fn without(sources: Vec<Source>, ignore: &Ignore, place: &Path) -> Result<Vec<Source>> {
    let mut kept = Vec::with_capacity(sources.len());
    for (number, source) in sources.into_iter().enumerate() {
        if !source.is_dir {
            let is_out = std::str::from_utf8(&source.name).is_ok_and(|name| ignore.excludes(name));
            kept.extend((!is_out).then_some(source));
            continue;
        }
        let stage = Stage::make(&place.join(number.to_string()))?;
        stage.copy(&source, "/")?;
        remove_excluded(stage.root.as_fd(), ignore)?;
        let name = source.name.clone();
        kept.push(stage.into_source(name)?);
    }
    Ok(kept)
}

/// One tree of all sources with the directories above them, without what is excluded. Each comes with the number of parts of its path
/// that do not count. Blocks.
///
/// # Errors
/// Io, and those of copying.
pub(crate) fn with_parents(
    root: BorrowedFd<'_>,
    sources: Vec<(Source, usize)>,
    ignore: &Ignore,
    place: &Path,
) -> Result<Source> {
    let stage = Stage::make(place)?;
    for (source, skipped) in sources {
        let parts: Vec<&str> = source.path.split('/').filter(|part| !part.is_empty()).collect();
        let mut inner = String::new();
        let above = if source.is_dir { parts.len() } else { parts.len().saturating_sub(1) };
        for end in skipped + 1..=above {
            inner.push('/');
            inner.push_str(parts[end - 1]);
            stage.directory(root, &parts[..end].join("/"), &inner)?;
        }
        let target = if source.is_dir {
            format!("{inner}/")
        } else {
            format!("{inner}/{}", parts.last().unwrap_or(&""))
        };
        stage.copy(&source, &target)?;
    }
    remove_excluded(stage.root.as_fd(), ignore)?;
    stage.into_source(Vec::new())
}

/// A directory that things are copied into before they are copied.
struct Stage {
    root: OwnedFd,
}

impl Stage {
    fn make(place: &Path) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o755).create(place).map_err(Error::io("making", place))?;
        let root = std::fs::File::open(place).map_err(Error::io("opening", place))?.into();
        Ok(Self { root })
    }

    /// Copies something as it is.
    fn copy(&self, source: &Source, target: &str) -> Result<()> {
        let place = Place { path: target.to_owned(), owner: None, mode: None, archives: Archives::Copied };
        place::copy(self.root.as_fd(), source, &place)
    }

    /// Makes a directory like another one, if it is not there.
    fn directory(&self, root: BorrowedFd<'_>, like: &str, path: &str) -> Result<()> {
        let failed = || Error::errno("making", path);
        let text = |path: &str| {
            CString::new(path.trim_start_matches('/'))
                .map_err(|_| Error::Invalid("a path has a zero byte".to_owned()))
        };
        let at = text(path)?;
        match mkdirat(&self.root, &at, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => return Ok(()),
            made => made.map_err(failed())?,
        }
        let stat =
            fstat(open_in_root(root, &text(like)?, OFlags::PATH | OFlags::DIRECTORY).map_err(failed())?)
                .map_err(failed())?;
        let made = openat(
            &self.root,
            &at,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let made = made.map_err(failed())?;
        fchown(&made, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))).map_err(failed())?;
        fchmod(&made, Mode::from_raw_mode(stat.st_mode)).map_err(failed())?;
        let modified = Timespec { tv_sec: stat.st_mtime, tv_nsec: 0 };
        futimens(&made, &Timestamps { last_access: modified, last_modification: modified }).map_err(failed())
    }

    fn into_source(self, name: Vec<u8>) -> Result<Source> {
        let file =
            reopen(self.root.as_fd(), OFlags::PATH).map_err(Error::errno("opening", "what is copied"))?;
        Ok(Source { name, file, is_dir: true, is_fetched: false, path: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{find, find_with_parents};
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/b/x.txt", "a/b/y.md", "a/c/x.txt", "d/x.txt", "top.md"] {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::write(dir.path().join(path), path).unwrap();
        }
        fs::set_permissions(dir.path().join("a/b"), fs::Permissions::from_mode(0o2710)).unwrap();
        let root = File::open(dir.path()).unwrap().into();
        (dir, root)
    }

    fn names(source: &Source) -> Vec<String> {
        fn below(dir: BorrowedFd<'_>, path: &str, found: &mut Vec<String>) {
            for (name, is_dir) in list(dir, path).unwrap() {
                let path = format!("{path}{}", name.to_str().unwrap());
                match is_dir {
                    true => below(open_dir(dir, &name, &path).unwrap().as_fd(), &format!("{path}/"), found),
                    false => found.push(path),
                }
            }
        }
        let mut found = Vec::new();
        let dir = reopen(source.file.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY).unwrap();
        below(dir.as_fd(), "", &mut found);
        found
    }

    fn patterns(texts: &[&str]) -> Ignore {
        Ignore::of(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_is_excluded_is_left_out_of_directories_and_files() {
        let (dir, root) = tree();
        let sources = |texts: &[&str]| {
            texts.iter().flat_map(|text| find(root.as_fd(), text).unwrap()).collect::<Vec<_>>()
        };
        let kept =
            without(sources(&["a", "top.md"]), &patterns(&["**/*.md"]), &dir.path().join("s1")).unwrap();
        assert_eq!((kept.len(), names(&kept[0])), (1, vec!["b/x.txt".to_owned(), "c/x.txt".to_owned()]));
        let kept = without(sources(&["a"]), &patterns(&["*", "!b/*.md"]), &dir.path().join("s2")).unwrap();
        assert_eq!(names(&kept[0]), ["b/y.md"]);
        assert!(Ignore::of(&["[".to_owned()]).is_err());
        // The context itself is as it was.
        assert!(dir.path().join("a/b/y.md").exists());
    }

    #[test]
    fn directories_above_come_along_as_they_are() {
        let (dir, root) = tree();
        let parents = |texts: &[&str], exclude: &[&str], place: &str| {
            let below =
                texts.iter().flat_map(|text| find_with_parents(root.as_fd(), text).unwrap()).collect();
            names(&with_parents(root.as_fd(), below, &patterns(exclude), &dir.path().join(place)).unwrap())
        };
        assert_eq!(parents(&["./a/b/x.txt", "d"], &[], "s1"), ["a/b/x.txt", "d/x.txt"]);
        assert_eq!(fs::metadata(dir.path().join("s1/a/b")).unwrap().permissions().mode() & 0o7777, 0o2710);
        assert_eq!(parents(&["./a/./b/*"], &[], "s2"), ["b/x.txt", "b/y.md"]);
        assert_eq!(parents(&["a/./*/x.txt"], &[], "s3"), ["b/x.txt", "c/x.txt"]);
        assert_eq!(parents(&["**/x.txt"], &["a/c"], "s4")[..2], ["a/b/x.txt", "d/x.txt"]);
    }

    #[test]
    fn parents_that_are_links_lead_nowhere_else() {
        let (dir, root) = tree();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        assert!(find_with_parents(root.as_fd(), "out/secret").is_err());
        symlink("a", dir.path().join("in")).unwrap();
        let below = find_with_parents(root.as_fd(), "in/b/x.txt").unwrap();
        let source = with_parents(root.as_fd(), below, &patterns(&[]), &dir.path().join("s")).unwrap();
        assert_eq!(names(&source), ["in/b/x.txt"]);
    }
}
