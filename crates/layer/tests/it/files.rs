//! Archives, copies and comparisons of trees as they are, and archives that are no layers.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use gantry_layer::{
    Applied, ApplyOptions, Archive, Change, ChangeKind, Devices, Error, Limits, PackOptions, Replace,
    RootEntry, TopEntry, Whiteouts, changes, changes_overlay, copy_tree, pack,
};
use gantry_testkit::{Need, missing, skip};

use crate::forge::{Item, archive};
use crate::place::Place;

fn root(test: &str) -> bool {
    let lacking = missing(&[Need::Root]);
    if let Some(reason) = &lacking {
        skip(test, reason);
    }
    lacking.is_none()
}

fn place(items: &[Item]) -> Place {
    let place = Place::new();
    place.apply(Whiteouts::Delete, items).unwrap();
    place
}

fn packed(place: &Place, name: &str, entry: TopEntry) -> Vec<u8> {
    let mut out = Vec::new();
    let options = PackOptions { top: entry, ..PackOptions::default() };
    let summary = pack(place.fd(), name.as_bytes(), &mut out, &options).unwrap();
    assert_eq!(summary.bytes, out.len() as u64);
    out
}

fn names(mut bytes: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(&mut bytes, &Limits::default());
    let mut names = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        let (path, link) = (String::from_utf8(entry.path).unwrap(), String::from_utf8(entry.link).unwrap());
        names.push(if link.is_empty() { path } else { format!("{path} -> {link}") });
    }
    names
}

fn put(place: &Place, base: &str, options: ApplyOptions, items: &[Item]) -> Result<Applied, Error> {
    let options = ApplyOptions { base: base.into(), ..options };
    place.apply_with(&archive(items), Whiteouts::None, &options)
}

fn sample() -> Place {
    place(&[
        Item::dir("d").mode(0o750),
        Item::file("d/z", b"1"),
        Item::file("d/a", b"22").mode(0o4755),
        Item::hard_link("d/b", "d/a"),
        Item::symlink("link", "d"),
        Item::new(b'6', "fifo"),
        Item::dir("empty"),
    ])
}

#[test]
fn a_pack_comes_in_order_under_any_name() {
    let tree = sample();
    let below = ["d/", "d/a", "d/b -> {}d/a", "d/z", "empty/", "fifo", "link -> d"];
    let expect = |prefix: &str, top: &[&str]| {
        let below = below.iter().map(|name| format!("{prefix}{}", name.replace("{}", prefix)));
        top.iter().map(|&name| name.to_owned()).chain(below).collect::<Vec<_>>()
    };
    assert_eq!(names(&packed(&tree, "", TopEntry::Left)), expect("", &[]));
    assert_eq!(names(&packed(&tree, "x", TopEntry::Given)), expect("x/", &["x/"]));
    assert_eq!(names(&packed(&tree, ".", TopEntry::Given)), expect("./", &["./"]));
    assert_eq!(names(&packed(&tree, "/", TopEntry::Given)), expect("/", &["/"]));
}

#[test]
fn hollow_directories_are_given_without_what_is_in_them() {
    let tree = sample();
    let mut out = Vec::new();
    let options = PackOptions { hollow: &[b"d"], ..PackOptions::default() };
    pack(tree.fd(), b"/", &mut out, &options).unwrap();
    assert_eq!(names(&out), ["/", "/d/", "/empty/", "/fifo", "/link -> d"]);
}

#[test]
fn a_pack_makes_the_same_tree_again() {
    if !root("a_pack_makes_the_same_tree_again") {
        return;
    }
    let tree = sample();
    std::fs::write(tree.path(".wh.not-a-whiteout"), "x").unwrap();
    rustix::fs::lsetxattr(tree.path("d"), "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    for path in ["", "d", ".wh.not-a-whiteout"] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        std::fs::File::open(tree.path(path))
            .unwrap()
            .set_times(std::fs::FileTimes::new().set_modified(time))
            .unwrap();
    }
    let again = Place::new();
    let options = ApplyOptions { root_entry: RootEntry::Apply, ..ApplyOptions::default() };
    again.apply_with(&packed(&tree, ".", TopEntry::Given), Whiteouts::None, &options).unwrap();
    assert_eq!(tree.tree(), again.tree());
}

