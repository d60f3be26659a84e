use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use gantry_layer::{
    ApplyOptions, Archive, Compression, Compressor, DiffOptions, DiffSummary, Inflate, InflateLimits, Level,
    Limits, Target, Whiteouts, apply, diff, diff_overlay, rebase,
};
use gantry_testkit::{Need, missing, skip};
use proptest::prelude::*;

use crate::forge::Item;
use crate::place::{OVERLAY, Place};

fn root(test: &str) -> bool {
    let lacking = missing(&[Need::Root]);
    if let Some(reason) = &lacking {
        skip(test, reason);
    }
    lacking.is_none()
}

fn made(lower: Option<&Place>, upper: &Place, options: &DiffOptions) -> (Vec<u8>, DiffSummary) {
    let mut out = Vec::new();
    let summary = diff(lower.map(Place::fd), upper.fd(), &mut out, options).unwrap();
    assert_eq!(summary.bytes, out.len() as u64);
    (out, summary)
}

fn overlay(upper: &Place, lower: &[&Place]) -> Vec<u8> {
    let lower: Vec<_> = lower.iter().map(|place| place.fd()).collect();
    let mut out = Vec::new();
    diff_overlay(upper.fd(), &lower, &mut out, &DiffOptions::default()).unwrap();
    out
}

/// The names in an archive, in order; links with their targets.
fn names(mut bytes: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(&mut bytes, &Limits::default());
    let mut names = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        let path = String::from_utf8(entry.path).unwrap();
        let link = String::from_utf8(entry.link).unwrap();
        names.push(if link.is_empty() { path } else { format!("{path} -> {link}") });
    }
    names
}

fn place(items: &[Item]) -> Place {
    let place = Place::new();
    place.apply(Whiteouts::Delete, items).unwrap();
    place
}

#[test]
fn a_tree_without_anything_below_comes_whole_and_in_order() {
    let tree = place(&[
        Item::file("b/z", b"1"),
        Item::file("b/a", b"2"),
        Item::symlink("c", "b"),
        Item::hard_link("a", "b/z"),
        Item::new(b'6', "p"),
        Item::file("b.c", b""),
    ]);
    let _socket = std::os::unix::net::UnixListener::bind(tree.path("socket")).unwrap();
    let (bytes, summary) = made(None, &tree, &DiffOptions::default());
    assert_eq!(names(&bytes), ["a", "b/", "b/a", "b/z -> a", "b.c", "c -> b", "p"]);
    assert_eq!((summary.entries, summary.whiteouts), (7, 0));
    assert_eq!(bytes, made(None, &tree, &DiffOptions::default()).0);
}

#[test]
fn only_changes_come_with_the_directories_that_lead_to_them() {
    let items = [
        Item::file("a/same", b"1"),
        Item::file("a/content", b"1"),
        Item::file("a/b/mode", b"1"),
        Item::file("a/gone", b"1"),
        Item::file("dir/x/y", b"1"),
        Item::dir("attributes"),
        Item::file("untouched/z", b"1"),
        Item::file("kind", b"1"),
        Item::symlink("link", "1"),
    ];
    let (lower, upper) = (place(&items), place(&items));
    upper
        .apply(
            Whiteouts::Delete,
            &[
                Item::file("a/content", b"2"),
                Item::file("a/b/mode", b"1").mode(0o600),
                Item::file("a/.wh.gone", b""),
                Item::file(".wh.dir", b""),
                Item::dir("attributes").mode(0o700),
                Item::dir("kind"),
                Item::file("kind/x", b""),
                Item::symlink("link", "2"),
            ],
        )
        .unwrap();
    let (bytes, summary) = made(Some(&lower), &upper, &DiffOptions::default());
    assert_eq!(
        names(&bytes),
        [
            "a/",
            "a/b/",
            "a/b/mode",
            "a/content",
            "a/.wh.gone",
            "attributes/",
            ".wh.dir",
            "kind/",
            "kind/x",
            "link -> 2"
        ]
    );
    assert_eq!(summary.whiteouts, 2);
    assert_eq!(made(Some(&lower), &lower, &DiffOptions::default()).1.entries, 0);
    lower.apply_with(&bytes, Whiteouts::Delete, &ApplyOptions::default()).unwrap();
    assert_eq!(without_dir_times(&lower), without_dir_times(&upper));
}

