//! Namespaces: new, joined by path, shared with the host; sysctls, host and domain names, time offsets.

use std::fs;
use std::path::{Path, PathBuf};

use gantry_testkit::{Bundle, Namespace, Need, Peer, Report, Runtime, require};
use serde_json::json;

/// The kinds of the configuration and the names of the kernel.
const KINDS: [(&str, &str); 6] = [
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("pid", "pid"),
    ("cgroup", "cgroup"),
];

fn own(file: &str) -> String {
    fs::read_link(Path::new("/proc/self/ns").join(file)).unwrap().to_string_lossy().into_owned()
}

fn report(bundle: &Bundle) -> Report {
    let runtime = Runtime::new();
    Report::parse(&runtime.run(bundle).ok().stdout)
}

#[test]
fn listed_namespaces_are_new() {
    let bundle = Bundle::new().namespace("cgroup", None).probe(&[]);
    let report = report(&bundle);
    for (kind, file) in KINDS {
        assert_ne!(report.namespace(file), own(file), "{kind}");
    }
}

#[test]
fn namespaces_that_are_not_listed_are_those_of_the_host() {
    for (kind, file) in KINDS {
        // Without a mount namespace the root could not be changed.
        if kind == "mount" {
            continue;
        }
        let bundle =
            Bundle::new().without_namespace(kind).without_mount("/sys").without_mount("/sys/fs/cgroup");
        let bundle = match kind {
            // A sysfs of the host's network namespace may not be mounted anew, but the host's may be shown.
            "network" => bundle.bind("/sys", "/sys", &["rbind", "ro"]),
            "uts" => bundle.edit(|c| {
                c.as_object_mut().unwrap().remove("hostname");
            }),
            _ => bundle,
        };
        let report = report(&bundle.probe(&[]));
        assert_eq!(report.namespace(file), own(file), "{kind}");
    }
}

#[test]
fn namespaces_are_joined_by_path() {
    for (kind, file) in
        [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid"), ("cgroup", "cgroup")]
    {
        let namespace = Namespace::new(kind, &[]);
        let bundle = Bundle::new().namespace(kind, Some(namespace.path())).probe(&[]);
        let bundle = bundle.edit(|c| {
            c.as_object_mut().unwrap().remove("hostname");
        });
        let report = report(&bundle);
        assert_eq!(report.namespace(file), namespace.identity(), "{kind}");
    }
}

#[test]
fn a_joined_namespace_bound_to_a_file_works() {
    let runtime = Runtime::new();
    let namespace = Namespace::new("network", &[]);
    let file = runtime.scratch().join("netns");
    fs::write(&file, "").unwrap();
    // In a mount namespace of the runtime's alone, so that the host sees nothing.
    let script =
        format!("mount --bind {} {} && exec \"$0\" \"$@\"", namespace.path().display(), file.display());
    let bundle = Bundle::new().namespace("network", Some(&file)).args(["readlink", "/proc/self/ns/net"]);
    let call = runtime.run_command(&bundle, &[]);
    let output =
        call.wrapped(["unshare", "--mount", "--propagation", "private", "sh", "-c", &script]).run().ok();
    assert_eq!(output.text(), namespace.identity());
}

#[test]
fn two_containers_share_namespaces_by_the_pid_of_the_first() {
    let runtime = Runtime::new();
    let one = Bundle::new().probe(&[]).sleeping();
    let first = runtime.running(&one);
    let path = |file: &str| PathBuf::from(format!("/proc/{}/ns/{file}", first.pid()));
    let two = Bundle::new()
        .namespace("network", Some(&path("net")))
        .namespace("ipc", Some(&path("ipc")))
        .namespace("uts", Some(&path("uts")))
        .namespace("pid", Some(&path("pid")))
        .edit(|c| {
            c.as_object_mut().unwrap().remove("hostname");
        })
        .probe(&[]);
    let (a, b) = (first.probe(&[], &[]), report(&two));
    for file in ["net", "ipc", "uts", "pid"] {
        assert_eq!(a.namespace(file), b.namespace(file), "{file}");
    }
    assert_ne!(a.namespace("mnt"), b.namespace("mnt"));
}

#[test]
fn a_namespace_listed_twice_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().edit(|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "pid" }));
    });
    runtime.container(&bundle).create().fails();
}

