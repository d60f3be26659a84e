use std::os::unix::fs::MetadataExt;

use gantry_layer::{ApplyOptions, Devices, IdMap, IdRange, RootEntry, Whiteouts, Xattrs};
use gantry_testkit::{Need, missing, skip};

use crate::forge::{Item, archive};
use crate::place::{OVERLAY, Place};

const MODES: [Whiteouts; 2] = [OVERLAY, Whiteouts::Delete];

fn root(test: &str) -> bool {
    let lacking = missing(&[Need::Root]);
    if let Some(reason) = &lacking {
        skip(test, reason);
    }
    lacking.is_none()
}

#[test]
fn attributes_are_the_archives() {
    if !root("attributes_are_the_archives") {
        return;
    }
    for whiteouts in MODES {
        let place = Place::new();
        let applied = place
            .apply(
                whiteouts,
                &[
                    Item::dir("d").mode(0o1777).owner(3, 4).mtime(500),
                    Item::file("d/f", b"data").mode(0o4755).owner(1, 2).mtime(600),
                    Item::symlink("d/s", "../else").owner(5, 6).mtime(700),
                    Item::new(b'6', "d/p").mode(0o600).owner(7, 8).mtime(800),
                    Item::device("d/c", b'3', 1, 3).mode(0o666).mtime(900),
                    Item::device("d/b", b'4', 259, 1_048_575).mode(0o660).mtime(900),
                ],
            )
            .unwrap();
        assert_eq!((applied.entries, applied.bytes, applied.inodes), (6, 4, 6));
        let seen = |path: &str| {
            let stat = place.stat(path);
            (stat.mode(), stat.uid(), stat.gid(), stat.mtime())
        };
        assert_eq!(seen("d"), (0o041_777, 3, 4, 500));
        assert_eq!(seen("d/f"), (0o104_755, 1, 2, 600));
        assert_eq!(seen("d/s"), (0o120_777, 5, 6, 700));
        assert_eq!(seen("d/p"), (0o010_600, 7, 8, 800));
        assert_eq!(seen("d/c"), (0o020_666, 0, 0, 900));
        assert_eq!(place.stat("d/c").rdev(), rustix::fs::makedev(1, 3));
        assert_eq!(place.stat("d/b").rdev(), rustix::fs::makedev(259, 1_048_575));
        assert_eq!(place.read("d/f"), "data");
        assert_eq!(std::fs::read_link(place.path("d/s")).unwrap().to_str(), Some("../else"));
    }
}

#[test]
fn times_keep_their_fraction_and_may_be_before_1970() {
    let place = Place::new();
    place
        .apply(
            OVERLAY,
            &[
                Item::file("a", b"").pax(&[("mtime", b"1500.123456789123")]),
                Item::file("b", b"").pax(&[("mtime", b"-1500.25"), ("atime", b"77")]),
                Item::file("c", b"").field(136, &[0xff; 12]),
            ],
        )
        .unwrap();
    let seen = |path: &str| (place.stat(path).mtime(), place.stat(path).mtime_nsec());
    assert_eq!(seen("a"), (1500, 123_456_789));
    assert_eq!(seen("b"), (-1501, 750_000_000));
    assert_eq!(place.stat("b").atime(), 77);
    assert_eq!(seen("c"), (-1, 0));
}

#[test]
fn names_come_in_every_spelling() {
    let place = Place::new();
    let long = "n".repeat(60);
    let deep = format!("{long}/{long}/{long}/file");
    place
        .apply(
            OVERLAY,
            &[
                Item::file("pax", b"1").path(format!("p/{deep}").as_bytes()),
                Item::file("short", b"2").gnu(b'L', format!("g/{deep}").as_bytes()),
                Item::symlink("link", "short").gnu(b'K', deep.as_bytes()),
                Item::file("name", b"3").field(345, b"some/prefix"),
                Item::new(0, "old/").field(257, &[0; 8]),
                Item::file("./dot//file", b"4"),
                Item::new(b'7', "contiguous").data(b"5"),
                Item::file("g", b"").flag(b'g').data(b"13 path=nope\n"),
            ],
        )
        .unwrap();
    assert_eq!(place.read(&format!("p/{deep}")), "1");
    assert_eq!(place.read(&format!("g/{deep}")), "2");
    assert_eq!(std::fs::read_link(place.path("link")).unwrap().to_str(), Some(&deep[..]));
    assert_eq!(place.read("some/prefix/name"), "3");
    assert!(place.stat("old").is_dir());
    assert_eq!(place.read("dot/file"), "4");
    assert_eq!(place.read("contiguous"), "5");
    assert!(!place.exists("nope"));
}