#[test]
fn a_new_name_of_an_old_file_brings_the_file_and_links_the_old_name_to_it() {
    let (lower, upper) = (place(&[Item::file("a/old", b"1")]), place(&[Item::file("a/old", b"1")]));
    upper.apply(Whiteouts::Delete, &[Item::hard_link("b", "a/old")]).unwrap();
    let (bytes, _) = made(Some(&lower), &upper, &DiffOptions::default());
    assert_eq!(names(&bytes), ["b", "a/", "a/old -> b"]);
    lower.apply_with(&bytes, Whiteouts::Delete, &ApplyOptions::default()).unwrap();
    assert_eq!(lower.stat("a/old").ino(), lower.stat("b").ino());
}

#[test]
fn times_are_clamped_and_whole() {
    let tree = Place::new();
    std::fs::create_dir(tree.path("d")).unwrap();
    std::fs::write(tree.path("d/f"), "x").unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(2_000_000, 987_654_321);
    std::fs::File::open(tree.path("d/f")).unwrap().set_modified(time).unwrap();
    for (epoch, wanted) in [(None, 2_000_000), (Some(1_000_000), 1_000_000), (Some(3_000_000), 2_000_000)] {
        let (bytes, _) =
            made(None, &tree, &DiffOptions { source_date_epoch: epoch, ..DiffOptions::default() });
        let mut source = &bytes[..];
        let mut archive = Archive::new(&mut source, &Limits::default());
        let dir = archive.next_entry().unwrap().unwrap();
        let file = archive.next_entry().unwrap().unwrap();
        assert_eq!((file.mtime.seconds, file.mtime.nanoseconds), (wanted, 0));
        assert!(epoch.is_none_or(|epoch| dir.mtime.seconds == epoch));
    }
}

#[test]
fn what_a_header_cannot_hold_comes_as_pax() {
    if !root("what_a_header_cannot_hold_comes_as_pax") {
        return;
    }
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(200));
    let target = "t".repeat(300);
    let tree = place(&[
        Item::file("x", b"data").pax(&[
            ("path", long.as_bytes()),
            ("uid", b"4000000000"),
            ("gid", b"2097152"),
            ("mtime", b"-77"),
        ]),
        Item::symlink("link", &target),
        Item::file("attributes", b"").pax(&[("SCHILY.xattr.user.b", b"\0\n"), ("SCHILY.xattr.user.a", b"")]),
        Item::device("null", b'3', 1, 3),
    ]);
    let (bytes, _) = made(None, &tree, &DiffOptions::default());
    let again = Place::new();
    again.apply_with(&bytes, Whiteouts::Delete, &ApplyOptions::default()).unwrap();
    assert_eq!(without_dir_times(&again), without_dir_times(&tree));
    assert_eq!(again.stat(&long).uid(), 4_000_000_000);
}

#[test]
fn a_name_that_would_be_a_whiteout_is_refused() {
    let tree = Place::new();
    std::fs::write(tree.path(".wh.x"), "").unwrap();
    assert!(diff(None, tree.fd(), &mut Vec::new(), &DiffOptions::default()).is_err());
}

#[test]
fn what_the_upper_directory_says_is_the_same_as_the_walk() {
    if !root("what_the_upper_directory_says_is_the_same_as_the_walk") {
        return;
    }
    let (lower, _) = Place::layer(&[
        Item::dir("a"),
        Item::file("a/same", b"1"),
        Item::file("a/gone", b"1"),
        Item::file("a/changed", b"1"),
        Item::dir("opaque"),
        Item::file("opaque/old", b"1"),
        Item::dir("copied"),
        Item::dir("empty"),
    ]);
    let (upper, applied) = Place::layer(&[
        Item::file("a/same", b"1"),
        Item::file("a/.wh.gone", b""),
        Item::file("a/.wh.never", b""),
        Item::file("a/changed", b"2"),
        Item::dir("opaque"),
        Item::file("opaque/.wh..wh..opq", b""),
        Item::file("opaque/new", b"1"),
        Item::dir("copied"),
        Item::dir("empty"),
        Item::file("empty/.wh..wh..opq", b""),
    ]);
    rebase(upper.fd(), &[lower.fd()], &applied.implied).unwrap();
    assert_eq!(
        names(&overlay(&upper, &[&lower])),
        ["a/", "a/changed", "a/.wh.gone", "opaque/", "opaque/.wh..wh..opq", "opaque/new"]
    );
    rustix::fs::setxattr(upper.path("a"), "trusted.overlay.redirect", b"/x", rustix::fs::XattrFlags::empty())
        .unwrap();
    let error =
        diff_overlay(upper.fd(), &[lower.fd()], &mut Vec::new(), &DiffOptions::default()).unwrap_err();
    assert_eq!(error.kind(), gantry_types::ErrorKind::FailedPrecondition);
}