#[test]
fn unknown_namespaces_and_wrong_paths_are_refused() {
    let runtime = Runtime::new();
    let network = Namespace::new("network", &[]);
    let bundles = [
        Bundle::new().namespace("toaster", None),
        Bundle::new().namespace("network", Some(Path::new("/no/such/namespace"))),
        Bundle::new().namespace("network", Some(Path::new("relative/path"))),
        Bundle::new().namespace("ipc", Some(network.path())),
        Bundle::new().namespace("network", Some(Path::new("/etc/passwd"))),
    ];
    for bundle in bundles {
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{}", bundle.config()["linux"]["namespaces"]);
    }
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_new_network_has_its_loopback_up() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["ip", "addr", "show", "lo"]);
    let output = runtime.run(&bundle).ok();
    assert!(output.stdout.contains("127.0.0.1") && output.stdout.contains("UP"), "{output}");
}

#[test]
fn host_and_domain_name_are_set() {
    require!(Need::Runc(1, 2));
    let bundle = Bundle::new().probe(&[]).edit(|c| {
        c["hostname"] = json!("some-host");
        c["domainname"] = json!("example.test");
    });
    let report = report(&bundle);
    assert_eq!((report.text("hostname"), report.text("domainname")), ("some-host", "example.test"));
}

#[test]
fn a_host_name_without_a_uts_namespace_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().without_namespace("uts");
    runtime.container(&bundle).create().fails();
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "runc");
}

#[test]
fn sysctls_of_the_containers_namespaces_are_set() {
    let names = [
        ("net.ipv4.ip_forward", "1"),
        ("net/ipv4/ip_default_ttl", "33"),
        ("net.core.somaxconn", "77"),
        ("kernel.shmmax", "4096000"),
        ("kernel.msgmax", "4096"),
        ("kernel.sem", "32000\t1024000000\t500\t32000"),
        ("fs.mqueue.queues_max", "99"),
        ("kernel.domainname", "of.sysctl"),
    ];
    let sysctls: serde_json::Map<_, _> =
        names.iter().map(|(name, value)| ((*name).to_owned(), json!(value.replace('\t', " ")))).collect();
    let mut args = Vec::new();
    for (name, _) in names {
        args.extend(["--sysctl", name]);
    }
    let bundle = Bundle::new().probe(&args).edit(|c| c["linux"]["sysctl"] = json!(sysctls));
    let report = report(&bundle);
    for (name, value) in names {
        let shown = report.0["sysctls"][name].as_str().unwrap();
        assert_eq!(shown, value, "{name}");
    }
}

#[test]
fn sysctls_of_the_host_are_refused() {
    let runtime = Runtime::new();
    let before = fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    let refused = [
        ("vm.swappiness", "1"),
        ("kernel.core_pattern", "|/bin/evil"),
        ("kernel.hostname", "other"),
        ("fs.file-max", "1"),
        ("no.such.sysctl", "1"),
        ("net.ipv4.no_such", "1"),
        ("../../etc/passwd", "1"),
        ("net.ipv4.ip_forward/../../../vm/swappiness", "1"),
        ("net/../vm/swappiness", "1"),
    ];
    for (name, value) in refused {
        let bundle = Bundle::new().edit(|c| c["linux"]["sysctl"] = json!({ name: value }));
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{name}");
    }
    assert_eq!(fs::read_to_string("/proc/sys/vm/swappiness").unwrap(), before);
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn sysctls_of_namespaces_shared_with_the_host_are_refused() {
    let runtime = Runtime::new();
    let before = fs::read_to_string("/proc/sys/kernel/shmmax").unwrap();
    let bundle = Bundle::new().without_namespace("ipc").without_mount("/dev/mqueue");
    let bundle = bundle.edit(|c| c["linux"]["sysctl"] = json!({ "kernel.shmmax": "4096000" }));
    runtime.container(&bundle).create().fails();
    let bundle =
        Bundle::new().without_namespace("network").without_mount("/sys").without_mount("/sys/fs/cgroup");
    let bundle = bundle.edit(|c| c["linux"]["sysctl"] = json!({ "net.core.somaxconn": "1" }));
    runtime.container(&bundle).create().fails();
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shmmax").unwrap(), before);
}

#[test]
fn a_pid_namespace_has_the_process_first() {
    let report = report(&Bundle::new().probe(&[]));
    assert_eq!((&report.0["pid"], &report.0["ppid"]), (&json!(1), &json!(0)));
}

#[test]
fn a_joined_pid_namespace_has_the_process_later() {
    let namespace = Namespace::new("pid", &[]);
    let bundle = Bundle::new().namespace("pid", Some(namespace.path())).probe(&[]);
    let report = report(&bundle);
    assert!(report.0["pid"].as_i64().unwrap() > 1);
}

#[test]
fn a_cgroup_namespace_has_its_root_at_the_containers_cgroup() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().namespace("cgroup", None).args(["cat", "/proc/self/cgroup"]);
    let output = runtime.run(&bundle).ok();
    for line in output.lines() {
        assert!(line.ends_with(":/"), "{output}");
    }
}

