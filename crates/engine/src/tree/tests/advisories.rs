//! An advisory each, with a canary on the host, and racers where the flaw was a race.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gantry_testkit::{Canary, Need, require};
use gantry_types::ErrorKind;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::super::copy_up::fill;
use super::super::root::Wanted;
use super::super::stopped::Writable;
use super::{Stopped, forge, get, put, root_of};

/// How long a racer is given.
const RACE: Duration = Duration::from_secs(2);

/// Exchanges two names as fast as it can while `work` is done again and again.
fn against_exchange(a: &Path, b: &Path, mut work: impl FnMut()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
                    // What is raced against may replace a name by a new one.
                    Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                    Err(errno) => panic!("{errno}"),
                }
            }
        });
        let end = Instant::now() + RACE;
        while Instant::now() < end {
            work();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// A root in which a directory `a` and a link to the host change places.
fn contested(canary: &Canary) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("a")).unwrap();
    fs::write(directory.path().join("a/file"), "inside").unwrap();
    symlink(canary.dotted(), directory.path().join("b")).unwrap();
    directory
}

#[test]
fn cve_2018_15664_a_copy_out_of_a_swapped_directory_gives_nothing_of_the_host() {
    let canary = Canary::new();
    let directory = contested(&canary);
    let root = root_of(directory.path());
    against_exchange(&directory.path().join("a"), &directory.path().join("b"), || {
        for path in ["/a/file", "/a/.", "/a", "/", "/a/"] {
            if let Ok(archive) = get(&root, path) {
                assert!(!archive.windows(7).any(|part| part == b"canary\n"));
            }
        }
    });
    canary.assert_untouched();
}

#[test]
fn cve_2018_15664_a_copy_into_a_swapped_directory_touches_nothing_of_the_host() {
    require!(Need::Root);
    let canary = Canary::new();
    let directory = contested(&canary);
    let root = root_of(directory.path());
    let archive = forge::archive(&[
        forge::file("file", b"stolen"),
        forge::dir("dir", 0o777),
        forge::file("dir/file", b"stolen"),
        forge::hard_link("linked", "dir/file"),
    ]);
    let whole = forge::archive(&[forge::dir("a", 0o777), forge::file("a/new/file", b"x")]);
    against_exchange(&directory.path().join("a"), &directory.path().join("b"), || {
        let _ = put(&root, "/a", &archive);
        let _ = put(&root, "/", &whole);
        // The first archive replaces what is there: the racer is to find its names again.
        let _ = fs::create_dir(directory.path().join("a"));
    });
    canary.assert_untouched();
}

#[test]
fn cve_2019_18466_a_link_leads_to_the_files_of_the_container() {
    let canary = Canary::new();
    let directory = tempfile::tempdir().unwrap();
    let root = root_of(directory.path());
    for target in [canary.path().to_owned(), canary.dotted()] {
        let link = directory.path().join("link");
        let _ = fs::remove_file(&link);
        symlink(&target, &link).unwrap();
        for path in ["/link/file", "/link/.", "/link/dir/file"] {
            assert_eq!(get(&root, path).unwrap_err().kind(), ErrorKind::NotFound, "{path}");
        }
        assert_eq!(put(&root, "/link/none", b"").map_err(|error| error.kind()), Ok(()), "nothing comes");
    }
    canary.assert_untouched();
}

#[test]
fn cve_2019_14271_nothing_of_a_container_is_loaded() {
    require!(Need::Root);
    let canary = Canary::new();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["etc", "lib/x86_64-linux-gnu", "bin", "usr/bin"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("etc/nsswitch.conf"), "passwd: evil\ngroup: evil\n").unwrap();
    fs::write(at("lib/x86_64-linux-gnu/libnss_evil.so.2"), "no library").unwrap();
    fs::write(at("etc/passwd"), "web:x:33:34::/:/bin/sh\n").unwrap();
    evil_programs(directory.path(), &canary);
    let root = root_of(directory.path());
    let user = crate::container::user_of("web", &[], Some(root.dir())).unwrap().user;
    assert_eq!((user.uid, user.gid), (33, 34));
    put(&root, "/etc", &forge::archive(&[forge::file("x", b"1")])).unwrap();
    get(&root, "/etc").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains(directory.path().to_str().unwrap()) && !maps.contains("libnss_evil"));
    canary.assert_untouched();
}