#[test]
fn a_layer_survives_every_compression() {
    let tree = place(&[Item::file("a/b", &[b'x'; 100_000]), Item::symlink("c", "a")]);
    let (bytes, _) = made(None, &tree, &DiffOptions::default());
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let mut packed = Compressor::new(Vec::new(), compression, Level::At(1)).unwrap();
        diff(None, tree.fd(), &mut packed, &DiffOptions::default()).unwrap();
        let packed = packed.finish().unwrap();
        let mut inflate = Inflate::new(&packed[..], compression, InflateLimits::default());
        let again = Place::new();
        let target = Target { root: again.fd(), whiteouts: Whiteouts::Delete, lower: &[] };
        let applied = apply(&mut inflate, &target, &ApplyOptions::default()).unwrap();
        assert_eq!(applied.archive_bytes, bytes.len() as u64);
        assert_eq!(without_dir_times(&again), without_dir_times(&tree));
    }
}

/// A tree without the times of directories, which are in a layer only if it has the directory.
fn without_dir_times(place: &Place) -> BTreeMap<String, String> {
    let mut tree = place.tree();
    for (name, text) in &mut tree {
        if place.stat(name).is_dir() {
            let mut words: Vec<&str> = text.split(' ').collect();
            words.remove(2);
            *text = words.join(" ");
        }
    }
    tree
}

/// One thing that happens to a tree.
#[derive(Debug, Clone)]
enum Act {
    Write(usize, u8, u32),
    Directory(usize, u32),
    Link(usize, usize),
    Symlink(usize, u8),
    Remove(usize),
    Attribute(usize, u8),
}

const NAMES: [&str; 9] = ["a", "b", "a/a", "a/b", "b/a", "a/a/a", "a/a/b", "b/a/c", "c"];

fn act() -> impl Strategy<Value = Act> {
    let name = 0..NAMES.len();
    prop_oneof![
        4 => (name.clone(), any::<u8>(), 0u32..0o1000).prop_map(|(name, byte, mode)| Act::Write(name, byte, mode)),
        3 => (name.clone(), 0u32..0o1000).prop_map(|(name, mode)| Act::Directory(name, mode)),
        2 => (name.clone(), name.clone()).prop_map(|(name, to)| Act::Link(name, to)),
        1 => (name.clone(), 0u8..3).prop_map(|(name, to)| Act::Symlink(name, to)),
        3 => name.clone().prop_map(Act::Remove),
        1 => (name, 0u8..3).prop_map(|(name, value)| Act::Attribute(name, value)),
    ]
}

