use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use gantry_testkit::{Need, require};
use rustix::fs::{CWD, XattrFlags, lsetxattr, setxattr};

use super::*;

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

fn copied(make: impl Fn(&Path), check: impl Fn(&Path, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    make(&from);
    copy(open(&from), open(&to)).unwrap();
    check(&from, &to);
}

fn same(from: &Path, to: &Path, name: &str) {
    let (a, b) = (from.join(name).symlink_metadata().unwrap(), to.join(name).symlink_metadata().unwrap());
    let facts =
        |m: &fs::Metadata| (m.mode(), m.uid(), m.gid(), m.rdev(), m.nlink(), m.mtime(), m.mtime_nsec());
    assert_eq!(facts(&a), facts(&b), "{name}");
    if !a.is_dir() {
        assert_eq!(a.len(), b.len(), "{name}");
    }
}

#[test]
fn hard_links_stay_links() {
    copied(
        |root| {
            fs::create_dir_all(root.join("a/b")).unwrap();
            fs::write(root.join("a/b/one"), "x").unwrap();
            fs::hard_link(root.join("a/b/one"), root.join("two")).unwrap();
            fs::hard_link(root.join("a/b/one"), root.join("a/three")).unwrap();
        },
        |_, to| {
            let inode = |name: &str| to.join(name).metadata().unwrap().ino();
            assert_eq!(inode("a/b/one"), inode("two"));
            assert_eq!(inode("a/b/one"), inode("a/three"));
            assert_eq!(to.join("two").metadata().unwrap().nlink(), 3);
        },
    );
}

#[test]
fn modes_and_times_are_those_of_the_original_directories_too() {
    copied(
        |root| {
            fs::create_dir_all(root.join("a/b")).unwrap();
            fs::write(root.join("a/b/file"), "x").unwrap();
            symlink("nowhere", root.join("a/link")).unwrap();
            fs::set_permissions(root.join("a/b/file"), fs::Permissions::from_mode(0o4755)).unwrap();
            fs::set_permissions(root.join("a/b"), fs::Permissions::from_mode(0o1777)).unwrap();
            fs::set_permissions(root, fs::Permissions::from_mode(0o751)).unwrap();
        },
        |from, to| {
            for name in ["", "a", "a/b", "a/b/file", "a/link"] {
                same(from, to, name);
            }
            assert_eq!(fs::read_link(to.join("a/link")).unwrap(), Path::new("nowhere"));
        },
    );
}

#[test]
fn owners_devices_and_capabilities_are_kept() {
    require!(Need::Root);
    // A v2 capability set: permitted and effective CAP_NET_RAW.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    copied(
        |root| {
            fs::write(root.join("ping"), "x").unwrap();
            std::os::unix::fs::chown(root.join("ping"), Some(1), Some(2)).unwrap();
            setxattr(root.join("ping"), "security.capability", &capability, XattrFlags::empty()).unwrap();
            symlink("ping", root.join("link")).unwrap();
            std::os::unix::fs::lchown(root.join("link"), Some(3), Some(4)).unwrap();
            lsetxattr(root.join("link"), "trusted.test", b"of the link", XattrFlags::empty()).unwrap();
            mknodat(CWD, root.join("null"), FileType::CharacterDevice, Mode::RUSR, 0x103).unwrap();
            mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
            setxattr(root.join("null"), "trusted.big", &[7; 3000], XattrFlags::empty()).unwrap();
        },
        |from, to| {
            ["ping", "link", "null", "fifo"].iter().for_each(|name| same(from, to, name));
            let get = |name: &str, attribute: &str| {
                let mut value = vec![0; 4096];
                let length = rustix::fs::lgetxattr(to.join(name), attribute, &mut value).unwrap();
                value[..length].to_vec()
            };
            assert_eq!(get("ping", "security.capability"), capability);
            assert_eq!(get("link", "trusted.test"), b"of the link");
            assert_eq!(get("null", "trusted.big"), [7; 3000]);
            assert!(to.join("fifo").metadata().unwrap().file_type().is_fifo());
        },
    );
}