#[test]
fn large_ids_are_kept_and_impossible_ones_refused() {
    if !root("large_ids_are_kept_and_impossible_ones_refused") {
        return;
    }
    let place = Place::new();
    place
        .apply(
            OVERLAY,
            &[
                Item::file("pax", b"").pax(&[("uid", b"4000000000"), ("gid", b"3000000")]),
                Item::file("binary", b"").field(108, &[0x80, 0, 0, 0, 0xee, 0x6b, 0x28, 0]),
            ],
        )
        .unwrap();
    assert_eq!((place.stat("pax").uid(), place.stat("pax").gid()), (4_000_000_000, 3_000_000));
    assert_eq!(place.stat("binary").uid(), 4_000_000_000);
    for uid in ["4294967295", "4294967296", "-1"] {
        let place = Place::new();
        assert!(
            place.apply(OVERLAY, &[Item::file("x", b"").pax(&[("uid", uid.as_bytes())])]).is_err(),
            "{uid}"
        );
    }
}

#[test]
fn directories_that_no_entry_gives_are_made_and_reported() {
    for whiteouts in MODES {
        let place = Place::new();
        let applied = place
            .apply(
                whiteouts,
                &[
                    Item::file("a/b/c", b""),
                    Item::file("a/b/d", b""),
                    Item::dir("a").mode(0o700),
                    Item::file("e/f", b""),
                ],
            )
            .unwrap();
        let implied: Vec<_> = applied.implied.directories().collect();
        assert_eq!(implied, [&b"a/b"[..], b"e"]);
        assert_eq!(place.stat("a/b").mode(), 0o040_755);
        assert_eq!(place.stat("a").mode(), 0o040_700);
    }
}

#[test]
fn directories_keep_their_times_whatever_comes_after() {
    let place = Place::new();
    place
        .apply(
            OVERLAY,
            &[
                Item::dir("a").mtime(100),
                Item::dir("a/b").mtime(200),
                Item::file("a/b/c", b""),
                Item::dir("z").mtime(300),
                Item::file("a/d", b""),
                Item::file("a/b/e", b""),
            ],
        )
        .unwrap();
    assert_eq!(
        (place.stat("a").mtime(), place.stat("a/b").mtime(), place.stat("z").mtime()),
        (100, 200, 300)
    );
}