/// Programs that an engine might call to undo compressions.
fn evil_programs(root: &Path, canary: &Canary) {
    for name in ["xz", "unpigz", "pigz", "gzip", "bzip2", "zstd", "tar", "getent"] {
        for dir in ["bin", "usr/bin"] {
            let path = root.join(dir).join(name);
            fs::write(&path, format!("#!/bin/sh\ntouch {}/executed\n", canary.path().display())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}

#[test]
fn cve_2026_41567_archives_are_decompressed_here_or_not_at_all() {
    require!(Need::Root);
    let canary = Canary::new();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("usr/bin")).unwrap();
    fs::create_dir_all(directory.path().join("bin")).unwrap();
    evil_programs(directory.path(), &canary);
    let root = root_of(directory.path());
    let archive = forge::archive(&[forge::file("x", b"1")]);
    for (name, compression) in
        [("g", gantry_layer::Compression::Gzip), ("z", gantry_layer::Compression::Zstd)]
    {
        let compressor = gantry_layer::Compressor::new(Vec::new(), compression, gantry_layer::Level::Default);
        let mut compressor = compressor.unwrap();
        std::io::Write::write_all(&mut compressor, &archive).unwrap();
        put(&root, "/", &compressor.finish().unwrap()).unwrap();
        fs::rename(directory.path().join("x"), directory.path().join(name)).unwrap();
    }
    for magic in [&b"\xfd7zXZ\0\0\x04"[..], b"BZh91AY&SY", b"\x04\x22\x4d\x18xx"] {
        let error = put(&root, "/", &[magic, &archive].concat()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unimplemented | ErrorKind::InvalidArgument), "{error}");
    }
    for wrong in [&b"x"[..], b"\x1f\x8b", &archive[..512]] {
        assert_eq!(put(&root, "/", wrong).unwrap_err().kind(), ErrorKind::InvalidArgument, "{wrong:?}");
    }
    canary.assert_untouched();
}

#[test]
fn cve_2026_41568_a_place_of_a_mount_that_is_swapped_meanwhile_is_made_nowhere_else() {
    require!(Need::Root);
    let canary = Canary::new();
    let volume = contested(&canary);
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("single"), "x").unwrap();
    let stopped = Stopped::new(Wanted::AllWritable)
        .point(volume.path(), "/volume", Writable::Yes)
        .point(source.path(), "/volume/a/made/dir", Writable::Yes)
        .point(&source.path().join("single"), "/volume/a/made-file", Writable::Yes);
    against_exchange(&volume.path().join("a"), &volume.path().join("b"), || {
        let _ = stopped.mount();
    });
    canary.assert_untouched();
}

#[test]
fn cve_2026_42306_a_mount_is_redirected_nowhere() {
    require!(Need::Root);
    let canary = Canary::new();
    let volume = contested(&canary);
    fs::create_dir(volume.path().join("a/dir")).unwrap();
    let stolen = tempfile::tempdir().unwrap();
    let stopped = Stopped::new(Wanted::AllWritable).point(volume.path(), "/volume", Writable::Yes).point(
        stolen.path(),
        "/volume/a/dir",
        Writable::Yes,
    );
    let archive = forge::archive(&[forge::file("file", b"stolen")]);
    against_exchange(&volume.path().join("a"), &volume.path().join("b"), || {
        if let Ok(root) = stopped.mount() {
            let _ = put(&root, "/volume/a/dir", &archive);
        }
    });
    canary.assert_untouched();
}

#[test]
fn cve_2026_42306_a_subpath_of_a_volume_is_no_link() {
    require!(Need::Root);
    let canary = Canary::new();
    let volume = contested(&canary);
    fs::create_dir(volume.path().join("a/dir")).unwrap();
    let mut stopped = Stopped::new(Wanted::AllWritable).point(volume.path(), "/data", Writable::Yes);
    stopped.plan.points[0].subpath = "a/dir".to_owned();
    let archive = forge::archive(&[forge::file("file", b"stolen")]);
    against_exchange(&volume.path().join("a"), &volume.path().join("b"), || {
        if let Ok(root) = stopped.mount() {
            let _ = put(&root, "/data", &archive);
        }
    });
    canary.assert_untouched();
    stopped.plan.points[0].subpath = "../x".to_owned();
    assert!(stopped.mount().is_err());
}

