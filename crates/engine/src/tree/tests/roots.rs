//! What roots are, and what is seen below them.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command};

use gantry_testkit::{Canary, Need, mounts_below, require, until};

use super::super::asked::Asked;
use super::super::process::{Process, alone};
use super::super::root::{Root, Wanted};
use super::super::stat::{FileStat, find};
use super::super::stopped::Writable;
use super::{Stopped, forge, get, put, root_of};
use crate::Error;

fn stat(root: &Root, path: &str) -> crate::Result<FileStat> {
    find(root.as_fd(), &Asked::parse(path)?, "c").map(|(_, stat)| stat)
}

#[test]
fn a_stopped_container_shows_its_volumes_and_nobody_else_sees_them() {
    require!(Need::Root);
    let (files, volume) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(files.path().join("hosts"), "127.0.0.1 me\n").unwrap();
    fs::write(volume.path().join("kept"), "v").unwrap();
    let stopped = Stopped::new(Wanted::AllWritable)
        .point(&files.path().join("hosts"), "/etc/hosts", Writable::Yes)
        .point(volume.path(), "/data", Writable::Yes)
        .point(volume.path(), "/read/only", Writable::No);
    let root = stopped.mount().unwrap();
    assert!(get(&root, "/etc/hosts").unwrap().windows(12).any(|part| part == b"127.0.0.1 me"));
    put(&root, "/data", &forge::archive(&[forge::file("new", b"1")])).unwrap();
    put(&root, "/etc", &forge::archive(&[forge::file("made", b"1")])).unwrap();
    assert_eq!(fs::read(volume.path().join("new")).unwrap(), b"1");
    assert_eq!(fs::read(stopped.at("upper/etc/made")).unwrap(), b"1");
    let refused = put(&root, "/read/only", &forge::archive(&[forge::file("other", b"1")])).unwrap_err();
    assert!(matches!(refused, Error::ReadOnly(_)), "{refused}");
    assert!(!volume.path().join("other").exists());
    assert!(mounts_below(stopped.directory.path()).is_empty(), "the host sees no mount");
    drop(root);
    // Nothing is left that holds the upper directory: it is mounted again.
    let again = Stopped { directory: stopped.directory, plan: stopped.plan };
    drop(again.mount().unwrap());
}

#[test]
fn what_is_only_read_cannot_be_written_to() {
    require!(Need::Root);
    let volume = tempfile::tempdir().unwrap();
    let read_only = |wanted, root| {
        let mut stopped = Stopped::new(wanted).point(volume.path(), "/data", Writable::Yes);
        stopped.plan.root = root;
        stopped
    };
    for (wanted, root) in [(Wanted::All, Writable::Yes), (Wanted::AllWritable, Writable::No)] {
        let stopped = read_only(wanted, root);
        let root = stopped.mount().unwrap();
        let refused = put(&root, "/etc", &forge::archive(&[forge::file("made", b"1")])).unwrap_err();
        assert!(matches!(refused, Error::ReadOnly(_)), "{refused}");
        put(&root, "/data", &forge::archive(&[forge::file("made", b"1")])).unwrap();
        assert!(!stopped.at("upper/etc/made").exists() && volume.path().join("made").exists());
        fs::remove_file(volume.path().join("made")).unwrap();
    }
}

#[test]
fn what_is_not_there_is_not_shown_and_cannot_be_written_to() {
    require!(Need::Root);
    let gone = Path::new("/nowhere/at/all");
    let reading = Stopped::new(Wanted::All).point(gone, "/data", Writable::Yes);
    assert!(stat(&reading.mount().unwrap(), "/etc/passwd").is_ok());
    let writing = Stopped::new(Wanted::AllWritable).point(gone, "/data", Writable::Yes);
    assert_eq!(writing.mount().unwrap_err().kind(), gantry_types::ErrorKind::NotFound);
    assert!(mounts_below(writing.directory.path()).is_empty());
}

/// A process in a mount namespace and a root of its own.
struct Contained {
    directory: tempfile::TempDir,
    child: Child,
}

