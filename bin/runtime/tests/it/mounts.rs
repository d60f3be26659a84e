//! Mounts: kinds, bind mounts, options, propagation, destinations, the root.

use std::fs;
use std::path::Path;

use gantry_testkit::{Bundle, Need, Report, Runtime, require};
use serde_json::json;

fn report(bundle: &Bundle) -> Report {
    let runtime = Runtime::new();
    Report::parse(&runtime.run(bundle).ok().stdout)
}

#[test]
fn the_mounts_of_dockers_default_configuration_are_made() {
    let report = report(&Bundle::docker().probe(&[]));
    let check = |target: &str, kind: &str, options: &[&str]| {
        let mount = report.mount(target);
        assert_eq!(mount.kind, kind, "{target}");
        for option in options {
            assert!(mount.has(option), "{target} lacks {option}: {mount:?}");
        }
    };
    check("/proc", "proc", &["rw", "nosuid", "noexec", "nodev"]);
    check("/dev", "tmpfs", &["rw", "nosuid"]);
    check("/dev/pts", "devpts", &["nosuid", "noexec"]);
    check("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]);
    check("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev"]);
    check("/sys", "sysfs", &["ro", "nosuid", "noexec", "nodev"]);
    let dev = report.mount("/dev");
    assert!(dev.super_has("size=65536k") && dev.super_has("mode=755"), "{dev:?}");
    let pts = report.mount("/dev/pts");
    assert!(pts.super_has("gid=5") && pts.super_has("mode=620") && pts.super_has("ptmxmode=666"), "{pts:?}");
    assert!(report.mount("/dev/shm").super_has("size=65536k"));
    assert!(!dev.has("noatime") && !dev.has("relatime"), "strictatime: {dev:?}");
}

#[test]
fn the_root_is_read_only_when_asked_for() {
    let bundle = Bundle::new().probe(&[]);
    let seen = report(&bundle).mount("/");
    assert!(seen.has("ro"), "{seen:?}");
    assert!(report(&bundle.writable()).mount("/").has("rw"));
}

#[test]
fn a_read_only_root_leaves_its_mounts_writable() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("touch /dev/shm/file && ! touch /file 2>/dev/null && echo fine");
    assert_eq!(runtime.run(&bundle).ok().text(), "fine");
}

#[test]
fn nothing_of_the_old_root_is_left() {
    let report = report(&Bundle::new().probe(&[]));
    let targets: Vec<String> = report.mounts().into_iter().map(|mount| mount.target).collect();
    assert_eq!(targets.iter().filter(|target| *target == "/").count(), 1, "{targets:?}");
    let known = |target: &str| {
        ["/", "/proc", "/dev", "/sys"].iter().any(|top| {
            target == *top || target.starts_with(&format!("{}/", top.trim_end_matches('/'))) && *top != "/"
        })
    };
    assert!(targets.iter().all(|target| known(target)), "{targets:?}");
}

#[test]
fn bind_mounts_show_directories_and_files() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("cat /mnt/file /etc/single; echo new >/mnt/made");
    let dir = bundle.make_dir("shared");
    fs::write(dir.join("file"), "in the directory\n").unwrap();
    let file = bundle.path().join("single");
    fs::write(&file, "alone\n").unwrap();
    let bundle = bundle.bind(&dir, "/mnt", &["rbind", "rw"]).bind(&file, "/etc/single", &["bind", "ro"]);
    let output = runtime.run(&bundle).ok();
    assert_eq!(output.lines(), ["in the directory", "alone"]);
    assert_eq!(fs::read_to_string(dir.join("made")).unwrap(), "new\n");
}

#[test]
fn a_relative_source_is_found_from_the_bundle() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["cat", "/mnt/file"]);
    fs::write(bundle.make_dir("shared").join("file"), "found").unwrap();
    let bundle = bundle.bind("shared", "/mnt", &["rbind"]);
    assert_eq!(runtime.run(&bundle).ok().text(), "found");
}

#[test]
fn the_kind_of_a_bind_mount_may_be_left_out() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["cat", "/mnt/file"]);
    let dir = bundle.make_dir("shared");
    fs::write(dir.join("file"), "found").unwrap();
    for kind in ["none", "", "bind"] {
        let bundle = Bundle::new().args(["cat", "/mnt/file"]).mount("/mnt", kind, &dir, &["bind"]);
        assert_eq!(runtime.run(&bundle).ok().text(), "found", "{kind:?}");
    }
}