#[test]
fn a_time_namespace_has_its_offsets() {
    require!(Need::Runc(1, 2), Need::File("/proc/self/ns/time"));
    let offsets =
        json!({ "boottime": { "secs": 7_881_234, "nanosecs": 5 }, "monotonic": { "secs": 1_234_567 } });
    let bundle =
        Bundle::new().namespace("time", None).probe(&[]).edit(|c| c["linux"]["timeOffsets"] = offsets);
    let report = report(&bundle);
    assert_ne!(report.namespace("time"), own("time"));
    let text = report.text("timensOffsets");
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["monotonic", "1234567", "0", "boottime", "7881234", "5"]);
    assert!(report.0["boottimeSeconds"].as_i64().unwrap() > 7_881_234);
}

#[test]
fn exec_joins_the_time_namespace() {
    require!(Need::Runc(1, 2), Need::File("/proc/self/ns/time"));
    let runtime = Runtime::new();
    let offsets = json!({ "boottime": { "secs": 7_881_234, "nanosecs": 0 } });
    let bundle = Bundle::new().namespace("time", None).probe(&[]).sleeping();
    let bundle = bundle.edit(|c| c["linux"]["timeOffsets"] = offsets);
    let container = runtime.running(&bundle);
    assert!(container.probe(&[], &[]).0["boottimeSeconds"].as_i64().unwrap() > 7_881_234);
}

#[test]
fn a_time_namespace_is_joined_by_path() {
    require!(Need::Runc(1, 2), Need::File("/proc/self/ns/time"));
    let namespace = Namespace::new("time", &["--boottime", "5000000"]);
    let bundle = Bundle::new().namespace("time", Some(namespace.path())).probe(&[]);
    let report = report(&bundle);
    assert_eq!(report.namespace("time"), namespace.identity());
    assert!(report.0["boottimeSeconds"].as_i64().unwrap() > 5_000_000);
}

#[test]
fn time_offsets_without_a_new_time_namespace_are_refused() {
    require!(Need::Runc(1, 2));
    let runtime = Runtime::new();
    let offsets = json!({ "boottime": { "secs": 100, "nanosecs": 0 } });
    let bundle = Bundle::new().edit(|c| c["linux"]["timeOffsets"] = offsets.clone());
    runtime.container(&bundle).create().fails();
    let namespace = Namespace::new("time", &[]);
    let bundle = Bundle::new().namespace("time", Some(namespace.path()));
    let bundle = bundle.edit(|c| c["linux"]["timeOffsets"] = offsets);
    runtime.container(&bundle).create().fails();
}

#[test]
fn a_mount_namespace_is_needed_to_change_the_root() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().without_namespace("mount");
    runtime.container(&bundle).create().fails();
    assert!(gantry_testkit::mounts_below(bundle.path()).is_empty());
}

#[test]
fn mounts_of_the_container_do_not_reach_the_host_from_a_shared_parent() {
    // The host's root is often shared, as systemd makes it: the default propagation of a container is rslave.
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.container(&bundle);
    let script = "mount --bind / / && mount --make-rshared / && \"$0\" \"$@\" && grep -c \"$BUNDLE\" /proc/self/mountinfo";
    let call = container.create_command(&[]).env("BUNDLE", bundle.path());
    let output = call.wrapped(["unshare", "--mount", "--propagation", "private", "sh", "-c", script]).run();
    assert_eq!(output.text(), "0", "{output}");
}

#[test]
fn net_devices_are_moved_into_the_container() {
    require!(Need::Runc(1, 4), Need::Not(Peer::Crun, "proven on runc"), Need::Program("ip"));
    let runtime = Runtime::new();
    let host = Namespace::new("network", &[]);
    let net = format!("--net=/proc/{}/ns/net", host.keeper());
    let ip = |args: &[&str]| {
        gantry_testkit::Invocation::new("ip").args(args).wrapped(["nsenter", &net]).run().ok();
    };
    ip(&["link", "add", "gt0", "type", "veth", "peer", "name", "gt1"]);
    ip(&["addr", "add", "10.9.8.7/24", "dev", "gt0"]);
    ip(&["link", "set", "gt0", "up"]);
    let bundle = Bundle::new().args(["ip", "addr", "show", "inside0"]);
    let bundle = bundle.edit(|c| c["linux"]["netDevices"] = json!({ "gt0": { "name": "inside0" } }));
    let output = runtime.run_command(&bundle, &[]).wrapped(["nsenter", &net]).run().ok();
    assert!(output.stdout.contains("10.9.8.7/24"), "{output}");
}