#[test]
fn the_roots_own_entry_counts_only_when_asked() {
    for (root_entry, mode) in [(RootEntry::Ignore, 0o755), (RootEntry::Apply, 0o700)] {
        for name in ["./", "/", ".", "..", "a/.."] {
            let place = Place::new();
            rustix::fs::chmod(place.path(""), rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
            let options = ApplyOptions { root_entry, ..ApplyOptions::default() };
            let bytes = archive(&[Item::dir(name).mode(0o700).mtime(42), Item::file("f", b"")]);
            place.apply_with(&bytes, OVERLAY, &options).unwrap();
            assert_eq!(place.stat("").mode() & 0o777, mode, "{name}");
            assert_eq!(place.stat("").mtime() == 42, root_entry == RootEntry::Apply);
        }
    }
}

#[test]
fn whiteouts_hide_for_overlayfs() {
    if !root("whiteouts_hide_for_overlayfs") {
        return;
    }
    let (place, applied) = Place::layer(&[
        Item::dir("d"),
        Item::file("d/.wh.gone", b""),
        Item::file(".wh.top", b""),
        Item::file("o/.wh..wh..opq", b""),
        Item::file("o/kept", b"x"),
        Item::dir(".wh..wh.plnk"),
        Item::file(".wh..wh.plnk/1.2", b""),
        Item::file(".wh..wh.aufs", b""),
    ]);
    assert!(place.is_whiteout("d/gone") && place.is_whiteout("top"));
    assert!(place.is_opaque("o") && !place.is_opaque("d"));
    assert_eq!(place.read("o/kept"), "x");
    assert_eq!(applied.skipped, 3);
    assert!(
        !place.exists(".wh..wh.plnk") && !place.exists(".wh..wh.aufs") && !place.exists("o/.wh..wh..opq")
    );
}

#[test]
fn userxattr_layers_have_user_attributes() {
    if !root("userxattr_layers_have_user_attributes") {
        return;
    }
    let place = Place::new();
    place.apply(Whiteouts::Overlay { userxattr: true }, &[Item::file("o/.wh..wh..opq", b"")]).unwrap();
    assert_eq!(place.xattr("o", "user.overlay.opaque").as_deref(), Some(&b"y"[..]));
    assert!(!place.is_opaque("o"));
}

#[test]
fn whiteouts_delete_in_place() {
    let place = Place::new();
    place
        .apply(
            Whiteouts::Delete,
            &[
                Item::file("d/gone", b""),
                Item::file("d/kept", b""),
                Item::file("t/a/b", b""),
                Item::file("o/old", b""),
            ],
        )
        .unwrap();
    place
        .apply(
            Whiteouts::Delete,
            &[
                Item::file("d/.wh.gone", b""),
                Item::file(".wh.t", b""),
                Item::file("o/.wh..wh..opq", b""),
                Item::file("o/new", b""),
                Item::file(".wh.never", b""),
            ],
        )
        .unwrap();
    let names: Vec<_> = place.tree().into_keys().collect();
    assert_eq!(names, ["d", "d/kept", "o", "o/new"]);
}

#[test]
fn an_opaque_marker_spares_what_its_own_layer_wrote_before_it() {
    for whiteouts in MODES {
        let place = Place::new();
        let lower = [Item::file("o/sub/old", b""), Item::file("o/x", b""), Item::file("o/other/y", b"")];
        if whiteouts == Whiteouts::Delete {
            place.apply(whiteouts, &lower).unwrap();
        }
        place
            .apply(
                whiteouts,
                &[Item::file("o/sub/new", b""), Item::file("o/z", b""), Item::file("o/.wh..wh..opq", b"")],
            )
            .unwrap();
        let names: Vec<_> = place.tree().into_keys().collect();
        assert_eq!(names, ["o", "o/sub", "o/sub/new", "o/z"], "{whiteouts:?}");
    }
}

#[test]
fn a_whiteout_hides_what_is_below_and_not_what_its_layer_has() {
    if !root("a_whiteout_hides_what_is_below_and_not_what_its_layer_has") {
        return;
    }
    let after = [
        Item::file("x/new", b""),
        Item::file(".wh.x", b""),
        Item::file("f", b"new"),
        Item::file(".wh.f", b""),
    ];
    let before = [
        Item::file(".wh.x", b""),
        Item::file("x/new", b""),
        Item::file(".wh.f", b""),
        Item::file("f", b"new"),
    ];
    let given = [Item::file(".wh.x", b""), Item::dir("x"), Item::file("x/new", b""), Item::file("f", b"new")];
    for order in [&after[..], &before, &given] {
        let (place, _) = Place::layer(order);
        assert!(place.is_opaque("x"));
        assert!(place.exists("x/new") && place.read("f") == "new");
        let place = Place::new();
        place.apply(Whiteouts::Delete, &[Item::file("x/old", b""), Item::file("f", b"old")]).unwrap();
        place.apply(Whiteouts::Delete, order).unwrap();
        assert_eq!(place.tree().into_keys().collect::<Vec<_>>(), ["f", "x", "x/new"]);
        assert_eq!(place.read("f"), "new");
    }
}

#[test]
fn whiteouts_over_an_upper_directory_that_is_not_empty_remove_what_was_there() {
    if !root("whiteouts_over_an_upper_directory_that_is_not_empty_remove_what_was_there") {
        return;
    }
    let (place, _) = Place::layer(&[Item::file("a/x", b""), Item::file("b", b""), Item::file("o/old", b"")]);
    place
        .apply(
            OVERLAY,
            &[
                Item::file(".wh.a", b""),
                Item::file(".wh.b", b""),
                Item::file("o/new", b""),
                Item::file("o/.wh..wh..opq", b""),
            ],
        )
        .unwrap();
    assert!(place.is_whiteout("a") && place.is_whiteout("b"));
    assert!(place.exists("o/new") && !place.exists("o/old") && place.is_opaque("o"));
}

#[test]
fn bare_whiteouts_and_what_is_below_one_are_refused() {
    for name in [".wh.", "a/.wh.", ".wh..", ".wh...", "d/.wh.x/y"] {
        for whiteouts in MODES {
            let place = Place::new();
            let error = place.apply(whiteouts, &[Item::file(name, b"")]).unwrap_err();
            assert_eq!(error.kind(), gantry_types::ErrorKind::InvalidArgument, "{name}");
        }
    }
}

#[test]
fn kinds_replace_one_another() {
    for whiteouts in MODES {
        let place = Place::new();
        place
            .apply(
                whiteouts,
                &[
                    Item::file("a", b"file"),
                    Item::dir("a"),
                    Item::file("a/b", b""),
                    Item::file("a", b"again"),
                    Item::symlink("l", "nowhere"),
                    Item::file("l", b"a file, not where the link led"),
                    Item::dir("d"),
                    Item::file("d/x/y/z", b""),
                    Item::symlink("d", "a"),
                    Item::dir("e"),
                    Item::file("e/kept", b""),
                    Item::dir("e").mode(0o711),
                ],
            )
            .unwrap();
        assert_eq!(place.read("a"), "again");
        assert!(place.stat("l").is_file() && !place.exists("nowhere"));
        assert!(place.stat("d").is_symlink());
        assert!(place.exists("e/kept") && place.stat("e").mode() & 0o777 == 0o711);
    }
}

#[test]
fn a_directory_in_place_of_a_file_hides_what_is_below() {
    if !root("a_directory_in_place_of_a_file_hides_what_is_below") {
        return;
    }
    let (place, _) = Place::layer(&[Item::file("a", b""), Item::dir("a"), Item::dir("b")]);
    assert!(place.is_opaque("a") && !place.is_opaque("b"));
}

#[test]
fn a_replaced_file_leaves_the_other_names_of_it_alone() {
    let place = Place::new();
    place.apply(Whiteouts::Delete, &[Item::file("a", b"old"), Item::hard_link("b", "a")]).unwrap();
    place.apply(Whiteouts::Delete, &[Item::file("a", b"new")]).unwrap();
    assert_eq!((place.read("a"), place.read("b")), ("new".into(), "old".into()));
}

#[test]
fn hard_links_are_to_the_thing_itself() {
    for whiteouts in MODES {
        let place = Place::new();
        place
            .apply(
                whiteouts,
                &[
                    Item::file("d/f", b"data"),
                    Item::hard_link("f", "./d/f").mode(0o640),
                    Item::symlink("s", "d/f"),
                    Item::hard_link("t", "s"),
                    Item::symlink("e", "d"),
                    Item::hard_link("through", "e/f"),
                    Item::hard_link("f", "f"),
                    Item::new(b'6', "p"),
                    Item::hard_link("q", "p"),
                ],
            )
            .unwrap();
        assert_eq!(place.stat("f").ino(), place.stat("d/f").ino());
        assert_eq!(place.stat("through").ino(), place.stat("d/f").ino());
        assert!(place.stat("t").is_symlink() && place.stat("t").ino() == place.stat("s").ino());
        assert_eq!(place.stat("q").ino(), place.stat("p").ino());
    }
}

#[test]
fn a_hard_link_to_nothing_or_to_a_directory_is_refused() {
    let place = Place::new();
    assert!(place.apply(Whiteouts::Delete, &[Item::hard_link("a", "b")]).is_err());
    assert!(place.apply(OVERLAY, &[Item::dir("d"), Item::hard_link("a", "d")]).is_err());
    assert!(place.apply(OVERLAY, &[Item::hard_link("a", "/")]).is_err());
    assert!(place.apply(OVERLAY, &[Item::hard_link("a", "")]).is_err());
    assert!(place.apply(OVERLAY, &[Item::file("x/f", b""), Item::hard_link("x", "x/f")]).is_err());
}

#[test]
fn attributes_of_the_file_are_kept_and_those_of_the_host_are_not() {
    if !root("attributes_of_the_file_are_kept_and_those_of_the_host_are_not") {
        return;
    }
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let item = Item::file("f", b"x").owner(9, 9).mode(0o4755).pax(&[
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.user.a", b"\0\n="),
        ("LIBARCHIVE.xattr.user.b%20c", b"aGk"),
        ("SCHILY.xattr.trusted.x", b"1"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.whiteout", b""),
    ]);
    for whiteouts in MODES {
        let place = Place::new();
        let applied = place
            .apply(
                whiteouts,
                &[
                    item.clone(),
                    Item::dir("d").xattr("user.overlay.opaque", b"y"),
                    Item::symlink("s", "x").xattr("user.a", b"b"),
                ],
            )
            .unwrap();
        let names: Vec<_> =
            crate::place::xattrs(&place.path("f")).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["security.capability", "user.a", "user.b c"]);
        assert_eq!(place.xattr("f", "security.capability").unwrap(), capability);
        assert_eq!(place.xattr("f", "user.a").unwrap(), b"\0\n=");
        assert_eq!(place.stat("f").mode() & 0o7777, 0o4755);
        assert!(crate::place::xattrs(&place.path("d")).is_empty());
        assert_eq!(applied.skipped_xattrs, 6);
    }
    for (xattrs, names) in [(Xattrs::CapabilityOnly, &["security.capability"][..]), (Xattrs::Drop, &[])] {
        let place = Place::new();
        let options = ApplyOptions { xattrs, ..ApplyOptions::default() };
        place.apply_with(&archive(std::slice::from_ref(&item)), OVERLAY, &options).unwrap();
        let found: Vec<_> =
            crate::place::xattrs(&place.path("f")).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, names);
    }
}

