//! Changes to trees, and their comparison.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lgetxattr, llistxattr, mknodat, setxattr};

/// Attributes that tell something of the file, and not of where it lies.
const COMPARED_XATTRS: [&str; 2] = ["user.", "security.capability"];

/// A change of a tree.
#[derive(Debug, Clone)]
pub(super) enum Change {
    File(String, Vec<u8>, u32),
    Dir(String, u32),
    /// With everything below.
    Remove(String),
    Rename(String, String),
    /// An existing name, and a new one.
    Link(String, String),
    Symlink(String, String),
    Chown(String, u32, u32),
    Chmod(String, u32),
    Fifo(String),
    Device(String, u64),
    Xattr(String, &'static str, Vec<u8>),
}

pub(super) fn file(path: &str, content: &str, mode: u32) -> Change {
    Change::File(path.into(), content.into(), mode)
}

pub(super) fn dir(path: &str, mode: u32) -> Change {
    Change::Dir(path.into(), mode)
}

pub(super) fn remove(path: &str) -> Change {
    Change::Remove(path.into())
}

pub(super) fn rename(from: &str, to: &str) -> Change {
    Change::Rename(from.into(), to.into())
}

pub(super) fn link(old: &str, new: &str) -> Change {
    Change::Link(old.into(), new.into())
}

pub(super) fn own(path: &str, uid: u32, gid: u32) -> Change {
    Change::Chown(path.into(), uid, gid)
}

/// Makes changes below a directory, in order.
pub(super) fn apply(root: &Path, changes: &[Change]) {
    for change in changes {
        try_apply(root, change).unwrap_or_else(|error| panic!("{change:?} in {}: {error}", root.display()));
    }
}

fn try_apply(root: &Path, change: &Change) -> std::io::Result<()> {
    let at = |path: &str| root.join(path);
    let mode = |path: PathBuf, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    match change {
        Change::File(path, content, bits) => {
            fs::write(at(path), content)?;
            mode(at(path), *bits)
        }
        Change::Dir(path, bits) => {
            fs::create_dir(at(path))?;
            mode(at(path), *bits)
        }
        Change::Remove(path) if at(path).symlink_metadata()?.is_dir() => fs::remove_dir_all(at(path)),
        Change::Remove(path) => fs::remove_file(at(path)),
        Change::Rename(from, to) => fs::rename(at(from), at(to)),
        Change::Link(old, new) => fs::hard_link(at(old), at(new)),
        Change::Symlink(target, path) => symlink(target, at(path)),
        Change::Chown(path, uid, gid) if path.is_empty() => chown(root, Some(*uid), Some(*gid)),
        Change::Chown(path, uid, gid) => lchown(at(path), Some(*uid), Some(*gid)),
        Change::Chmod(path, bits) => mode(at(path), *bits),
        Change::Fifo(path) => Ok(mknodat(CWD, at(path), FileType::Fifo, Mode::RUSR, 0)?),
        Change::Device(path, number) => {
            Ok(mknodat(CWD, at(path), FileType::CharacterDevice, Mode::RUSR, *number)?)
        }
        Change::Xattr(path, name, value) => Ok(setxattr(at(path), *name, value, XattrFlags::empty())?),
    }
}

/// What is compared of a file.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    mode: u32,
    owner: (u32, u32),
    /// Contents, the target of a link, or a device's number.
    content: Vec<u8>,
    /// The first name of the same file.
    first: PathBuf,
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// Fails where two trees differ: in names, types, modes, owners, contents, links or attributes.
pub(super) fn assert_same(expected: &Path, actual: &Path) {
    let (a, b) = (facts(expected), facts(actual));
    let names = |facts: &BTreeMap<PathBuf, Facts>| facts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b), "names below {} and {}", expected.display(), actual.display());
    for (name, facts) in &a {
        assert_eq!(Some(facts), b.get(name), "{}", name.display());
    }
}

fn facts(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let (mut all, mut firsts, mut pending) = (BTreeMap::new(), BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(dir) = pending.pop() {
        let entries = fs::read_dir(root.join(&dir)).expect("a directory can be read");
        let mut names: Vec<_> =
            entries.map(|entry| dir.join(entry.expect("an entry can be read").file_name())).collect();
        names.sort();
        for name in names {
            let path = root.join(&name);
            let metadata = path.symlink_metadata().expect("a file can be examined");
            if metadata.is_dir() {
                pending.push(name.clone());
            }
            let identity = (metadata.dev(), metadata.ino());
            let linked = metadata.nlink() > 1 && !metadata.is_dir();
            let first =
                if linked { firsts.entry(identity).or_insert(name.clone()).clone() } else { name.clone() };
            let facts = Facts {
                mode: metadata.mode(),
                owner: (metadata.uid(), metadata.gid()),
                content: content(&path, &metadata),
                first,
                xattrs: xattrs(&path),
            };
            all.insert(name, facts);
        }
    }
    all
}

fn content(path: &Path, metadata: &fs::Metadata) -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    let kind = metadata.file_type();
    if kind.is_file() {
        fs::read(path).expect("a file can be read")
    } else if kind.is_symlink() {
        fs::read_link(path).expect("a link can be read").into_os_string().into_vec()
    } else if kind.is_dir() {
        Vec::new()
    } else {
        metadata.rdev().to_string().into_bytes()
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = llistxattr(path, &mut names).unwrap_or(0);
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    let compared = |name: &&str| COMPARED_XATTRS.iter().any(|prefix| name.starts_with(prefix));
    let value = |name: &str| {
        let mut value = vec![0; 4096];
        let length = lgetxattr(path, name, &mut value).expect("an attribute can be read");
        value.truncate(length);
        value
    };
    let overlay = |name: &&str| !name.starts_with("user.overlay.");
    names.split('\0').filter(compared).filter(overlay).map(|name| (name.to_owned(), value(name))).collect()
}