#[test]
fn missing_destinations_are_made() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().sh("cat /new/deep/dir/file; cat /new/file");
    let dir = bundle.make_dir("shared");
    fs::write(dir.join("file"), "one\n").unwrap();
    let bundle =
        bundle.bind(&dir, "/new/deep/dir", &["rbind"]).bind(dir.join("file"), "/new/file", &["bind"]);
    assert_eq!(runtime.run(&bundle).ok().lines(), ["one", "one"]);
}

#[test]
fn a_relative_destination_is_below_the_root() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("grep -c ' /relative/path ' /proc/self/mountinfo");
    let bundle = bundle.mount("relative/path", "tmpfs", "tmpfs", &[]);
    assert_eq!(runtime.run(&bundle).ok().text(), "1");
}

#[test]
fn destinations_with_dots_stay_below_the_root() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("grep -c ' /escape ' /proc/self/mountinfo");
    let bundle = bundle.mount("/../../../escape", "tmpfs", "tmpfs", &[]);
    assert_eq!(runtime.run(&bundle).ok().text(), "1");
    assert!(!Path::new("/escape").exists());
}

#[test]
fn links_in_a_destination_stay_below_the_root() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("grep -c ' /real/sub ' /proc/self/mountinfo");
    fs::create_dir(bundle.rootfs().join("real")).unwrap();
    std::os::unix::fs::symlink("/../../../real", bundle.rootfs().join("link")).unwrap();
    let bundle = bundle.mount("/link/sub", "tmpfs", "tmpfs", &[]);
    assert_eq!(runtime.run(&bundle).ok().text(), "1");
    assert!(!Path::new("/real").exists());
}

#[test]
fn options_are_set_on_each_mount() {
    let sets: [(&[&str], &[&str], &[&str]); 6] = [
        (&["ro"], &["ro"], &["rw"]),
        (&["rw", "nosuid", "nodev", "noexec"], &["rw", "nosuid", "nodev", "noexec"], &[]),
        (&["noatime"], &["noatime"], &["relatime"]),
        (&["nodiratime", "relatime"], &["nodiratime", "relatime"], &["noatime"]),
        (&["strictatime"], &[], &["noatime", "relatime"]),
        (&["ro", "rw", "nosuid", "suid", "nodev", "dev"], &["rw"], &["nosuid", "nodev"]),
    ];
    for (n, (options, with, without)) in sets.into_iter().enumerate() {
        let bundle = Bundle::new().probe(&[]).mount("/mnt", "tmpfs", "tmpfs", options);
        let mount = report(&bundle).mount("/mnt");
        assert!(with.iter().all(|option| mount.has(option)), "tmpfs {n}: {options:?} {mount:?}");
        assert!(!without.iter().any(|option| mount.has(option)), "tmpfs {n}: {options:?} {mount:?}");
        let bundle = Bundle::new().probe(&[]);
        let dir = bundle.make_dir("shared");
        let options: Vec<&str> = ["bind"].iter().chain(options).copied().collect();
        let mount = report(&bundle.bind(dir, "/mnt", &options)).mount("/mnt");
        assert!(with.iter().all(|option| mount.has(option)), "bind {n}: {options:?} {mount:?}");
        assert!(!without.iter().any(|option| mount.has(option)), "bind {n}: {options:?} {mount:?}");
    }
}

#[test]
fn data_of_a_file_system_is_passed() {
    let bundle = Bundle::new().probe(&[]);
    let bundle = bundle.mount("/mnt", "tmpfs", "tmpfs", &["size=1m", "mode=0700", "uid=5", "nr_inodes=100"]);
    let mount = report(&bundle).mount("/mnt");
    for option in ["size=1024k", "mode=700", "uid=5", "nr_inodes=100"] {
        assert!(mount.super_has(option), "{option}: {mount:?}");
    }
}

#[test]
fn a_file_system_that_does_not_exist_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().mount("/mnt", "nosuchfs", "none", &[]);
    runtime.container(&bundle).create().fails().says("no such device");
    let bundle = Bundle::new().mount("/mnt", "tmpfs", "tmpfs", &["nosuchoption=1"]);
    runtime.container(&bundle).create().fails().says("invalid argument");
}

