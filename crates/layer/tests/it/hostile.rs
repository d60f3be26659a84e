//! Archives that mean harm, by the advisories that they come from.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gantry_layer::{ApplyOptions, Archive, Error, Limits, Target, Whiteouts, apply};
use gantry_types::ErrorKind;

use crate::forge::{Item, archive};
use crate::place::{OVERLAY, Place, open};

const MODES: [Whiteouts; 2] = [OVERLAY, Whiteouts::Delete];

/// Applies in both modes what must not touch anything outside the root, whether it is refused or not.
fn contained(items: impl Fn(&str) -> Vec<Item>) {
    for whiteouts in MODES {
        let place = Place::new();
        let canary = place.outside().join("canary");
        std::fs::create_dir(&canary).unwrap();
        std::fs::write(canary.join("file"), "host").unwrap();
        let before = crate::place::tree(&canary);
        let _ = place.apply(whiteouts, &items(canary.to_str().unwrap()));
        assert_eq!(before, crate::place::tree(&canary), "{whiteouts:?}");
        let names: Vec<_> =
            std::fs::read_dir(place.outside()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}

fn refused(items: &[Item], kind: ErrorKind) {
    for whiteouts in MODES {
        let place = Place::new();
        assert_eq!(place.apply(whiteouts, items).unwrap_err().kind(), kind);
    }
}

#[test]
fn cve_2021_32760_modes_do_not_change_through_links() {
    contained(|canary| {
        let file = format!("{canary}/file");
        vec![
            Item::symlink("s", &file).mode(0o777).owner(9, 9),
            Item::hard_link("h", "s").mode(0o777).owner(9, 9).mtime(7),
            Item::hard_link("g", "../canary/file").mode(0o777),
        ]
    });
    contained(|canary| vec![Item::hard_link("g", &format!("{canary}/file")).mode(0o777).owner(1, 1)]);
    contained(|canary| {
        let up = "../".repeat(20);
        vec![
            Item::symlink("d", &format!("{up}{canary}")),
            Item::dir("d").mode(0o777),
            Item::dir("d/").mode(0o777),
        ]
    });
}

#[test]
fn cve_2014_9356_names_and_links_that_climb_stay_inside() {
    contained(|canary| {
        vec![Item::file("../canary/file", b"no"), Item::file(&format!("{canary}/file"), b"no")]
    });
    contained(|_| {
        vec![Item::file("../../../../../../../../tmp/x", b"no"), Item::dir("../canary").mode(0o700)]
    });
    for target in ["/canary", "..", "../canary", "/", "../../../../../../.."] {
        contained(|canary| {
            let target = if target == "/canary" { canary } else { target };
            vec![
                Item::symlink("d", target),
                Item::file("d/file", b"no"),
                Item::file("d/canary/file", b"no"),
                Item::dir("d/new"),
                Item::symlink("d/link", "x"),
                Item::hard_link("d/hard", "d/link"),
                Item::device("d/null", b'3', 1, 3),
                Item::file("d/.wh.file", b""),
                Item::file("d/.wh..wh..opq", b""),
            ]
        });
    }
}

#[test]
fn cve_2020_10696_a_file_over_a_link_replaces_the_link() {
    contained(|canary| {
        let file = format!("{canary}/file");
        vec![
            Item::symlink("f", &file),
            Item::file("f", b"no"),
            Item::symlink("g", &file),
            Item::file("g", b"no").pax(&[("GNU.sparse.map", b"0,2"), ("GNU.sparse.size", b"2")]),
            Item::symlink("d", canary),
            Item::dir("d").mode(0o777),
            Item::file("d/file", b"no"),
        ]
    });
}

#[test]
fn cve_2025_11395_a_link_in_place_of_a_directory_is_not_followed_by_what_comes_late() {
    // The times of directories are set last: a directory that became a link must not have them set behind it.
    contained(|canary| {
        vec![
            Item::dir("a").mtime(5),
            Item::dir("a/b").mtime(6),
            Item::file("a/b/c", b""),
            Item::symlink("a", canary),
            Item::dir("x/canary").mtime(7),
            Item::symlink("x", ".."),
        ]
    });
}

#[test]
fn links_in_a_circle_and_links_without_end_are_refused() {
    refused(
        &[Item::symlink("a", "b"), Item::symlink("b", "a"), Item::file("a/x", b"")],
        ErrorKind::InvalidArgument,
    );
    refused(&[Item::symlink("a", "a/a"), Item::file("a/x", b"")], ErrorKind::InvalidArgument);
    let mut items: Vec<_> =
        (0..50).map(|number| Item::symlink(&format!("l{number}"), &format!("l{}", number + 1))).collect();
    items.extend([Item::dir("l50"), Item::file("l0/x", b"")]);
    refused(&items, ErrorKind::InvalidArgument);
}

#[test]
fn links_inside_the_root_are_followed_as_in_a_container() {
    for whiteouts in MODES {
        let place = Place::new();
        place
            .apply(
                whiteouts,
                &[
                    Item::dir("usr/lib"),
                    Item::symlink("lib", "usr/lib"),
                    Item::file("lib/a", b"1"),
                    Item::symlink("usr/abs", "/usr/lib/../lib"),
                    Item::file("usr/abs/b", b"2"),
                    Item::symlink("out", "/../../usr/lib"),
                    Item::file("out/c", b"3"),
                    Item::symlink("dangling", "made/here"),
                    Item::file("dangling/d", b"4"),
                    // The link that was followed becomes another one.
                    Item::symlink("lib", "made"),
                    Item::file("lib/e", b"5"),
                ],
            )
            .unwrap();
        for (name, data) in [
            ("usr/lib/a", "1"),
            ("usr/lib/b", "2"),
            ("usr/lib/c", "3"),
            ("made/here/d", "4"),
            ("made/e", "5"),
        ] {
            assert_eq!(place.read(name), data);
        }
    }
}

/// CVE-2025-47290 and CVE-2018-15664: somebody exchanges a directory and a link while the archive is applied.
#[test]
fn cve_2025_47290_a_racer_leads_nothing_outside() {
    for whiteouts in MODES {
        let place = Place::new();
        let canary = place.outside().join("canary");
        std::fs::create_dir_all(canary.join("sub")).unwrap();
        let before = crate::place::tree(&canary);
        std::fs::create_dir_all(place.path("d/sub")).unwrap();
        symlink(&canary, place.path("link")).unwrap();
        let root = place.path("");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let root = open(&root);
                while !stop.load(Ordering::Relaxed) {
                    let flags = rustix::fs::RenameFlags::EXCHANGE;
                    let _ = rustix::fs::renameat_with(&root, "d", &root, "link", flags);
                    std::thread::yield_now();
                }
            });
            for round in 0..300 {
                let name = format!("d/sub/f{round}");
                let _ = place.apply(
                    whiteouts,
                    &[
                        Item::file(&name, b"x").mode(0o777),
                        Item::dir("d/sub/n").mode(0o777).mtime(round),
                        Item::file("d/sub/.wh.kept", b""),
                        Item::hard_link("d/sub/h", &name),
                        Item::file("d/.wh..wh..opq", b""),
                    ],
                );
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(before, crate::place::tree(&canary));
    }
}

#[test]
fn cve_2025_62518_the_size_of_the_pax_header_is_the_one_that_counts() {
    // The header says that nothing follows; a reader that believes it takes the hidden archive for entries.
    let hidden = archive(&[Item::file("hidden", b"evil")]);
    let size = hidden.len().to_string();
    let outer = Item::file("outer", &hidden).size(0).pax(&[("size", size.as_bytes())]);
    let (place, applied) = Place::layer(&[outer, Item::file("after", b"good")]);
    assert_eq!(applied.entries, 2);
    assert!(!place.exists("hidden") && place.read("after") == "good");
    assert_eq!(std::fs::read(place.path("outer")).unwrap(), hidden);
    // And the reverse: what a pax header says is of the entry, and not of another extended header before it.
    let name = Item::file("L", b"long\0").flag(b'L');
    let items =
        [Item::file("short", b"1234567").pax(&[("size", b"7")]).before(&name), Item::file("end", b"")];
    let (place, _) = Place::layer(&items);
    assert!(place.read("long") == "1234567" && place.exists("end"));
}

#[test]
fn sizes_that_lie_are_refused_and_nothing_is_allocated_for_them() {
    let place = Place::new();
    for size in [1 << 32, (1 << 33) - 1] {
        let error = place.apply(OVERLAY, &[Item::file("f", b"short").size(size)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(place.stat("f").blocks() < 100);
    }
    let huge = [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    refused(&[Item::file("f", b"").field(124, &huge)], ErrorKind::ResourceExhausted);
    refused(&[Item::file("f", b"").field(124, &[0xff; 12])], ErrorKind::InvalidArgument);
    refused(&[Item::new(b'x', "pax").size(1 << 32)], ErrorKind::ResourceExhausted);
    refused(&[Item::new(b'L', "long").size(1 << 32)], ErrorKind::ResourceExhausted);
    // Directories and links have no data, whatever they say.
    let (place, _) =
        Place::layer(&[Item::dir("d").size(4096), Item::symlink("s", "d").size(9), Item::file("f", b"x")]);
    assert_eq!(place.read("f"), "x");
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    for (map, size, data) in [
        ("0,512", "100", 512),
        ("512,512,0,512", "1024", 1024),
        ("0,512,256,512", "1024", 1024),
        ("0,1024", "1024", 512),
        ("9223372036854775807,1", "9223372036854775807", 1),
        ("0", "1", 0),
        ("a,b", "1", 0),
    ] {
        let item = Item::file("f", &vec![b'x'; data])
            .pax(&[("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", size.as_bytes())]);
        let place = Place::new();
        let error = place.apply(OVERLAY, &[item]).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Internal, "{map}: {error}");
    }
    for map in ["", "99999999999\n", "1\n0\n", "1\n0\n99999999999999999999999\n", "x", "2\n0\n1\n0\n1\n"] {
        let mut data = map.as_bytes().to_vec();
        data.resize(512, 0);
        data.extend([b'x'; 512]);
        let item = Item::file("f", &data).pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"1000"),
        ]);
        assert!(Place::new().apply(OVERLAY, &[item]).is_err(), "{map:?}");
    }
}