#[test]
fn one_file_is_packed_alone_and_what_it_is_decides() {
    let tree = sample();
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW;
    for (path, expect) in [("d/z", "n"), ("link", "n -> d"), ("fifo", "n")] {
        let file = rustix::fs::open(tree.path(path), flags, rustix::fs::Mode::empty()).unwrap();
        let mut out = Vec::new();
        pack(std::os::fd::AsFd::as_fd(&file), b"n", &mut out, &PackOptions::default()).unwrap();
        assert_eq!(names(&out), [expect]);
    }
}

#[test]
fn a_tree_deeper_than_the_descriptors_is_packed_copied_and_compared() {
    if !root("a_tree_deeper_than_the_descriptors_is_packed_copied_and_compared") {
        return;
    }
    let path = "d/".repeat(60);
    let tree =
        place(&[Item::file(&format!("{path}x"), b"1"), Item::file("d/y", b"2"), Item::file("e", b"3")]);
    assert_eq!(names(&packed(&tree, "", TopEntry::Left)).len(), 63);
    let copy = Place::new();
    copy_tree(tree.fd(), copy.fd(), &Limits::default()).unwrap();
    assert_eq!(tree.tree(), copy.tree());
    assert_eq!(changes(Some(tree.fd()), copy.fd(), &Limits::default(), &|_| false).unwrap(), []);
    std::fs::write(copy.path(&format!("{path}x")), "other").unwrap();
    assert_eq!(changes(Some(tree.fd()), copy.fd(), &Limits::default(), &|_| false).unwrap().len(), 61);
}

#[test]
fn a_copy_has_owners_modes_attributes_links_devices_holes_and_times() {
    if !root("a_copy_has_owners_modes_attributes_links_devices_holes_and_times") {
        return;
    }
    let tree = sample();
    tree.apply(Whiteouts::Delete, &[Item::device("null", b'3', 1, 3), Item::file("owned", b"1").owner(7, 8)])
        .unwrap();
    rustix::fs::lsetxattr(tree.path("d/z"), "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    std::os::unix::net::UnixListener::bind(tree.path("socket")).unwrap();
    let file = std::fs::File::create(tree.path("holes")).unwrap();
    file.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"x", 32 << 20).unwrap();
    std::fs::set_permissions(tree.path(""), std::fs::Permissions::from_mode(0o2711)).unwrap();
    std::os::unix::fs::chown(tree.path(""), Some(12), Some(13)).unwrap();
    let copy = Place::new();
    copy_tree(tree.fd(), copy.fd(), &Limits::default()).unwrap();
    assert_eq!(tree.tree(), copy.tree());
    assert!(copy.stat("holes").blocks() < 1024, "holes stay holes");
    let (from, to) = (tree.stat(""), copy.stat(""));
    let plain =
        |stat: &std::fs::Metadata| (stat.mode(), stat.uid(), stat.gid(), stat.mtime(), stat.mtime_nsec());
    assert_eq!(plain(&from), plain(&to));
    let few = Limits { entries: 3, ..Limits::default() };
    assert!(matches!(copy_tree(tree.fd(), Place::new().fd(), &few), Err(Error::Limit { limit: 3, .. })));
}

fn lines(changes: Vec<Change>) -> Vec<String> {
    let letter = |kind| match kind {
        ChangeKind::Modified => 'C',
        ChangeKind::Added => 'A',
        ChangeKind::Deleted => 'D',
    };
    changes
        .iter()
        .map(|change| format!("{} {}", letter(change.kind), String::from_utf8_lossy(&change.path)))
        .collect()
}