#[test]
fn propagation_of_a_mount_is_set() {
    for (option, expected) in [
        ("private", None),
        ("rprivate", None),
        ("shared", Some("shared:")),
        ("rshared", Some("shared:")),
        ("unbindable", Some("unbindable")),
        ("runbindable", Some("unbindable")),
    ] {
        let bundle = Bundle::new().probe(&[]);
        let dir = bundle.make_dir("shared");
        let mount = report(&bundle.bind(dir, "/mnt", &["rbind", option])).mount("/mnt");
        match expected {
            None => assert!(mount.propagation.is_empty(), "{option}: {mount:?}"),
            Some(prefix) => {
                assert!(mount.propagation.iter().any(|p| p.starts_with(prefix)), "{option}: {mount:?}")
            }
        }
    }
}

#[test]
fn a_slave_mount_receives_what_the_host_mounts_later() {
    let runtime = Runtime::new();
    let bundle = Bundle::new()
        .sh(": >/ready/up; until grep -q ' /mnt/sub ' /proc/self/mountinfo; do sleep 0.02; done");
    let dir = bundle.make_dir("shared");
    let ready = bundle.make_dir("ready");
    fs::create_dir(dir.join("sub")).unwrap();
    fs::create_dir(bundle.rootfs().join("ready")).unwrap();
    let options = ["rbind", "rslave"];
    let bundle = bundle.bind(&dir, "/mnt", &options).bind(&ready, "/ready", &["bind"]);
    let bundle = bundle.edit(|c| c["linux"]["rootfsPropagation"] = json!("rslave"));
    // Everything happens in a mount namespace of the test's own.
    let script = format!(
        "set -e; mount --bind {0} {0}; mount --make-shared {0}; \"$0\" \"$@\" & \
         until [ -e {1}/up ]; do sleep 0.02; done; mount -t tmpfs tmpfs {0}/sub; wait $!",
        dir.display(),
        ready.display()
    );
    let call = runtime.run_command(&bundle, &[]);
    call.wrapped(["unshare", "--mount", "--propagation", "private", "bash", "-c", &script]).run().ok();
}

#[test]
fn propagation_of_the_root_is_set() {
    require!(Need::Runc(1, 2));
    for (value, shared) in
        [("", false), ("private", false), ("rprivate", false), ("shared", true), ("rshared", true)]
    {
        let bundle = Bundle::new().probe(&[]).edit(|c| c["linux"]["rootfsPropagation"] = json!(value));
        let mount = report(&bundle).mount("/");
        assert_eq!(mount.propagation.iter().any(|p| p.starts_with("shared:")), shared, "{value}: {mount:?}");
    }
}

#[test]
fn an_unknown_propagation_of_the_root_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().edit(|c| c["linux"]["rootfsPropagation"] = json!("sideways"));
    runtime.container(&bundle).create().fails();
}

#[test]
fn a_recursive_bind_brings_the_mounts_below_and_a_plain_one_does_not() {
    let runtime = Runtime::new();
    for (option, expected) in [("rbind", "2"), ("bind", "1")] {
        let bundle = Bundle::new().sh("grep -c ' /mnt' /proc/self/mountinfo");
        let dir = bundle.make_dir("shared");
        fs::create_dir(dir.join("sub")).unwrap();
        let script = format!("mount -t tmpfs tmpfs {}/sub && exec \"$0\" \"$@\"", dir.display());
        let bundle = bundle.bind(&dir, "/mnt", &[option]);
        let call = runtime.run_command(&bundle, &[]);
        let output =
            call.wrapped(["unshare", "--mount", "--propagation", "private", "sh", "-c", &script]).run().ok();
        assert_eq!(output.text(), expected, "{option}");
    }
}

#[test]
fn a_tmpfs_copies_up_what_it_covers() {
    let runtime = Runtime::new();
    let bundle = Bundle::new()
        .sh("cat /data/file /data/sub/deep; readlink /data/link; stat -c %a /data; touch /data/new");
    bundle.write("data/file", "one\n");
    bundle.write("data/sub/deep", "two\n");
    std::os::unix::fs::symlink("file", bundle.rootfs().join("data/link")).unwrap();
    fs::set_permissions(bundle.rootfs().join("data"), std::os::unix::fs::PermissionsExt::from_mode(0o750))
        .unwrap();
    let bundle = bundle.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup", "mode=0751"]);
    let output = runtime.run(&bundle).ok();
    assert_eq!(output.lines()[..3], ["one", "two", "file"]);
    assert!(!bundle.rootfs().join("data/new").exists());
}

#[test]
fn a_tmpfs_without_a_mode_takes_that_of_the_directory_it_covers() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["stat", "-c", "%a", "/tmp"]).mount("/tmp", "tmpfs", "tmpfs", &[]);
    assert_eq!(runtime.run(&bundle).ok().text(), "1777");
}

