//! Recursive mount attributes: rro, rnosuid, rnoatime and the rest.

use std::fs;

use gantry_testkit::{Bundle, Invocation, Mount, Need, Output, Peer, Report, Runtime, require};

/// Runs in a mount namespace where the source of the bind mount has a tmpfs below it.
fn with_submount(call: Invocation, dir: &std::path::Path) -> Output {
    let script = format!("mount -t tmpfs tmpfs {}/sub && exec \"$0\" \"$@\"", dir.display());
    call.wrapped(["unshare", "--mount", "--propagation", "private", "sh", "-c", &script]).run()
}

fn mounts(options: &[&str]) -> (Mount, Mount) {
    let runtime = Runtime::new();
    let bundle = Bundle::new().probe(&[]);
    let dir = bundle.make_dir("shared");
    fs::create_dir(dir.join("sub")).unwrap();
    let options: Vec<&str> = ["rbind"].iter().chain(options).copied().collect();
    let bundle = bundle.bind(&dir, "/mnt", &options);
    let report = Report::parse(&with_submount(runtime.run_command(&bundle, &[]), &dir).ok().stdout);
    (report.mount("/mnt"), report.mount("/mnt/sub"))
}

#[test]
fn plain_attributes_reach_the_top_mount_alone() {
    let (top, below) = mounts(&["ro", "nosuid"]);
    assert!(top.has("ro") && top.has("nosuid"), "{top:?}");
    assert!(below.has("rw") && !below.has("nosuid"), "{below:?}");
}

#[test]
fn recursive_attributes_reach_every_mount() {
    require!(Need::Runc(1, 1), Need::Kernel(5, 12));
    let sets: [(&str, &str); 6] = [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rnodiratime", "nodiratime"),
    ];
    for (option, shown) in sets {
        let (top, below) = mounts(&[option]);
        assert!(top.has(shown), "{option}: {top:?}");
        assert!(below.has(shown), "{option}: {below:?}");
    }
}

#[test]
fn recursive_attributes_can_be_taken_back() {
    require!(Need::Runc(1, 1), Need::Kernel(5, 12));
    for (option, gone) in [("rrw", "ro"), ("rsuid", "nosuid"), ("rdev", "nodev"), ("rexec", "noexec")] {
        let (top, below) = mounts(&[option]);
        assert!(!top.has(gone) && !below.has(gone), "{option}: {top:?} {below:?}");
    }
}

#[test]
fn recursive_access_times_are_set() {
    require!(Need::Runc(1, 1), Need::Kernel(5, 12));
    let (top, below) = mounts(&["rstrictatime"]);
    for mount in [&top, &below] {
        assert!(!mount.has("relatime") && !mount.has("noatime"), "{mount:?}");
    }
    let (top, below) = mounts(&["rrelatime"]);
    assert!(top.has("relatime") && below.has("relatime"));
}

#[test]
fn several_recursive_attributes_add_up() {
    require!(Need::Runc(1, 1), Need::Kernel(5, 12));
    let (top, below) = mounts(&["rro", "rnosuid", "rnodev", "rnoexec"]);
    for mount in [&top, &below] {
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(mount.has(option), "{option}: {mount:?}");
        }
    }
}

#[test]
fn plain_and_recursive_attributes_mix() {
    require!(Need::Runc(1, 1), Need::Kernel(5, 12));
    let (top, below) = mounts(&["nosuid", "rnodev"]);
    assert!(top.has("nosuid") && top.has("nodev"), "{top:?}");
    assert!(!below.has("nosuid") && below.has("nodev"), "{below:?}");
}

#[test]
fn links_can_be_forbidden() {
    require!(Need::Runc(1, 1), Need::Kernel(5, 12));
    let (top, below) = mounts(&["rnosymfollow"]);
    assert!(top.has("nosymfollow") && below.has("nosymfollow"), "{top:?} {below:?}");
    let (top, below) = mounts(&["nosymfollow"]);
    assert!(top.has("nosymfollow") && !below.has("nosymfollow"), "{top:?} {below:?}");
}

#[test]
fn recursively_read_only_means_that_nothing_below_can_be_written() {
    require!(Need::Runc(1, 1), Need::Kernel(5, 12));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("touch /mnt/x; touch /mnt/sub/x");
    let dir = bundle.make_dir("shared");
    fs::create_dir(dir.join("sub")).unwrap();
    let bundle = bundle.bind(&dir, "/mnt", &["rbind", "rro"]);
    let output = with_submount(runtime.run_command(&bundle, &[]), &dir).fails();
    assert_eq!(output.stderr.matches("Read-only file system").count(), 2, "{output}");
}

#[test]
fn recursive_attributes_apply_to_other_kinds_too() {
    require!(Need::Not(Peer::Runc, "applies them to bind mounts alone"), Need::Kernel(5, 12));
    let runtime = Runtime::new();
    let bundle = Bundle::new().probe(&[]).mount("/mnt", "tmpfs", "tmpfs", &["rnoexec", "rro"]);
    let mount = Report::parse(&runtime.run(&bundle).ok().stdout).mount("/mnt");
    assert!(mount.has("noexec") && mount.has("ro"), "{mount:?}");
}