#[test]
fn changes_of_an_overlay_are_those_of_the_trees() {
    if !root("changes_of_an_overlay_are_those_of_the_trees") {
        return;
    }
    let below = [
        Item::file("same/a", b"1"),
        Item::file("dir/gone", b"1"),
        Item::file("dir/changed", b"1"),
        Item::file("dir/sub/kept", b"1"),
        Item::file("replaced/a", b"1"),
        Item::file("replaced/b", b"1"),
        Item::file("file", b"1"),
        Item::file("whole/a/b", b"1"),
        Item::dir("mode"),
    ];
    let above = [
        Item::file("dir/.wh.gone", b""),
        Item::file("dir/changed", b"2"),
        Item::file("dir/new", b"1"),
        Item::file("dir-x", b"1"),
        Item::file("made/in/here", b"1"),
        Item::file("replaced/.wh..wh..opq", b""),
        Item::file("replaced/b", b"1"),
        Item::dir("file"),
        Item::file("file/now-a-directory", b"1"),
        Item::file(".wh.whole", b""),
        Item::dir("mode").mode(0o700),
        Item::file("same/a", b"1"),
    ];
    let expect = [
        "C /dir",
        "C /dir/changed",
        "D /dir/gone",
        "A /dir/new",
        "A /dir-x",
        "C /file",
        "A /file/now-a-directory",
        "A /made",
        "A /made/in",
        "A /made/in/here",
        "C /mode",
        "C /replaced",
        "D /replaced/a",
        "D /whole",
    ];
    let (lower, implied) = Place::layer(&below);
    gantry_layer::rebase(lower.fd(), &[], &implied.implied).unwrap();
    let (upper, implied) = Place::layer(&above);
    gantry_layer::rebase(upper.fd(), &[lower.fd()], &implied.implied).unwrap();
    let found = changes_overlay(upper.fd(), &[lower.fd()], false, &Limits::default(), &|_| false).unwrap();
    assert_eq!(lines(found), expect);
    let (old, new) = (place(&below), place(&below));
    new.apply(Whiteouts::Delete, &above).unwrap();
    assert_eq!(lines(changes(Some(old.fd()), new.fd(), &Limits::default(), &|_| false).unwrap()), expect);
    let is_none = |change: &Change| change.kind == ChangeKind::Added && change.path.starts_with(b"/made/");
    let found = lines(changes(Some(old.fd()), new.fd(), &Limits::default(), &is_none).unwrap());
    assert!(found.contains(&"A /made".to_owned()) && !found.contains(&"A /made/in".to_owned()), "{found:?}");
    let few = Limits { names_bytes: 100, ..Limits::default() };
    assert!(matches!(
        changes_overlay(upper.fd(), &[lower.fd()], false, &few, &|_| false),
        Err(Error::Limit { .. })
    ));
}

#[test]
fn an_archive_that_is_no_layer_removes_nothing() {
    let tree = place(&[Item::file("d/a", b"1"), Item::file("d/b", b"1")]);
    put(
        &tree,
        "",
        ApplyOptions::default(),
        &[Item::file("d/.wh.a", b"x"), Item::file("d/.wh..wh..opq", b"")],
    )
    .unwrap();
    for path in ["d/a", "d/b", "d/.wh.a", "d/.wh..wh..opq"] {
        assert!(tree.exists(path), "{path}");
    }
    assert_eq!(tree.read("d/.wh.a"), "x");
    assert!(put(&tree, "", ApplyOptions::default(), &[Item::hard_link("x", "missing")]).is_err());
}

#[test]
fn names_begin_at_the_base_and_stay_below_it() {
    let tree = place(&[
        Item::dir("srv/data"),
        Item::file("etc/passwd", b"kept"),
        Item::symlink("srv/link", "/data2"),
        Item::dir("data2"),
    ]);
    let items = [
        Item::file("../../etc/passwd", b"x"),
        Item::file("/abs", b"x"),
        Item::hard_link("hard", "../../abs"),
    ];
    put(&tree, "/srv/./data/", ApplyOptions::default(), &items).unwrap();
    assert_eq!(tree.read("etc/passwd"), "kept");
    assert_eq!(
        (tree.read("srv/data/etc/passwd"), tree.read("srv/data/abs"), tree.read("srv/data/hard")),
        ("x".into(), "x".into(), "x".into())
    );
    put(&tree, "srv/link", ApplyOptions::default(), &[Item::file("f", b"y")]).unwrap();
    assert_eq!(tree.read("data2/f"), "y");
    let refused =
        put(&tree, "srv/data", ApplyOptions::default(), &[Item::hard_link("stolen", "../../etc/passwd2")]);
    assert!(refused.is_err() && !tree.exists("srv/data/stolen"));
}

#[test]
fn a_link_below_the_base_is_followed_in_the_root_and_no_further() {
    let tree = place(&[Item::dir("base"), Item::dir("etc")]);
    let up = "../".repeat(20);
    symlink("/etc", tree.path("base/absolute")).unwrap();
    symlink(format!("{up}etc"), tree.path("base/relative")).unwrap();
    let items = [Item::file("absolute/a", b"1"), Item::file("relative/b", b"2")];
    put(&tree, "base", ApplyOptions::default(), &items).unwrap();
    assert_eq!((tree.read("etc/a"), tree.read("etc/b")), ("1".into(), "2".into()));
    assert_eq!(std::fs::read_dir(tree.outside()).unwrap().count(), 1);
}