impl Contained {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        for name in ["bin", "mnt", "etc"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        gantry_testkit::copy_program(&gantry_testkit::busybox(), &root.join("bin/busybox"));
        fs::write(root.join("etc/name"), "contained").unwrap();
        let script = "mount --bind $0 $0 && mount -t tmpfs none $0/mnt && echo inside > $0/mnt/file && \
                      exec chroot $0 /bin/busybox sleep 1000";
        let child = Command::new("unshare").args(["-m", "sh", "-c", script]).arg(&root).spawn().unwrap();
        let contained = Self { directory, child };
        until("the process to be in its root", || {
            let exe = fs::read_link(format!("/proc/{}/exe", contained.pid())).ok()?;
            exe.ends_with("busybox").then_some(())
        });
        contained
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_running_container_shows_what_it_sees_and_keeps_showing_it_after_its_end() {
    require!(Need::Root);
    let mut contained = Contained::new();
    let process = Process::open(contained.pid()).unwrap().unwrap();
    assert!(!process.has_ended().unwrap());
    let late = Process::open(contained.pid()).unwrap().unwrap();
    let root = process.into_root();
    assert_eq!(stat(&root, "/mnt/file").unwrap().size, 7);
    contained.child.kill().unwrap();
    contained.child.wait().unwrap();
    assert!(late.has_ended().unwrap());
    assert!(Process::open(contained.pid()).unwrap().is_none(), "it is gone");
    assert_eq!(stat(&root, "/mnt/file").unwrap().size, 7, "its mounts stay as long as somebody looks");
}

#[test]
fn an_export_is_without_what_is_mounted() {
    require!(Need::Root);
    let contained = Contained::new();
    let root = alone(Process::open(contained.pid()).unwrap().unwrap().into_root()).unwrap();
    assert_eq!(stat(&root, "/etc/name").unwrap().size, 9);
    assert_eq!(stat(&root, "/mnt/file").unwrap_err().kind(), gantry_types::ErrorKind::NotFound);
    assert!(contained.directory.path().join("root/etc/name").exists());
}

#[test]
fn a_process_of_the_host_is_no_container() {
    require!(Need::Root);
    assert!(matches!(Process::open(std::process::id()), Err(Error::Unsupported(_))));
    for nobody in [0, u32::MAX] {
        assert!(Process::open(nobody).unwrap().is_none());
    }
}

#[test]
fn files_are_described_and_links_are_told_to_their_ends() {
    let directory = tempfile::tempdir().unwrap();
    let canary = Canary::new();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("d/sub")).unwrap();
    fs::write(at("d/file"), "12345").unwrap();
    fs::set_permissions(at("d/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(at("d"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("/d", at("absolute")).unwrap();
    symlink("../../../d/file", at("d/up")).unwrap();
    symlink("absolute/sub/missing/../x", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    symlink(canary.path(), at("host")).unwrap();
    let root = root_of(directory.path());
    let check = |path: &str, name: &str, mode: u32, target: &str| {
        let found = stat(&root, path).unwrap();
        assert_eq!(
            (found.name.as_str(), found.mode, found.link_target.as_str()),
            (name, mode, target),
            "{path}"
        );
    };
    let (kind, link) = (1 << 31, 1 << 27 | 0o777);
    check("/d/file", "file", 1 << 23 | 0o751, "");
    check("d", "d", kind | 1 << 20 | 0o777, "");
    check("/absolute", "absolute", link, "/d");
    check("/absolute/", "absolute", kind | 1 << 20 | 0o777, "");
    check("/absolute/.", ".", kind | 1 << 20 | 0o777, "");
    check("/d/up", "up", link, "/d/file");
    check("/dangling", "dangling", link, "/d/sub/x");
    check("/host", "host", link, &canary.path().display().to_string());
    assert_eq!(stat(&root, "/d/file").unwrap().size, 5);
    let error = stat(&root, "/d/none").unwrap_err();
    assert_eq!(error.to_string(), "Could not find the file /d/none in container c");
    for wrong in ["/d/file/", "/d/file/x", "/loop", "/loop/"] {
        assert!(stat(&root, wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        stat(&root_of("/".as_ref()), "/proc/version").unwrap_err().kind(),
        gantry_types::ErrorKind::NotFound
    );
    assert_eq!(stat(&root, "/host/").unwrap_err().kind(), gantry_types::ErrorKind::NotFound);
}
