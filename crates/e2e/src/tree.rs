//! What a directory holds, byte and attribute, in a form that can be compared.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::images::digest;

/// A description for each path, from the root.
pub type Tree = BTreeMap<String, String>;

/// Times after this one were made when the tree was, and not taken from an archive: 2024-01-01.
const RECENT: i64 = 1_704_067_200;

/// Describes everything at and below `root`: kind, mode, owner, size, device, time of change, attributes, number of links,
/// what files hold and where links lead.
///
/// # Panics
/// When something cannot be read.
pub fn describe(root: &Path) -> Tree {
    let mut tree = Tree::new();
    walk(root, root, &mut tree);
    tree
}

fn walk(root: &Path, path: &Path, tree: &mut Tree) {
    let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
    tree.insert(if name.is_empty() { ".".into() } else { name }, describe_one(path));
    if fs::symlink_metadata(path).expect("lstat").is_dir() {
        for entry in fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry")) {
            walk(root, &entry.path(), tree);
        }
    }
}

fn describe_one(path: &Path) -> String {
    let meta = fs::symlink_metadata(path).expect("lstat");
    let mut text = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
    let mut add = |part: std::fmt::Arguments<'_>| text.write_fmt(part).expect("a string takes text");
    if meta.mtime() < RECENT {
        add(format_args!(" {}.{:09}", meta.mtime(), meta.mtime_nsec()));
    }
    if meta.is_file() {
        add(format_args!(" {} {}", meta.nlink(), digest(&fs::read(path).expect("a file"))));
    } else if meta.is_symlink() {
        add(format_args!(" -> {}", fs::read_link(path).expect("a link").display()));
    } else if !meta.is_dir() {
        add(format_args!(" device {}", meta.rdev()));
    }
    for (name, value) in attributes(path) {
        add(format_args!(" {name}={value:02x?}"));
    }
    text
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names[..]).expect("llistxattr");
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let read = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value[..])
            .expect("lgetxattr");
        value.truncate(length);
        (String::from_utf8_lossy(name).into_owned(), value)
    };
    names.map(read).filter(|(name, _)| !name.starts_with("trusted.") && name != "security.selinux").collect()
}

/// Asserts that two trees are the same but for times that only one of them has.
///
/// # Panics
/// With what differs.
#[track_caller]
pub fn assert_same(found: &Tree, expected: &Tree) {
    let mut wrong = Vec::new();
    for name in found.keys().chain(expected.keys()) {
        let line = match (found.get(name), expected.get(name)) {
            (Some(ours), Some(theirs)) if without_time(ours, theirs) != without_time(theirs, ours) => {
                format!("{name}: {ours}, not {theirs}")
            }
            (Some(ours), None) => format!("{name}: {ours}, which is not there"),
            (None, Some(theirs)) => format!("{name}: missing: {theirs}"),
            _ => continue,
        };
        if !wrong.contains(&line) {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The description without its time, where the other one has none.
fn without_time(text: &str, other: &str) -> String {
    let is_time = |word: &str| {
        word.split_once('.')
            .is_some_and(|(_, rest)| rest.len() == 9 && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let has_time = |text: &str| text.split(' ').nth(2).is_some_and(is_time);
    if has_time(text) && !has_time(other) {
        return text
            .split(' ')
            .enumerate()
            .filter(|(at, _)| *at != 2)
            .map(|(_, word)| word)
            .collect::<Vec<_>>()
            .join(" ");
    }
    text.to_owned()
}