fn clear(path: &Path) {
    match std::fs::symlink_metadata(path) {
        Ok(stat) if stat.is_dir() => std::fs::remove_dir_all(path).unwrap(),
        Ok(_) => std::fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn settle(path: &Path, seconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Does it if it is possible; names never lead through links.
fn perform(root: &Path, act: &Act) {
    let plain = |name: usize| {
        let path = root.join(NAMES[name]);
        let parent = path.parent().unwrap().to_path_buf();
        let mut above = parent.as_path();
        while above != root {
            if !std::fs::symlink_metadata(above).is_ok_and(|stat| stat.is_dir()) {
                return None;
            }
            above = above.parent().unwrap();
        }
        Some(path)
    };
    match *act {
        Act::Write(name, byte, mode) => {
            let Some(path) = plain(name) else { return };
            clear(&path);
            std::fs::write(&path, vec![byte; usize::from(byte)]).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            settle(&path, i64::from(byte));
        }
        Act::Directory(name, mode) => {
            let Some(path) = plain(name) else { return };
            if !std::fs::symlink_metadata(&path).is_ok_and(|stat| stat.is_dir()) {
                clear(&path);
                std::fs::create_dir(&path).unwrap();
            }
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode | 0o700)).unwrap();
        }
        Act::Link(name, to) => {
            let (Some(path), Some(to)) = (plain(name), plain(to)) else { return };
            let file = std::fs::symlink_metadata(&to).is_ok_and(|stat| !stat.is_dir());
            if file && !path.starts_with(&to) && !to.starts_with(&path) {
                clear(&path);
                std::fs::hard_link(to, path).unwrap();
            }
        }
        Act::Symlink(name, to) => {
            let Some(path) = plain(name) else { return };
            clear(&path);
            symlink(["a", "/nowhere", "../b"][usize::from(to)], &path).unwrap();
            settle(&path, 1000);
        }
        Act::Remove(name) => {
            if let Some(path) = plain(name) {
                clear(&path);
            }
        }
        Act::Attribute(name, value) => {
            let Some(path) = plain(name) else { return };
            if std::fs::symlink_metadata(&path).is_ok_and(|stat| !stat.is_symlink()) {
                rustix::fs::setxattr(&path, "user.x", &[value], rustix::fs::XattrFlags::empty()).unwrap();
            }
        }
    }
}

/// A copy that keeps everything, by way of a layer.
fn copied(of: &Place) -> Place {
    let (bytes, _) = made(None, of, &DiffOptions::default());
    let place = Place::new();
    place.apply_with(&bytes, Whiteouts::Delete, &ApplyOptions::default()).unwrap();
    place
}

/// What an overlay of these layers shows, the nearest first: a mount needs no kernel module that the test lacks.
fn mounted(layers: &[&Place], check: impl FnOnce(&Place)) {
    let seen = Place::new();
    let lower: Vec<_> = layers.iter().map(|place| place.path("").display().to_string()).collect();
    let lower = lower.iter().map(|path| path.trim_end_matches('/')).collect::<Vec<_>>().join(":");
    let empty = Place::new();
    let options = format!("lowerdir={lower}:{}", empty.path("").display().to_string().trim_end_matches('/'));
    let options = std::ffi::CString::new(options).unwrap();
    let target = seen.path("");
    rustix::mount::mount(
        "overlay",
        &target,
        "overlay",
        rustix::mount::MountFlags::RDONLY,
        options.as_c_str(),
    )
    .unwrap();
    struct Mounted(std::path::PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    }
    let _mounted = Mounted(target);
    check(&seen);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// In place, and as a layer of an overlay that the kernel mounts; and what the upper directory says makes the same again.
    #[test]
    fn a_diff_applied_to_what_is_below_gives_what_it_was_made_of(
        before in prop::collection::vec(act(), 0..25),
        after in prop::collection::vec(act(), 0..25),
    ) {
        if let Some(reason) = missing(&[Need::Root]) {
            skip("a_diff_applied_to_what_is_below_gives_what_it_was_made_of", &reason);
            return Ok(());
        }
        let lower = Place::new();
        before.iter().for_each(|act| perform(&lower.path(""), act));
        let upper = copied(&lower);
        prop_assert_eq!(without_dir_times(&lower), without_dir_times(&upper));
        after.iter().for_each(|act| perform(&upper.path(""), act));
        let (bytes, _) = made(Some(&lower), &upper, &DiffOptions::default());
        let wanted = without_dir_times(&upper);

        let changes = Place::new();
        let applied = changes.apply_with(&bytes, OVERLAY, &ApplyOptions::default()).unwrap();
        rebase(changes.fd(), &[lower.fd()], &applied.implied).unwrap();
        mounted(&[&changes, &lower], |seen| assert_eq!(without_dir_times(seen), wanted));

        let again = overlay(&changes, &[&lower]);
        let twice = copied(&lower);
        twice.apply_with(&again, Whiteouts::Delete, &ApplyOptions::default()).unwrap();
        prop_assert_eq!(&without_dir_times(&twice), &wanted);

        lower.apply_with(&bytes, Whiteouts::Delete, &ApplyOptions::default()).unwrap();
        prop_assert_eq!(&without_dir_times(&lower), &wanted);
    }
}