#[test]
fn a_tmpfs_over_a_link_is_mounted_on_its_target() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("grep -c ' /tmp ' /proc/self/mountinfo");
    std::os::unix::fs::symlink("/tmp", bundle.rootfs().join("link")).unwrap();
    let bundle = bundle.mount("/link", "tmpfs", "tmpfs", &[]);
    assert_eq!(runtime.run(&bundle).ok().text(), "1");
}

#[test]
fn mounts_are_made_in_the_order_of_the_configuration() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("grep ' /mnt' /proc/self/mountinfo | cut -d' ' -f5");
    let bundle = bundle.mount("/mnt", "tmpfs", "tmpfs", &[]).mount("/mnt/a", "tmpfs", "tmpfs", &[]);
    let bundle = bundle.mount("/mnt/a/b", "tmpfs", "tmpfs", &["ro"]);
    assert_eq!(runtime.run(&bundle).ok().lines(), ["/mnt", "/mnt/a", "/mnt/a/b"]);
}

/// Shows the options of a read-only bind mount whose source is a tmpfs with more of them.
fn options_of_a_bind(bundle: Bundle, options: &[&str]) -> String {
    let runtime = Runtime::new();
    let bundle = bundle.sh("grep ' /mnt ' /proc/self/mountinfo | cut -d' ' -f6");
    let dir = bundle.make_dir("shared");
    let script = format!(
        "mount -t tmpfs -o nodev,nosuid,noexec,noatime tmpfs {} && exec \"$0\" \"$@\"",
        dir.display()
    );
    let bundle = bundle.bind(&dir, "/mnt", options);
    let call = runtime.run_command(&bundle, &[]);
    let output =
        call.wrapped(["unshare", "--mount", "--propagation", "private", "sh", "-c", &script]).run().ok();
    output.text().to_owned()
}

#[test]
fn a_bind_without_options_keeps_those_of_its_source() {
    assert_eq!(options_of_a_bind(Bundle::new(), &["rbind"]), "rw,nosuid,nodev,noexec,noatime");
}

#[test]
fn a_bind_in_a_user_namespace_keeps_what_is_locked() {
    require!(Need::Runc(1, 2));
    // There the kernel refuses a remount that would clear them.
    assert_eq!(options_of_a_bind(Bundle::new().userns(), &["rbind", "ro"]), "ro,nosuid,nodev,noexec,noatime");
}

#[test]
fn options_that_contradict_what_is_locked_are_refused() {
    require!(Need::Runc(1, 2));
    let runtime = Runtime::new();
    let bundle = Bundle::new().userns();
    let dir = bundle.make_dir("shared");
    let script =
        format!("mount -t tmpfs -o nodev,nosuid,noexec tmpfs {} && exec \"$0\" \"$@\"", dir.display());
    let bundle = bundle.bind(&dir, "/mnt", &["rbind", "ro", "exec", "suid"]);
    let call = runtime.run_command(&bundle, &[]);
    call.wrapped(["unshare", "--mount", "--propagation", "private", "sh", "-c", &script]).run().fails();
}

#[test]
fn procfs_over_proc_is_allowed_and_other_things_are_not() {
    let runtime = Runtime::new();
    // What lxcfs binds is allowed by runc, by name.
    let bundle = Bundle::new().args(["cat", "/proc/uptime"]);
    let file = bundle.path().join("uptime");
    fs::write(&file, "faked\n").unwrap();
    let bundle = bundle.bind(&file, "/proc/uptime", &["bind"]);
    assert_eq!(runtime.run(&bundle).ok().text(), "faked");
    for target in ["/proc/self/attr", "/proc/sys", "/proc/1"] {
        let bundle = Bundle::new();
        let dir = bundle.make_dir("shared");
        let bundle = bundle.bind(&dir, target, &["bind"]);
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{target}");
    }
}

#[test]
fn cgroup_directories_are_shown_read_only() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().sh("ls /sys/fs/cgroup; ! mkdir /sys/fs/cgroup/pids/x 2>/dev/null");
    let output = runtime.run(&bundle).ok();
    if gantry_testkit::Cgroups::detect().is_v2() {
        assert!(output.stdout.contains("cgroup.controllers"), "{output}");
    } else {
        assert!(output.stdout.contains("pids") && output.stdout.contains("memory"), "{output}");
    }
}