#[test]
fn cve_2022_23648_a_volume_of_an_image_is_filled_from_the_image_alone() {
    require!(Need::Root);
    let canary = Canary::new();
    let image = tempfile::tempdir().unwrap();
    fs::create_dir_all(image.path().join("real/sub")).unwrap();
    fs::write(image.path().join("real/file"), "image").unwrap();
    fs::set_permissions(image.path().join("real"), fs::Permissions::from_mode(0o2750)).unwrap();
    std::os::unix::fs::chown(image.path().join("real"), Some(5), Some(6)).unwrap();
    symlink(canary.path(), image.path().join("absolute")).unwrap();
    symlink(canary.dotted(), image.path().join("relative")).unwrap();
    symlink("/real", image.path().join("inside")).unwrap();
    symlink(canary.path().join("file"), image.path().join("real/link")).unwrap();
    fs::write(image.path().join("file"), "").unwrap();
    let root = root_of(image.path());
    let traversal = format!("/../../../..{}", canary.path().display());
    for target in ["/absolute", "/relative", &traversal, "/absolute/dir", "/missing", "/file"] {
        let volume = tempfile::tempdir().unwrap();
        fill(root.as_fd(), target, volume.path(), volume.path()).unwrap();
        assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 0, "{target}");
    }
    for target in ["/real", "/inside"] {
        let volume = tempfile::tempdir().unwrap();
        fill(root.as_fd(), target, volume.path(), volume.path()).unwrap();
        assert_eq!(fs::read(volume.path().join("file")).unwrap(), b"image");
        assert_eq!(fs::read_link(volume.path().join("link")).unwrap(), canary.path().join("file"));
        let stat = fs::metadata(volume.path()).unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o2750, 5, 6));
    }
    canary.assert_untouched();
}

#[test]
fn cve_2020_1726_a_volume_with_something_in_it_stays_as_it_is() {
    require!(Need::Root);
    let (image, volume) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(image.path().join("data")).unwrap();
    fs::write(image.path().join("data/file"), "image").unwrap();
    fs::set_permissions(image.path().join("data"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(volume.path().join("mine"), "kept").unwrap();
    let before = fs::metadata(volume.path()).unwrap().mode();
    fill(root_of(image.path()).as_fd(), "/data", volume.path(), volume.path()).unwrap();
    assert!(!volume.path().join("file").exists());
    assert_eq!(fs::metadata(volume.path()).unwrap().mode(), before);
}

#[test]
fn cve_2021_41089_a_copy_changes_no_modes_of_the_host() {
    require!(Need::Root);
    let canary = Canary::new();
    for target in [canary.path().to_owned(), canary.dotted()] {
        let directory = tempfile::tempdir().unwrap();
        symlink(&target, directory.path().join("link")).unwrap();
        symlink(target.join("file"), directory.path().join("file")).unwrap();
        let root = root_of(directory.path());
        let archive = forge::archive(&[
            forge::dir("link", 0o777),
            forge::file("file", b"x"),
            forge::dir("./", 0o777),
            forge::dir("../..", 0o777),
        ]);
        put(&root, "/", &archive).unwrap();
        let _ = put(&root, "/link", &archive);
        canary.assert_untouched();
    }
}

#[test]
fn cve_2014_9356_names_and_links_in_an_archive_stay_inside() {
    require!(Need::Root);
    let canary = Canary::new();
    let host = canary.path().display().to_string();
    let up = canary.dotted().display().to_string();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("base")).unwrap();
    let root = root_of(directory.path());
    let hostile = [
        vec![forge::file(&format!("{up}/file"), b"x"), forge::file(&format!("{host}/file"), b"x")],
        vec![forge::symlink("out", &host), forge::file("out/file", b"x"), forge::dir("out/dir", 0o777)],
        vec![forge::symlink("out", &up), forge::file("out/new", b"x"), forge::file("out/dir/file", b"x")],
        vec![forge::hard_link("hard", &format!("{host}/file")), forge::file("hard", b"x")],
        vec![forge::hard_link("hard", &format!("{up}/file"))],
        vec![
            forge::symlink("s", &format!("{host}/file")),
            forge::hard_link("h", "s"),
            forge::file("h", b"x"),
        ],
        vec![forge::symlink("s", "."), forge::file("s/s/s/../../../../../x", b"x")],
    ];
    for entries in hostile {
        let _ = put(&root, "/base", &forge::archive(&entries));
        canary.assert_untouched();
    }
    let names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "base" || name == "tmp"), "{names:?}");
}

#[test]
fn cve_2014_9357_a_device_of_an_archive_is_a_node_in_the_container_and_is_not_opened() {
    require!(Need::Root);
    let directory = tempfile::tempdir().unwrap();
    let root = root_of(directory.path());
    let archive = forge::archive(&[
        forge::entry(b'3', "device", "", 0o600, b""),
        forge::entry(b'6', "fifo", "", 0o600, b""),
        forge::file("device", b"a file comes instead of it"),
        forge::file("fifo", b"and of this"),
        forge::entry(b'3', "null", "", 0o600, b""),
    ]);
    put(&root, "/", &archive).unwrap();
    assert!(fs::metadata(directory.path().join("device")).unwrap().is_file());
    assert_eq!(fs::read(directory.path().join("fifo")).unwrap(), b"and of this");
    let out = get(&root, "/").unwrap();
    assert!(out.windows(5).any(|part| part == b"/null"));
}