#[test]
fn the_entry_of_the_base_is_ignored_or_given_to_it() {
    let tree = place(&[Item::dir("base").mode(0o700)]);
    let entry = [Item::dir("./").mode(0o711)];
    put(&tree, "base", ApplyOptions::default(), &entry).unwrap();
    assert_eq!(tree.stat("base").mode() & 0o7777, 0o700);
    let top = tree.stat("").mode();
    put(&tree, "base", ApplyOptions { root_entry: RootEntry::Apply, ..ApplyOptions::default() }, &entry)
        .unwrap();
    assert_eq!((tree.stat("base").mode() & 0o7777, tree.stat("").mode()), (0o711, top));
}

#[test]
fn a_directory_comes_instead_of_no_file_and_no_file_instead_of_a_directory() {
    let tree = place(&[Item::file("d/x", b"1"), Item::file("f", b"1"), Item::symlink("l", "d")]);
    let same = || ApplyOptions { replace: Replace::SameKind, ..ApplyOptions::default() };
    for item in
        [Item::file("d", b""), Item::symlink("d", "f"), Item::hard_link("d", "f"), Item::new(b'6', "d")]
    {
        let error = put(&tree, "", same(), &[item]).unwrap_err();
        assert!(
            matches!(&error, Error::Overwrite { path, there: "directory", .. } if path == "d"),
            "{error}"
        );
    }
    for path in ["f", "l"] {
        let error = put(&tree, "", same(), &[Item::dir(path)]).unwrap_err();
        assert!(matches!(error, Error::Overwrite { there: "non-directory", .. }), "{error}");
    }
    assert_eq!(tree.read("d/x"), "1");
    put(&tree, "", same(), &[Item::dir("d"), Item::file("f", b"2"), Item::file("l", b"3")]).unwrap();
    assert_eq!((tree.read("f"), tree.read("l")), ("2".into(), "3".into()));
    put(&tree, "", ApplyOptions::default(), &[Item::file("d", b"4"), Item::dir("f")]).unwrap();
    assert_eq!(tree.read("d"), "4");
}

#[test]
fn everything_belongs_to_one_owner() {
    if !root("everything_belongs_to_one_owner") {
        return;
    }
    let tree = place(&[Item::dir("base")]);
    let items = [
        Item::file("implied/f", b"1").owner(5, 6),
        Item::dir("d").owner(5, 6),
        Item::symlink("l", "d").owner(5, 6),
        Item::new(b'6', "p").owner(5, 6),
        Item::hard_link("h", "implied/f").owner(5, 6),
    ];
    let options = ApplyOptions { owner: Some((33, 34)), devices: Devices::Create, ..ApplyOptions::default() };
    put(&tree, "base", options, &items).unwrap();
    for path in ["implied", "implied/f", "d", "l", "p", "h"] {
        let stat = tree.stat(&format!("base/{path}"));
        assert_eq!((stat.uid(), stat.gid()), (33, 34), "{path}");
    }
    assert_eq!(tree.stat("base").uid(), 0);
}

#[test]
fn cve_2018_15664_a_directory_that_is_swapped_for_a_link_gives_nothing_of_the_host() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "canary").unwrap();
    let mode = std::fs::metadata(outside.path()).unwrap().mode();
    let tree = place(&[Item::file("a/secret", b"inside")]);
    symlink(outside.path(), tree.path("b")).unwrap();
    let (a, b) = (tree.path("a"), tree.path("b"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let swap = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &b, swap).unwrap();
            }
        });
        let end = std::time::Instant::now() + Duration::from_secs(1);
        while std::time::Instant::now() < end {
            let out = packed(&tree, "", TopEntry::Left);
            assert!(!out.windows(6).any(|window| window == b"canary"));
            let _ = put(
                &tree,
                "a",
                ApplyOptions::default(),
                &[Item::file("made", b"x"), Item::dir("d").mode(0o777)],
            );
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let names: Vec<_> =
        std::fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["secret"]);
    // CVE-2021-41089.
    assert_eq!(std::fs::metadata(outside.path()).unwrap().mode(), mode);
}

#[test]
fn directories_of_the_kernel_are_given_without_what_is_in_them() {
    let proc = rustix::fs::open("/proc", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    let mut out = Vec::new();
    pack(std::os::fd::AsFd::as_fd(&proc), b"proc", &mut out, &PackOptions::default()).unwrap();
    assert_eq!(names(&out), ["proc/"]);
}
