//! Roots that are mounted for the container.

use gantry_proto_shim::mount::Mount;
use gantry_testkit::{Bundle, Need, mounts_below, require, until_true};

use crate::harness::{Daemon, Expect, Io, Output, Task};

/// Moves the root file system away, so that it has to be mounted.
fn emptied(bundle: Bundle) -> Bundle {
    std::fs::rename(bundle.rootfs(), bundle.path().join("lower")).unwrap();
    std::fs::create_dir(bundle.rootfs()).unwrap();
    bundle
}

fn runs_and_unmounts(mut task: Task<'_>) {
    let mut out = Output::new(task.daemon.path("out"));
    task.create_with(Io::stdout(out.path())).good();
    task.start();
    assert_eq!(out.read_to_end(), "there\n");
    assert_eq!(task.wait(), 0);
    task.delete();
    until_true("the mounts to go", || mounts_below(task.bundle.path()).is_empty());
}

#[test]
fn an_overlay_is_mounted_and_unmounted() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(emptied(Bundle::new().writable().sh("echo there > /there; cat /there")));
    // Upper directories may not be on an overlay themselves.
    let shared = tempfile::Builder::new().prefix("gantry-shim.").tempdir_in("/dev/shm").unwrap();
    for name in ["upper", "work"] {
        std::fs::create_dir(shared.path().join(name)).unwrap();
    }
    let dir = |name: &str| shared.path().join(name).display().to_string();
    task.rootfs = vec![Mount {
        r#type: "overlay".into(),
        source: "overlay".into(),
        options: vec![
            format!("lowerdir={}", task.bundle.path().join("lower").display()),
            format!("upperdir={}", dir("upper")),
            format!("workdir={}", dir("work")),
        ],
        ..Mount::default()
    }];
    runs_and_unmounts(task);
    assert_eq!(std::fs::read_to_string(shared.path().join("upper/there")).unwrap(), "there\n");
}

#[test]
fn a_bind_mount_is_mounted_and_unmounted() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(emptied(Bundle::new().sh("echo there")));
    let source = task.bundle.path().join("lower").display().to_string();
    let options = vec!["rbind".to_owned(), "ro".to_owned()];
    task.rootfs = vec![Mount { r#type: "bind".into(), source, options, ..Mount::default() }];
    runs_and_unmounts(task);
}

#[test]
fn a_root_that_cannot_be_mounted_fails_and_leaves_nothing() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(emptied(Bundle::new()));
    let source = "/no/such/directory".to_owned();
    task.rootfs =
        vec![Mount { r#type: "bind".into(), source, options: vec!["rbind".into()], ..Mount::default() }];
    task.create_with(Io::default()).unwrap_err();
    assert!(mounts_below(task.bundle.path()).is_empty());
}

#[test]
fn a_create_that_fails_unmounts_the_root() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task =
        daemon.task(emptied(Bundle::new().edit(|c| c["hostname"] = serde_json::json!("x".repeat(4096)))));
    let source = task.bundle.path().join("lower").display().to_string();
    task.rootfs =
        vec![Mount { r#type: "bind".into(), source, options: vec!["rbind".into()], ..Mount::default() }];
    task.create_with(Io::default()).unwrap_err();
    until_true("the mounts to go", || mounts_below(task.bundle.path()).is_empty());
}

#[test]
fn delete_unmounts_the_root_of_a_killed_shims_container() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(emptied(Bundle::new().sleeping()));
    let source = task.bundle.path().join("lower").display().to_string();
    task.rootfs =
        vec![Mount { r#type: "bind".into(), source, options: vec!["rbind".into()], ..Mount::default() }];
    task.create();
    task.start();
    task.shim.kill();
    until_true("the shim to be gone", || task.shim.is_gone());
    assert_eq!(daemon.delete(&task.id, task.bundle.path()).exit_status, 137);
    task.forget();
    until_true("the mounts to go", || mounts_below(task.bundle.path()).is_empty());
}
