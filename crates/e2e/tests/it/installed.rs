//! `gantry install` on a machine with systemd, through a reboot and a power cut: `cargo xtask conformance-vm`.
//!
//! The machine is a virtual one that the tests may change as they like. Each test is a boot of it, in this order; what one
//! leaves the next one finds. `GANTRY_INSTALLED` names the directory with Gantry's programs, on the machine's own disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_e2e::image_archive;
use gantry_testkit::{Invocation, skip_test, until_within};

/// On a slow machine: until what a boot starts has started.
const SOON: Duration = Duration::from_secs(120);
const UNITS: [&str; 3] = ["gantryd.service", "gantryd.socket", "gantryd-docker.socket"];
const FILES: [&str; 4] = [
    "/etc/systemd/system/gantryd.service",
    "/etc/systemd/system/gantryd.socket",
    "/etc/systemd/system/gantryd-docker.socket",
    "/etc/tmpfiles.d/gantry.conf",
];
const LINKS: [&str; 3] =
    ["/run/docker.sock", "/run/containerd/containerd.sock", "/run/containerd/containerd.sock.ttrpc"];
const SERVER: &str = "mkdir -p /w; echo served > /w/index.html; exec httpd -f -p 80 -h /w";
const LABEL: &str = "cat /proc/self/attr/apparmor/current";

/// Where Gantry's programs are; nothing where there is no machine to be changed.
fn programs() -> Option<PathBuf> {
    std::env::var_os("GANTRY_INSTALLED").map(PathBuf::from)
}

macro_rules! require_machine {
    () => {
        match programs() {
            Some(programs) => programs,
            None => skip_test!("needs a machine that it may change: cargo xtask conformance-vm"),
        }
    };
}

/// A command of docker's at the place where everybody looks for it.
fn docker<'a>(args: impl IntoIterator<Item = &'a str>) -> Invocation {
    Invocation::new("docker").args(args.into_iter().collect::<Vec<_>>()).limit(SOON)
}

fn systemctl<'a>(args: impl IntoIterator<Item = &'a str>) -> Invocation {
    Invocation::new("systemctl").args(args.into_iter().collect::<Vec<_>>()).limit(SOON)
}

#[track_caller]
fn inspect(name: &str, format: &str) -> String {
    docker(["inspect", "--format", format, name]).run().ok().text().to_owned()
}

fn run(name: &str, options: &[&str], args: &[&str]) {
    docker(["run", "--detach", "--name", name]).args(options).arg("busybox").args(args).run().ok();
}

fn soon(what: &str, met: impl Fn() -> bool) {
    until_within(SOON, what, || met().then_some(()));
}

fn is_active(unit: &str) -> bool {
    systemctl(["is-active", "--quiet", unit]).run().status.success()
}

fn daemon() -> String {
    systemctl(["show", "--property", "MainPID", "--value", "gantryd.service"]).run().ok().text().to_owned()
}