#[test]
fn a_directory_that_was_there_loses_the_attributes_that_its_entry_lacks() {
    if !root("a_directory_that_was_there_loses_the_attributes_that_its_entry_lacks") {
        return;
    }
    let place = Place::new();
    place.apply(Whiteouts::Delete, &[Item::dir("d").xattr("user.a", b"1")]).unwrap();
    place.apply(Whiteouts::Delete, &[Item::dir("d").xattr("user.b", b"2")]).unwrap();
    assert_eq!(crate::place::xattrs(&place.path("d")), [("user.b".to_owned(), b"2".to_vec())]);
}

#[test]
fn owners_are_shifted_or_left_alone() {
    if !root("owners_are_shifted_or_left_alone") {
        return;
    }
    let ranges = vec![IdRange { archive: 0, disk: 100_000, count: 1000 }];
    let map = IdMap { uids: ranges.clone(), gids: ranges };
    let place = Place::new();
    let options = ApplyOptions { id_map: Some(map), ..ApplyOptions::default() };
    place.apply_with(&archive(&[Item::file("d/f", b"").owner(5, 6)]), OVERLAY, &options).unwrap();
    assert_eq!((place.stat("d/f").uid(), place.stat("d/f").gid()), (100_005, 100_006));
    assert_eq!(place.stat("d").uid(), 100_000);
    let error = place.apply_with(&archive(&[Item::file("g", b"").owner(1000, 0)]), OVERLAY, &options);
    assert!(error.is_err());
    let place = Place::new();
    let options = ApplyOptions { same_owner: false, ..ApplyOptions::default() };
    place.apply_with(&archive(&[Item::file("f", b"").owner(5, 6)]), OVERLAY, &options).unwrap();
    assert_eq!(place.stat("f").uid(), 0);
}

