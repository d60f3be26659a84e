//! User namespaces made and joined by root.

use std::fs;
use std::os::unix::fs::MetadataExt;

use gantry_testkit::{Bundle, Namespace, Need, Peer, Report, Runtime, require, until_true};
use serde_json::json;

fn report(bundle: &Bundle) -> Report {
    let runtime = Runtime::new();
    Report::parse(&runtime.run(bundle).ok().stdout)
}

#[test]
fn ids_are_mapped() {
    let bundle =
        Bundle::new().userns().probe(&["--file", "/proc/self/uid_map", "--file", "/proc/self/gid_map"]);
    let report = report(&bundle);
    for map in ["uid_map", "gid_map"] {
        let text = report.0["files"][format!("/proc/self/{map}")].as_str().unwrap();
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    }
    assert!(report.status("Uid").starts_with("0\t"));
}

#[test]
fn the_process_is_an_ordinary_user_on_the_host() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().userns().sleeping();
    let container = runtime.running(&bundle);
    assert_eq!(fs::metadata(format!("/proc/{}", container.pid())).unwrap().uid(), 100_000);
}

#[test]
fn several_ranges_are_mapped() {
    let bundle = Bundle::new().userns().probe(&["--file", "/proc/self/uid_map"]).edit(|c| {
        c["linux"]["uidMappings"] = json!([
            { "containerID": 0, "hostID": 100_000, "size": 1000 },
            { "containerID": 1000, "hostID": 200_000, "size": 1 },
            { "containerID": 1001, "hostID": 101_000, "size": 1000 },
        ]);
    });
    let report = report(&bundle);
    let text = report.0["files"]["/proc/self/uid_map"].as_str().unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn all_default_mounts_and_devices_work_in_a_user_namespace() {
    let runtime = Runtime::new();
    let bundle =
        Bundle::docker().userns().sh("echo x >/dev/null && echo y >/dev/shm/file && cat /dev/shm/file");
    // dockerd leaves this one out with a user namespace: its ids are not mapped.
    let bundle = bundle.edit(|c| {
        c["linux"]["sysctl"].as_object_mut().unwrap().remove("net.ipv4.ping_group_range");
    });
    assert_eq!(runtime.run(&bundle).ok().text(), "y");
}

#[test]
fn an_ordinary_user_of_the_namespace_is_mapped_too() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().userns().sleeping();
    let bundle = bundle.edit(|c| c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    let container = runtime.running(&bundle);
    let path = format!("/proc/{}", container.pid());
    until_true("the user to be set", || fs::metadata(&path).unwrap().uid() == 101_000);
}

#[test]
fn exec_joins_the_user_namespace() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().userns().sleeping();
    let container = runtime.running(&bundle);
    assert_eq!(container.sh("id -u; cat /proc/self/uid_map | tr -s ' '"), "0\n 0 100000 65536");
    let output = container.exec(&["--user", "5:5"], ["id", "-u"]).ok();
    assert_eq!(output.text(), "5");
}

#[test]
fn files_made_by_the_container_belong_to_the_mapped_user() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().userns().writable().sh("touch /made");
    runtime.run(&bundle).ok();
    let meta = fs::metadata(bundle.rootfs().join("made")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (100_000, 100_000));
}

#[test]
fn a_user_namespace_without_mappings_has_the_callers_ids() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().namespace("user", None).args(["cat", "/proc/self/uid_map"]);
    if !runtime.is_ours() && runtime.version().peer != Peer::Crun {
        runtime.container(&bundle).create().fails();
    } else {
        let output = runtime.run(&bundle).ok();
        let text = output.text();
        assert!(text.split_whitespace().take(2).all(|id| id == "0"), "{text}");
    }
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn impossible_mappings_are_refused() {
    let runtime = Runtime::new();
    let impossible = [
        json!([{ "containerID": 0, "hostID": 100_000, "size": 0 }]),
        json!([{ "containerID": 0, "hostID": 1, "size": 10 }, { "containerID": 5, "hostID": 100, "size": 10 }]),
        json!([{ "containerID": -1, "hostID": 1, "size": 10 }]),
        json!([{ "containerID": 0, "hostID": 4_294_967_295_u32, "size": 10 }]),
    ];
    for mapping in impossible {
        let bundle = Bundle::new().userns().edit(|c| c["linux"]["uidMappings"] = mapping.clone());
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{mapping}");
    }
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_user_namespace_is_joined_by_path() {
    require!(Need::Runc(1, 2));
    let namespace = Namespace::user();
    let bundle = Bundle::new().userns().namespace("user", Some(namespace.path())).probe(&[]).edit(|c| {
        let linux = c["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    });
    let report = report(&bundle);
    assert_eq!(report.namespace("user"), namespace.identity());
}

#[test]
fn the_keyring_and_the_terminal_work_in_a_user_namespace() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().userns().args(["stat", "-c", "%u:%g", "/dev/pts/0"]);
    let bundle = bundle.edit(|c| c["process"]["terminal"] = json!(true));
    let receiver = gantry_testkit::Receiver::listen(runtime.scratch().join("console"));
    let container = runtime.container(&bundle);
    container.create_command(&["--console-socket", receiver.path()]).run().ok();
    let mut terminal = gantry_testkit::Terminal::new(receiver.receive().fds.remove(0));
    container.start().ok();
    assert!(terminal.read_to_end().contains("0:5"));
}

#[test]
fn bind_mounts_from_directories_of_root_alone_work() {
    require!(Need::Runc(1, 1));
    let runtime = Runtime::new();
    let bundle = Bundle::new().userns().args(["cat", "/mnt/file"]);
    let private = bundle.make_dir("private");
    let inner = bundle.make_dir("private/inner");
    fs::write(inner.join("file"), "reached").unwrap();
    fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let bundle = bundle.bind(&inner, "/mnt", &["rbind"]);
    assert_eq!(runtime.run(&bundle).ok().text(), "reached");
}

#[test]
fn sysctls_of_the_network_are_set_in_a_user_namespace() {
    let bundle = Bundle::new().userns().probe(&["--sysctl", "net.ipv4.ip_unprivileged_port_start"]);
    let bundle =
        bundle.edit(|c| c["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "7" }));
    assert_eq!(report(&bundle).0["sysctls"]["net.ipv4.ip_unprivileged_port_start"], "7");
}

#[test]
fn setgroups_works_when_root_made_the_mapping() {
    let bundle = Bundle::new().userns().probe(&[]);
    let bundle = bundle.edit(|c| c["process"]["user"]["additionalGids"] = json!([3, 4]));
    assert_eq!(report(&bundle).status("Groups"), "3 4");
}

#[test]
fn a_read_only_mount_of_the_host_stays_so_for_root_of_a_user_namespace() {
    require!(Need::Root);
    let runtime = Runtime::new();
    let source = runtime.scratch().join("read-only");
    std::fs::create_dir(&source).unwrap();
    let script = "mount -o remount,rw,bind /mnt; touch /mnt/x && echo written || echo kept";
    let bundle =
        Bundle::new().userns().sh(script).capabilities(&["CAP_SYS_ADMIN"]).bind(&source, "/mnt", &["bind"]);
    let mount = format!("mount -t tmpfs -o ro,mode=777 t {} && exec \"$@\"", source.display());
    let output =
        runtime.run_command(&bundle, &[]).wrapped(["unshare", "-m", "sh", "-c", &mount, "sh"]).run().ok();
    assert_eq!(output.text(), "kept");
}
