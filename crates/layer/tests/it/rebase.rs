use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;

use gantry_layer::{ApplyOptions, Target, apply, rebase};
use gantry_testkit::{Need, missing, skip};

use crate::forge::{Item, archive};
use crate::place::{OVERLAY, Place, xattrs};

/// Applies layers, the lowest first, each on its own, and rebases them; the nearest comes first in the result.
fn stack(layers: &[&[Item]]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for items in layers {
        let (place, applied) = Place::layer(items);
        let lower: Vec<BorrowedFd<'_>> = places.iter().map(Place::fd).collect();
        rebase(place.fd(), &lower, &applied.implied).unwrap();
        // A second time changes nothing.
        let once = place.tree();
        rebase(place.fd(), &lower, &applied.implied).unwrap();
        assert_eq!(once, place.tree());
        places.insert(0, place);
    }
    places
}

fn root(test: &str) -> bool {
    let lacking = missing(&[Need::Root]);
    if let Some(reason) = &lacking {
        skip(test, reason);
    }
    lacking.is_none()
}

#[test]
fn implied_directories_get_what_is_visible_below() {
    if !root("implied_directories_get_what_is_visible_below") {
        return;
    }
    let places = stack(&[
        &[
            Item::dir("a").mode(0o700).owner(1, 2).mtime(50),
            Item::dir("a/b").mode(0o1777).xattr("user.x", b"y").mtime(60),
        ],
        &[Item::dir("a").mode(0o711).mtime(70), Item::file("other", b"")],
        &[Item::file("a/b/c", b"")],
    ]);
    let (a, b) = (places[0].stat("a"), places[0].stat("a/b"));
    assert_eq!((a.mode() & 0o7777, a.uid(), a.mtime()), (0o711, 0, 70));
    assert_eq!((b.mode() & 0o7777, b.uid(), b.mtime()), (0o1777, 0, 60));
    assert_eq!(xattrs(&places[0].path("a/b")), [("user.x".to_owned(), b"y".to_vec())]);
}

#[test]
fn what_is_hidden_gives_nothing() {
    if !root("what_is_hidden_gives_nothing") {
        return;
    }
    let lower = [Item::dir("a").mode(0o700), Item::dir("a/b").mode(0o700), Item::dir("a/b/c").mode(0o700)];
    let mode = |places: &[Place], path: &str| places[0].stat(path).mode() & 0o7777;
    let hidden = [Item::file(".wh.a", b"")];
    assert_eq!(mode(&stack(&[&lower, &hidden, &[Item::file("a/b/f", b"")]]), "a/b"), 0o755);
    let opaque = [Item::dir("a").mode(0o711), Item::file("a/.wh..wh..opq", b"")];
    let places = stack(&[&lower, &opaque, &[Item::file("a/b/f", b"")]]);
    assert_eq!((mode(&places, "a"), mode(&places, "a/b")), (0o711, 0o755));
    let file = [Item::file("a", b"")];
    assert_eq!(mode(&stack(&[&lower, &file, &[Item::file("a/b/f", b"")]]), "a"), 0o755);
    let own = [Item::file("a/b/.wh..wh..opq", b""), Item::file("a/b/c/f", b"")];
    let places = stack(&[&lower, &own]);
    assert_eq!((mode(&places, "a"), mode(&places, "a/b"), mode(&places, "a/b/c")), (0o700, 0o755, 0o755));
}

#[test]
fn hard_links_to_files_below_are_copied_up_and_linked() {
    if !root("hard_links_to_files_below_are_copied_up_and_linked") {
        return;
    }
    let places = stack(&[
        &[
            Item::dir("d").mode(0o711).mtime(5),
            Item::file("d/f", b"data").mode(0o4755).owner(3, 4).mtime(9).xattr("user.a", b"b"),
            Item::symlink("s", "d/f"),
        ],
        &[
            Item::dir("n").mtime(77),
            Item::hard_link("n/g", "d/f"),
            Item::hard_link("h", "n/g"),
            Item::hard_link("t", "s"),
        ],
    ]);
    let top = &places[0];
    let (f, g, h) = (top.stat("d/f"), top.stat("n/g"), top.stat("h"));
    assert!(f.ino() == g.ino() && g.ino() == h.ino() && f.nlink() == 3);
    assert_eq!((f.mode(), f.uid(), f.gid(), f.mtime()), (0o104_755, 3, 4, 9));
    assert_eq!(top.read("d/f"), "data");
    assert_eq!((top.stat("d").mode() & 0o7777, top.stat("d").mtime(), top.stat("n").mtime()), (0o711, 5, 77));
    assert!(top.stat("t").is_symlink() && top.stat("t").ino() == top.stat("s").ino());
    assert_eq!(xattrs(&top.path("n/g")).len(), 1);
}

#[test]
fn hard_links_to_nothing_are_an_error_once_everything_is_known() {
    if !root("hard_links_to_nothing_are_an_error_once_everything_is_known") {
        return;
    }
    let (lower, _) = Place::layer(&[Item::file("f", b""), Item::file("d/f", b"")]);
    for items in [
        &[Item::hard_link("a", "nothing")][..],
        &[Item::hard_link("a", "d")],
        &[Item::file("d/.wh..wh..opq", b""), Item::hard_link("a", "d/f")],
        &[Item::file(".wh.f", b""), Item::hard_link("a", "f")],
    ] {
        let (place, applied) = Place::layer(items);
        assert!(!applied.implied.is_empty());
        assert!(rebase(place.fd(), &[lower.fd()], &applied.implied).is_err());
    }
}

#[test]
fn a_file_that_comes_after_the_link_is_another_one() {
    if !root("a_file_that_comes_after_the_link_is_another_one") {
        return;
    }
    let places = stack(&[&[Item::file("f", b"old")], &[Item::hard_link("a", "f"), Item::file("f", b"new")]]);
    assert_eq!((places[0].read("a"), places[0].read("f")), ("old".into(), "new".into()));
    let places = stack(&[&[], &[Item::hard_link("a", "f"), Item::file("f", b"later")]]);
    assert_eq!(places[0].stat("a").ino(), places[0].stat("f").ino());
    let places = stack(&[&[Item::file("f", b"old")], &[Item::hard_link("a", "f"), Item::file("a", b"own")]]);
    assert_eq!(places[0].read("a"), "own");
}

#[test]
fn an_opaque_root_hides_name_by_name() {
    if !root("an_opaque_root_hides_name_by_name") {
        return;
    }
    let places = stack(&[
        &[Item::file("f", b""), Item::file("d/x", b""), Item::file("g", b"")],
        &[Item::file(".wh.g", b"")],
        &[Item::file(".wh..wh..opq", b""), Item::file("d/y", b""), Item::file("f", b"")],
    ]);
    assert!(places[0].is_opaque("d") && places[0].stat("f").is_file());
    assert!(!places[0].exists("g"));
}

#[test]
fn layers_below_that_are_known_at_once_need_no_rebase() {
    if !root("layers_below_that_are_known_at_once_need_no_rebase") {
        return;
    }
    let (lower, _) = Place::layer(&[Item::dir("a").mode(0o711), Item::file("f", b"data")]);
    let place = Place::new();
    let bytes = archive(&[Item::file("a/b", b""), Item::hard_link("g", "f")]);
    let target = Target { root: place.fd(), whiteouts: OVERLAY, lower: &[lower.fd()] };
    let applied = apply(&mut &bytes[..], &target, &ApplyOptions::default()).unwrap();
    assert!(applied.implied.is_empty());
    assert_eq!(place.stat("a").mode() & 0o7777, 0o711);
    assert_eq!(place.read("g"), "data");
}