#[test]
fn what_a_set_group_id_directory_gives_is_put_right() {
    if !root("what_a_set_group_id_directory_gives_is_put_right") {
        return;
    }
    let place = Place::new();
    place
        .apply(
            OVERLAY,
            &[Item::dir("d").mode(0o2755).owner(0, 50), Item::file("d/f", b""), Item::symlink("d/s", "x")],
        )
        .unwrap();
    assert_eq!((place.stat("d/f").gid(), place.stat("d/s").gid()), (0, 0));
}

#[test]
fn devices_are_made_skipped_or_refused() {
    let items = [Item::device("dev/null", b'3', 1, 3), Item::file("f", b"")];
    let place = Place::new();
    let options = |devices| ApplyOptions { devices, ..ApplyOptions::default() };
    let applied = place.apply_with(&archive(&items), OVERLAY, &options(Devices::Skip)).unwrap();
    assert_eq!((applied.skipped, place.exists("dev")), (1, false));
    assert!(place.apply_with(&archive(&items), OVERLAY, &options(Devices::Refuse)).is_err());
    let range = [Item::device("d", b'3', 4096, 0)];
    assert!(place.apply(OVERLAY, &range).is_err());
}

#[test]
fn a_device_that_looks_like_a_whiteout_is_counted() {
    if !root("a_device_that_looks_like_a_whiteout_is_counted") {
        return;
    }
    let (place, applied) = Place::layer(&[Item::device("x", b'3', 0, 0)]);
    assert!(place.is_whiteout("x"));
    assert_eq!(applied.disguised_whiteouts, 1);
}