#[test]
fn an_archive_cut_anywhere_is_an_error_and_never_a_hang() {
    let items = [
        Item::dir("d"),
        Item::file("d/f", &[b'x'; 700]).pax(&[("mtime", b"5.5")]),
        Item::symlink("s", &"t".repeat(150)),
        Item::file("end", b"").gnu(b'L', &[b'n'; 120]),
    ];
    let bytes: Vec<u8> = items.iter().flat_map(Item::bytes).collect();
    // Where an archive may end without its end: after whole entries, with or without the last one's padding.
    let mut ends: Vec<std::ops::RangeInclusive<usize>> = vec![0..=0];
    let mut at = 0;
    for item in &items {
        at += item.bytes().len();
        let padding = item.data.len().next_multiple_of(512) - item.data.len();
        ends.push(at - padding..=at);
    }
    let place = Place::new();
    for length in 0..bytes.len() {
        let result = place.apply_with(&bytes[..length], Whiteouts::Delete, &ApplyOptions::default());
        let whole = ends.iter().any(|end| end.contains(&length));
        match result {
            Ok(_) => assert!(whole, "{length} of {} bytes were taken", bytes.len()),
            Err(error) => {
                assert!(!whole, "{length}: {error}");
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            }
        }
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    refused(&[Item::file("x", b"").pax(&[("path", b"a\0b")])], ErrorKind::InvalidArgument);
    refused(&[Item::symlink("x", "y").pax(&[("linkpath", b"a\0b")])], ErrorKind::InvalidArgument);
    refused(&[Item::file("x", b"").path(&[b'a'; 256])], ErrorKind::InvalidArgument);
    refused(&[Item::file("x", b"").path(&b"a/".repeat(10_000))], ErrorKind::ResourceExhausted);
    refused(&[Item::symlink("x", &"a".repeat(5000))], ErrorKind::ResourceExhausted);
    refused(&[Item::file("f", b""), Item::file("f/below", b"")], ErrorKind::InvalidArgument);
    refused(&[Item::new(b'Z', "x")], ErrorKind::InvalidArgument);
    // A name up to its NUL, as everywhere.
    let (place, _) = Place::layer(&[Item::file("a", b"").field(0, b"b\0c")]);
    assert!(place.exists("b"));
}

#[test]
fn the_deepest_name_that_is_allowed_can_be_made_and_removed() {
    let place = Place::new();
    let deep = "d/".repeat(2040);
    let items = [
        Item::file("x", b"deep").path(format!("{deep}f").as_bytes()),
        Item::dir("x").path(deep.as_bytes()).mtime(5),
    ];
    place.apply(Whiteouts::Delete, &items).unwrap();
    place.apply(Whiteouts::Delete, &[Item::file(".wh.d", b"")]).unwrap();
    assert_eq!(place.tree().len(), 0);
}

#[test]
fn limits_are_errors_of_their_own() {
    let limited = |limits: Limits, items: &[Item]| {
        let options = ApplyOptions { limits, ..ApplyOptions::default() };
        let result = Place::new().apply_with(&archive(items), OVERLAY, &options);
        assert!(matches!(result, Err(Error::Limit { .. })), "{result:?}");
    };
    let limits = Limits::default();
    let files: Vec<_> = (0..20).map(|number| Item::file(&format!("f{number}"), b"data")).collect();
    limited(Limits { entries: 10, ..limits }, &files);
    limited(Limits { entries: 10, ..limits }, &[Item::file("a/b/c/d/e/f/g/h/i/j/k", b"")]);
    limited(Limits { archive_bytes: 4096, ..limits }, &files);
    limited(Limits { file_bytes: 3, ..limits }, &files);
    limited(Limits { path_bytes: 1, ..limits }, &files);
    limited(Limits { depth: 1, ..limits }, &[Item::file("a/b", b"")]);
    limited(Limits { pax_bytes: 10, ..limits }, &[Item::file("a", b"").pax(&[("comment", b"0123456789")])]);
    limited(
        Limits { xattrs: 1, ..limits },
        &[Item::file("a", b"").pax(&[("SCHILY.xattr.user.a", b""), ("SCHILY.xattr.user.b", b"")])],
    );
    limited(Limits { xattr_bytes: 1, ..limits }, &[Item::file("a", b"").xattr("user.a", b"12")]);
    let links = [Item::file("a", b""), Item::hard_link("b", "a"), Item::hard_link("c", "a")];
    limited(Limits { links: 2, ..limits }, &links);
    limited(Limits { names_bytes: 1000, ..limits }, &[Item::file("a/b/c/d/e/f/g/h/i/j/k", b"")]);
    limited(
        Limits { sparse_parts: 1, ..limits },
        &[Item::file("a", b"ab").pax(&[("GNU.sparse.map", b"0,1,1,1"), ("GNU.sparse.size", b"2")])],
    );
}

/// Headers without end: what is remembered stays small, and the limit ends it.
#[test]
fn a_million_entries_are_read_in_little_memory() {
    struct Endless {
        block: Vec<u8>,
        at: usize,
    }
    impl Read for Endless {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let count = out.len().min(self.block.len() - self.at);
            out[..count].copy_from_slice(&self.block[self.at..self.at + count]);
            self.at = (self.at + count) % self.block.len();
            Ok(count)
        }
    }
    let limits = Limits { archive_bytes: 1_000_000 * 512, ..Limits::default() };
    let mut endless = Endless { block: Item::file("f", b"").bytes().repeat(100), at: 0 };
    let mut archive = Archive::new(&mut endless, &limits);
    let mut entries = 0;
    let error = loop {
        match archive.next_entry() {
            Ok(Some(_)) => entries += 1,
            Ok(None) => unreachable!("it has no end"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(entries > 990_000);
}

#[test]
fn names_that_differ_by_case_alone_are_different_names() {
    let (place, _) = Place::layer(&[
        Item::file("Etc/Passwd", b"1"),
        Item::file("etc/passwd", b"2"),
        Item::file("etc/.WH.x", b""),
    ]);
    assert_eq!((place.read("Etc/Passwd"), place.read("etc/passwd")), ("1".into(), "2".into()));
    assert!(place.exists("etc/.WH.x"));
}

#[test]
fn an_error_of_the_reader_comes_back_as_it_is() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(5))
        }
    }
    let place = Place::new();
    let target = Target { root: place.fd(), whiteouts: OVERLAY, lower: &[] };
    let error = apply(&mut Failing, &target, &ApplyOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Read(ref source) if source.raw_os_error() == Some(5)));
    assert!(Path::new("/proc/self/fd").exists() && place.fd().as_fd().try_clone_to_owned().is_ok());
}