#[test]
fn without_a_cgroup_namespace_the_container_sees_its_own_cgroup_alone() {
    require!(Need::CgroupV1, Need::Controller("pids"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().without_namespace("cgroup").sh("cat /sys/fs/cgroup/pids/cgroup.procs | wc -l");
    // The shell, cat and wc: at the hierarchy's root there would be all processes of the host.
    assert!(runtime.run(&bundle).ok().text().parse::<u32>().unwrap() <= 3);
}

#[test]
fn mqueue_and_sysfs_are_those_of_the_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("ls /sys/class/net; ls /dev/mqueue | wc -l");
    assert_eq!(runtime.run(&bundle).ok().lines(), ["lo", "0"]);
}

#[test]
fn an_overlay_is_mounted_from_its_options() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("cat /mnt/lower; echo up >/mnt/new");
    let (lower, upper, work) = (bundle.make_dir("lower"), bundle.make_dir("upper"), bundle.make_dir("work"));
    fs::write(lower.join("lower"), "below\n").unwrap();
    let option = |name: &str, dir: &Path| format!("{name}={}", dir.display());
    let options = [option("lowerdir", &lower), option("upperdir", &upper), option("workdir", &work)];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let bundle = bundle.mount("/mnt", "overlay", "overlay", &options);
    assert_eq!(runtime.run(&bundle).ok().text(), "below");
    assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "up\n");
}

#[test]
fn an_overlay_of_64_layers_is_mounted() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("ls /mnt | wc -l");
    let mut layers = Vec::new();
    for n in 0..64 {
        let dir = bundle.make_dir(&format!("layers/with-a-name-of-some-length-{n:02}/fs"));
        fs::write(dir.join(format!("file{n}")), "").unwrap();
        layers.push(dir.to_str().unwrap().to_owned());
    }
    // The full names would not fit into the one page that mount(2) takes: docker's overlay2 uses short links, too.
    let links = bundle.make_dir("l");
    for (n, layer) in layers.iter().enumerate() {
        std::os::unix::fs::symlink(layer, links.join(format!("{n:02}"))).unwrap();
    }
    let lower: Vec<String> = (0..64).map(|n| format!("{}/{n:02}", links.display())).collect();
    let bundle = bundle.mount("/mnt", "overlay", "overlay", &[&format!("lowerdir={}", lower.join(":"))]);
    assert_eq!(runtime.run(&bundle).ok().text(), "64");
}

#[test]
fn a_dangling_link_in_a_destination_is_made_good_below_the_root() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().sh("cat /run-made/secrets/file");
    let dir = bundle.make_dir("shared");
    fs::write(dir.join("file"), "found").unwrap();
    std::os::unix::fs::symlink("../../run-made", bundle.rootfs().join("link")).unwrap();
    let bundle = bundle.bind(&dir, "/link/secrets", &["rbind"]);
    assert_eq!(runtime.run(&bundle).ok().text(), "found");
}

#[test]
fn a_recursive_bind_stays_recursive_beside_a_plain_one() {
    assert_eq!(options_of_rbind(&["rbind", "bind"]), options_of_rbind(&["bind", "rbind"]));
}

fn options_of_rbind(options: &[&str]) -> usize {
    let bundle = Bundle::new().bind("/sys", "/mnt", options).probe(&[]);
    let report = report(&bundle);
    report.mounts().iter().filter(|mount| mount.target.starts_with("/mnt")).count()
}

#[test]
fn mounts_are_added_to_a_running_container_and_removed() {
    let runtime = Runtime::new();
    if !runtime.is_ours() {
        return;
    }
    let bundle = Bundle::new().writable().sleeping();
    let dir = bundle.make_dir("shared");
    fs::write(dir.join("file"), "found").unwrap();
    let list = json!([
        { "destination": "/late", "type": "bind", "source": dir, "options": ["bind", "ro"] },
        { "destination": "/late-tmp", "type": "tmpfs", "options": ["nosuid"] },
    ]);
    let file = bundle.path().join("mounts.json");
    fs::write(&file, list.to_string()).unwrap();
    let container = runtime.running(&bundle);
    let change =
        |action: &str| runtime.command(["mounts", action, container.id(), file.to_str().unwrap()]).run();
    change("add").ok();
    assert_eq!(container.sh("cat /late/file"), "found");
    let report = container.sh("grep -E ' /late' /proc/self/mountinfo");
    assert!(report.contains("/late ro") && report.contains("/late-tmp rw,nosuid"), "{report}");
    change("remove").ok();
    assert_eq!(container.sh("grep -c ' /late' /proc/self/mountinfo; true"), "0");
    change("remove").fails();
    container.delete_force().ok();
}