#[test]
fn sparse_files_stay_sparse_in_every_spelling() {
    let size = 64u64 << 30;
    let end = (size - 512).to_string();
    let all = size.to_string();
    let map = format!("2\n0\n512\n{end}\n512\n");
    let mut data = map.clone().into_bytes();
    data.resize(512, 0);
    data.extend([b'a'; 512]);
    data.extend([b'z'; 512]);
    let mut gnu = Item::file("gnu", &data[512..]).flag(b'S').field(257, b"ustar  \0");
    for (at, number) in [(386, 0), (398, 512), (410, size - 512), (422, 512), (483, size)] {
        gnu = gnu.field(at, format!("{number:011o}\0").as_bytes().last_chunk::<12>().unwrap());
    }
    let mut bytes = [0u8; 12];
    bytes[0] = 0x80;
    bytes[4..].copy_from_slice(&(size - 512).to_be_bytes());
    gnu = gnu.field(410, &bytes);
    bytes[4..].copy_from_slice(&size.to_be_bytes());
    gnu = gnu.field(483, &bytes);
    let items = [
        gnu,
        Item::file("one", &data).pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"v1.0"),
            ("GNU.sparse.realsize", all.as_bytes()),
        ]),
        Item::file("v0.1", &data[512..]).pax(&[
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.map", format!("0,512,{end},512").as_bytes()),
            ("GNU.sparse.size", all.as_bytes()),
        ]),
        Item::file("v0.0", &data[512..]).pax(&[
            ("GNU.sparse.size", all.as_bytes()),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.offset", b"0"),
            ("GNU.sparse.numbytes", b"512"),
            ("GNU.sparse.offset", end.as_bytes()),
            ("GNU.sparse.numbytes", b"512"),
        ]),
        Item::file("after", b"whole"),
    ];
    let (place, applied) = Place::layer(&items);
    assert_eq!(applied.bytes, 4 * size + 5);
    for name in ["gnu", "v1.0", "v0.1", "v0.0"] {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::open(place.path(name)).unwrap();
        let stat = file.metadata().unwrap();
        assert_eq!(stat.len(), size, "{name}");
        assert!(stat.blocks() < 1000, "{name} has {} blocks", stat.blocks());
        let mut byte = [0; 1];
        for (at, wanted) in
            [(0, b'a'), (511, b'a'), (512, 0), (size - 513, 0), (size - 512, b'z'), (size - 1, b'z')]
        {
            file.read_exact_at(&mut byte, at).unwrap();
            assert_eq!(byte[0], wanted, "{name} at {at}");
        }
    }
    assert_eq!(place.read("after"), "whole");
}

#[test]
fn an_archive_without_its_end_and_with_something_after_it_is_read() {
    let place = Place::new();
    let options = ApplyOptions::default();
    place.apply_with(&Item::file("a", b"x").bytes(), OVERLAY, &options).unwrap();
    place.apply_with(b"", OVERLAY, &options).unwrap();
    let mut bytes = archive(&[Item::file("b", b"y")]);
    bytes.extend(Item::file("c", b"not read").bytes());
    let applied = place.apply_with(&bytes, OVERLAY, &options).unwrap();
    assert_eq!(applied.archive_bytes, bytes.len() as u64);
    assert!(place.exists("a") && place.exists("b") && !place.exists("c"));
}

#[test]
fn syncing_works_on_a_descriptor_that_only_names() {
    let place = Place::new();
    let options = ApplyOptions { sync: true, ..ApplyOptions::default() };
    place.apply_with(&archive(&[Item::file("a", b"x")]), OVERLAY, &options).unwrap();
}
