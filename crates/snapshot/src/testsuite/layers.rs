//! What a layer does to the files of those below.

use std::os::unix::fs::MetadataExt;

use super::Case;
use super::bench::Bench;
use super::files::{Change, apply, dir, file, link, own, remove, rename};

pub(super) const CASES: &[Case] = &[
    ("a_file_is_replaced", file_update),
    ("a_directory_is_removed_and_made_again", remove_lower_directory),
    ("files_are_deleted", deleted_files),
    ("owners_change", owners),
    ("owners_and_modes_of_directories_survive_the_commit", directory_permissions),
    ("a_file_moves", move_file),
    ("files_and_directories_are_renamed", renames),
    ("hard_links_are_links", hard_links),
    ("every_kind_of_file_and_every_bit_is_kept", every_kind),
    ("the_root_has_the_attributes_of_the_parents_root", root_attributes),
];

fn file_update(bench: &Bench<'_>) {
    let below = [
        dir("etc", 0o700),
        file("etc/hosts", "mydomain 10.0.0.1", 0o644),
        file("etc/profile", "PATH=/usr/bin", 0o644),
    ];
    let above = [
        file("etc/hosts", "mydomain 10.0.0.2", 0o644),
        file("etc/profile", "PATH=/usr/bin", 0o666),
        dir("root", 0o700),
        file("root/.bashrc", "PATH=/usr/sbin:/usr/bin", 0o644),
    ];
    // The same length in the same second: nothing may go by size and time.
    for prefix in ["first", "second", "third"] {
        bench.assert_chain(prefix, &[&below, &above]);
    }
}

fn remove_lower_directory(bench: &Bench<'_>) {
    let below = [dir("lib", 0o700), file("lib/hidden", "", 0o644)];
    let middle = [remove("lib"), dir("lib", 0o700), file("lib/not-hidden", "", 0o644)];
    bench.assert_chain("chain", &[&below, &middle, &[file("lib/newfile", "", 0o644)], &[remove("lib")]]);
}

fn deleted_files(bench: &Bench<'_>) {
    let below = [file("foo", "foo\n", 0o777), file("foobar", "foobar\n", 0o777)];
    bench.assert_chain("chain", &[&below, &[remove("foobar")], &[], &[file("foobar", "again", 0o600)]]);
}

fn owners(bench: &Bench<'_>) {
    let below = [
        dir("opt", 0o700),
        dir("opt/a", 0o700),
        dir("opt/a/b", 0o700),
        file("opt/a/b/file.txt", "hello", 0o644),
    ];
    let above = ["opt", "opt/a", "opt/a/b", "opt/a/b/file.txt"].map(|path| own(path, 1, 1));
    bench.assert_chain("chain", &[&below, &above]);
}

fn directory_permissions(bench: &Bench<'_>) {
    let mut below = (1..=5).map(|n| dir(&format!("dir{n}"), 0o700)).collect::<Vec<_>>();
    below.extend([file("dir4/f1", "...", 0o644), file("dir5/f1", "...", 0o644)]);
    below.extend(["dir1", "dir2", "dir3", "dir5", "dir5/f1"].map(|path| own(path, 1, 1)));
    let middle = [own("dir2", 0, 0), remove("dir3"), own("dir4", 1, 1), own("dir4/f1", 1, 1)];
    let above = [
        dir("dir3", 0o700),
        own("dir3", 1, 1),
        remove("dir5"),
        dir("dir5", 0o700),
        own("dir5", 1, 1),
        Change::Chmod("dir1".into(), 0o1777),
    ];
    bench.assert_chain("chain", &[&below, &middle, &above]);
}

fn move_file(bench: &Bench<'_>) {
    let below = [
        dir("dir1", 0o700),
        file("dir1/f1", "Hello", 0o644),
        dir("dir2", 0o700),
        file("dir2/f2", "...", 0o644),
    ];
    let above = [
        dir("dir3", 0o700),
        file("dir3/f1", "Hello", 0o644),
        remove("dir1"),
        link("dir2/f2", "dir3/f2"),
        remove("dir2/f2"),
    ];
    bench.assert_chain("chain", &[&below, &above]);
}

fn renames(bench: &Bench<'_>) {
    let below = [
        dir("dir1", 0o700),
        dir("somefiles", 0o700),
        file("somefiles/f1", "was here first!", 0o644),
        file("somefiles/f2", "nothing interesting", 0o644),
    ];
    let mut above = vec![
        file("somefiles/f1-overwrite", "new content 1", 0o644),
        rename("somefiles/f1-overwrite", "somefiles/f1"),
        rename("somefiles/f2", "somefiles/f3"),
    ];
    if bench.features.renames_lower_directories {
        above.push(rename("dir1", "dir2"));
    }
    bench.assert_chain("chain", &[&below, &above]);
}

fn hard_links(bench: &Bench<'_>) {
    let below = [dir("a", 0o755), file("a/one", "1", 0o644), link("a/one", "two"), link("two", "a/three")];
    bench.assert_chain("chain", &[&below, &[file("other", "", 0o644)], &[remove("two")]]);
}

fn every_kind(bench: &Bench<'_>) {
    // A v2 capability set: permitted and effective CAP_NET_RAW.
    let capability = vec![1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let below = [
        file("suid", "x", 0o4755),
        file("sgid", "x", 0o2755),
        file("none", "x", 0),
        dir("sticky", 0o1777),
        own("sticky", 1000, 1000),
        dir("setgid", 0o2775),
        Change::Symlink("../nowhere".into(), "link".into()),
        own("link", 7, 8),
        Change::Fifo("fifo".into()),
        Change::Device("null".into(), 0x103),
        file("ping", "x", 0o755),
        Change::Xattr("ping".into(), "security.capability", capability),
        Change::Xattr("sticky".into(), "user.note", b"of a directory".to_vec()),
        file("name with\nevery byte \u{fffd}", "x", 0o644),
        file(&"n".repeat(255), "x", 0o644),
        file("empty", "", 0o644),
    ];
    let above = [own("suid", 2, 2), Change::Chmod("suid".into(), 0o4711), file("ping", "longer", 0o755)];
    bench.assert_chain("chain", &[&below, &[], &above]);
}

fn root_attributes(bench: &Bench<'_>) {
    let facts = |mounts: &[gantry_types::Mount]| {
        let root = bench.mount(mounts, "root").path().metadata().expect("a root can be examined");
        (root.uid(), root.gid(), root.mode() & 0o7777)
    };
    bench.layer("below", None, &[own("", 5, 6), Change::Chmod(String::new(), 0o711)]);
    bench.layer("above", Some("below"), &[file("file", "x", 0o644)]);
    for parent in ["below", "above"] {
        let found = [
            facts(&bench.prepare(&format!("{parent}-active"), Some(parent))),
            facts(&bench.view(&format!("{parent}-of-view"), Some(parent))),
        ];
        for (uid, gid, mode) in found {
            assert_eq!((uid, gid), (5, 6), "{parent}");
            if bench.features.inherits_root_mode {
                assert_eq!(mode, 0o711, "{parent}");
            }
        }
    }
    let flat = bench.directory("flat");
    apply(&flat, &[file("file", "x", 0o644)]);
    bench.assert_shows("above", &flat);
}