/// What the published port serves.
fn published() -> String {
    use std::io::{Read as _, Write as _};
    let mut answer = String::new();
    let Ok(mut stream) = std::net::TcpStream::connect("127.0.0.1:8080") else { return answer };
    let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// The processes of the containers that run through all of a boot.
fn pids() -> Vec<String> {
    ["always", "unless", "plain"].map(|name| inspect(name, "{{.State.Pid}}")).to_vec()
}

fn is_loaded(profile: &str) -> bool {
    let list = fs::read_to_string("/sys/kernel/security/apparmor/profiles").expect("the list of profiles");
    list.lines().any(|line| line.starts_with(&format!("{profile} (")))
}

#[test]
fn boot_1_installs_and_replaces_it() {
    let programs = require_machine!();
    let gantry = programs.join("gantry");
    let install = || Invocation::new(&gantry).args(["install", "--as", "containerd,docker"]).limit(SOON);
    install().arg("--dry-run").run().ok();
    assert!(!Path::new(FILES[0]).exists(), "--dry-run wrote something");
    install().run().ok();
    for unit in UNITS {
        assert!(is_active(unit), "{unit}");
        systemctl(["is-enabled", "--quiet", unit]).run().ok();
    }
    // Once more is no harm.
    install().run().ok();
    docker(["ps"]).run().ok();
    Invocation::new("ctr").arg("version").run().ok();
    let info =
        docker(["info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}} {{.SecurityOptions}}"]).run().ok();
    assert!(info.text().starts_with("systemd 2 ") && info.text().contains("name=apparmor"), "{info}");
    let socket = Invocation::new("stat").args(["--format", "%a %U %G", "/run/gantry/docker.sock"]).run().ok();
    assert_eq!(socket.text(), "660 root docker");

    docker(["load", "--quiet", "--input"]).arg(image_archive()).run().ok();
    run("always", &["--restart", "always", "--publish", "8080:80"], &["sh", "-c", SERVER]);
    let keep =
        "trap 'echo ended >> /kept/ends; exit 0' TERM; cat /proc/sys/kernel/random/boot_id >> /kept/boots
        while :; do sleep 1; done";
    let limits = ["--memory", "64m", "--pids-limit", "50", "--cpus", "0.5"];
    let options = [&["--restart", "unless-stopped", "--volume", "kept:/kept"][..], &limits].concat();
    run("unless", &options, &["sh", "-c", keep]);
    run("plain", &["--cgroup-parent", "batch.slice"], &["sleep", "100000"]);
    run("stopped", &["--restart", "unless-stopped"], &["sleep", "100000"]);
    run("vanishes", &["--rm"], &["sleep", "100000"]);
    docker(["stop", "--time", "0", "stopped"]).run().ok();
    soon("the published port", || published().ends_with("served\n"));

    // systemd has a scope of each, below the slice that was asked for, with its limits.
    let scope = format!("docker-{}.scope", inspect("unless", "{{.Id}}"));
    let group = fs::read_to_string(format!("/proc/{}/cgroup", inspect("unless", "{{.State.Pid}}"))).unwrap();
    assert_eq!(group, format!("0::/system.slice/{scope}\n"));
    let shown = systemctl(["show", "--property", "MemoryMax,TasksMax", &scope]).run().ok();
    assert_eq!(shown.text(), "MemoryMax=67108864\nTasksMax=50");
    docker(["update", "--memory", "96m", "--memory-swap", "96m", "unless"]).run().ok();
    let file = format!("/sys/fs/cgroup/system.slice/{scope}/memory.max");
    assert_eq!(fs::read_to_string(file).unwrap(), "100663296\n");
    let group = fs::read_to_string(format!("/proc/{}/cgroup", inspect("plain", "{{.State.Pid}}"))).unwrap();
    assert!(group.starts_with("0::/batch.slice/docker-"), "{group}");
    let refused = docker(["create", "--cgroup-parent", "/some/path", "busybox"]).run().fails();
    assert!(refused.stderr.contains("slice"), "{refused}");

    let before = pids();
    // Whatever becomes of the daemon, containers stay.
    systemctl(["restart", "gantryd.service"]).run().ok();
    assert_eq!(pids(), before);
    let old = daemon();
    Invocation::new("kill").args(["-9", &old]).run().ok();
    soon("the daemon to be started again", || !["0", old.as_str()].contains(&daemon().as_str()));
    assert_eq!(pids(), before);
    // A client starts it, as does one of containerd's.
    for client in [docker(["ps", "--quiet"]), Invocation::new("ctr").arg("version").limit(SOON)] {
        systemctl(["stop", "gantryd.service"]).run().ok();
        assert!(!is_active("gantryd.service"));
        before.iter().for_each(|pid| assert!(Path::new("/proc").join(pid).exists(), "{pid}"));
        assert!(published().ends_with("served\n"), "a port went with the daemon");
        client.run().ok();
        assert!(is_active("gantryd.service"));
    }
    assert_eq!(pids(), before);
    assert_eq!(docker(["exec", "plain", "echo", "in"]).run().ok().text(), "in");

    // Another binary, with the sockets kept and then by a restart.
    let (binary, new) = (programs.join("gantryd"), programs.join("gantryd.new"));
    for replace in [
        &["kill", "--signal", "USR2", "--kill-whom", "main", "gantryd.service"][..],
        &["restart", "gantryd.service"],
    ] {
        let of = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        fs::copy(&binary, &new).unwrap();
        fs::rename(&new, &binary).unwrap();
        let inode = of(&binary);
        systemctl(replace.iter().copied()).run().ok();
        soon("the new binary", || {
            let exe = format!("/proc/{}/exe", daemon());
            fs::metadata(exe).is_ok_and(|file| std::os::unix::fs::MetadataExt::ino(&file) == inode)
        });
        soon("the new daemon", || docker(["ps"]).run().status.success() && is_active("gantryd.service"));
        assert_eq!(pids(), before);
    }

    // As an upgrade of the system's policies does.
    assert_eq!(docker(["exec", "plain", "sh", "-c", LABEL]).run().ok().text(), "docker-default (enforce)");
    let remove = Invocation::new("apparmor_parser").arg("--remove").stdin("profile docker-default {}");
    remove.run().ok();
    assert!(!is_loaded("docker-default"));
    let label = docker(["exec", "plain", "sh", "-c", LABEL]).run().ok();
    assert_eq!(label.text(), "docker-default (enforce)");
}

/// What holds after each boot.
fn comes_back(boots: usize) {
    soon("docker to answer", || docker(["ps"]).run().status.success());
    soon("containers to run again", || {
        ["always", "unless"].iter().all(|name| inspect(name, "{{.State.Running}}") == "true")
    });
    assert_eq!(inspect("stopped", "{{.State.Status}}"), "exited");
    assert_eq!(inspect("plain", "{{.State.Status}}"), "exited");
    docker(["inspect", "vanishes"]).run().fails();
    soon("the published port", || published().ends_with("served\n"));
    let seen = docker(["exec", "unless", "cat", "/kept/boots"]).run().ok();
    let ids: std::collections::BTreeSet<&str> = seen.text().lines().collect();
    assert_eq!(ids.len(), boots, "{seen}");
    // Only the reboot has asked it to end.
    let ends = docker(["exec", "unless", "cat", "/kept/ends"]).run().ok();
    assert_eq!(ends.text(), "ended");
    let label = docker(["exec", "always", "sh", "-c", LABEL]).run().ok();
    assert_eq!(label.text(), "docker-default (enforce)");
    docker(["start", "plain"]).run().ok();
    let image = docker(["run", "--rm", "busybox", "echo", "new"]).run().ok();
    assert_eq!(image.text(), "new");
}

#[test]
fn boot_2_after_a_reboot() {
    let _ = require_machine!();
    comes_back(2);
    run("vanishes", &["--rm"], &["sleep", "100000"]);
}

#[test]
fn boot_3_after_a_power_cut_and_uninstalls_it() {
    let programs = require_machine!();
    comes_back(3);
    let before = pids();
    Invocation::new(programs.join("gantry")).arg("uninstall").limit(SOON).run().ok();
    for path in FILES.iter().chain(&LINKS) {
        assert!(fs::symlink_metadata(path).is_err(), "{path} is left");
    }
    for unit in UNITS {
        assert!(!is_active(unit), "{unit}");
    }
    docker(["ps"]).run().fails();
    // Containers, images and volumes are not install's.
    before.iter().for_each(|pid| assert!(Path::new("/proc").join(pid).exists(), "{pid}"));
    let install = Invocation::new(programs.join("gantry")).args(["install", "--as", "docker"]).limit(SOON);
    install.run().ok();
    assert_eq!(pids(), before);
    docker(["rm", "--force", "--volumes", "always", "unless", "plain", "stopped"]).run().ok();
    docker(["volume", "rm", "kept"]).run().ok();
    assert_eq!(docker(["ps", "--all", "--quiet"]).run().ok().text(), "");
    Invocation::new(programs.join("gantry")).arg("uninstall").limit(SOON).run().ok();
}
