//! Containers of an ordinary user, with and without newuidmap.

use std::fs;

use gantry_testkit::{Bundle, Need, Report, Runtime, User, require};
use serde_json::json;

/// A bundle of the user with its subordinate ids.
fn with_subordinates(user: &User) -> Bundle {
    Bundle::rootless(user).edit(|c| {
        c["linux"]["uidMappings"] = json!([
            { "containerID": 0, "hostID": user.uid, "size": 1 },
            { "containerID": 1, "hostID": user.sub_uid, "size": 65536 },
        ]);
        c["linux"]["gidMappings"] = json!([
            { "containerID": 0, "hostID": user.gid, "size": 1 },
            { "containerID": 1, "hostID": user.sub_gid, "size": 65536 },
        ]);
    })
}

#[test]
fn an_ordinary_user_runs_a_container() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).sh("id -u; hostname; echo $$");
    let output = runtime.run(&bundle).ok();
    assert_eq!(output.lines(), ["0", "runc", "1"]);
}

#[test]
fn the_whole_life_of_a_container_works() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).sleeping();
    let container = runtime.created(&bundle);
    assert_eq!(container.status(), "created");
    container.start().ok();
    container.wait_for("running");
    assert_eq!(container.sh("id -u"), "0");
    assert_eq!(runtime.list().len(), 1);
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn the_process_is_the_user_on_the_host() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).sleeping();
    let container = runtime.running(&bundle);
    let meta = fs::metadata(format!("/proc/{}", container.pid())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), user.uid);
}

#[test]
fn groups_cannot_be_dropped_with_a_single_mapping() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).args(["cat", "/proc/self/setgroups"]);
    assert_eq!(runtime.run(&bundle).ok().text(), "deny");
}

#[test]
fn supplementary_groups_of_the_configuration_are_refused_with_a_single_mapping() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user);
    let bundle = bundle.edit(|c| c["process"]["user"]["additionalGids"] = json!([5]));
    runtime.container(&bundle).create().fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn subordinate_ids_are_mapped_by_newuidmap() {
    require!(Need::Root, Need::User, Need::Program("newuidmap"));
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = with_subordinates(&user).probe(&["--file", "/proc/self/uid_map"]);
    user.own(&bundle.rootfs().join("bin"));
    let bundle = bundle.edit(|c| c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    let report = Report::parse(&runtime.run(&bundle).ok().stdout);
    assert!(report.status("Uid").starts_with("1000\t"));
    let map: Vec<&str> =
        report.0["files"]["/proc/self/uid_map"].as_str().unwrap().split_whitespace().collect();
    let (own, first) = (user.uid.to_string(), user.sub_uid.to_string());
    assert_eq!(map, ["0", &own, "1", "1", &first, "65536"]);
}

#[test]
fn exec_in_a_container_with_subordinate_ids() {
    require!(Need::Root, Need::User, Need::Program("newuidmap"));
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = with_subordinates(&user).sleeping();
    let container = runtime.running(&bundle);
    assert_eq!(container.exec(&["--user", "1000:1000"], ["id", "-u"]).ok().text(), "1000");
}

#[test]
fn ids_of_others_cannot_be_mapped() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).edit(|c| c["linux"]["uidMappings"][0]["hostID"] = json!(0));
    runtime.container(&bundle).create().fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_terminal_works() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).args(["tty"]).edit(|c| c["process"]["terminal"] = json!(true));
    let dir = runtime.scratch();
    let receiver = gantry_testkit::Receiver::listen(dir.join("console"));
    user.own(&dir);
    let container = runtime.container(&bundle);
    container.create_command(&["--console-socket", receiver.path()]).run().ok();
    let mut terminal = gantry_testkit::Terminal::new(receiver.receive().fds.remove(0));
    container.start().ok();
    terminal.read_until("/dev/pts/0");
}

#[test]
fn devices_are_bound_from_the_host() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).sh("echo x >/dev/null && head -c 4 /dev/zero | wc -c");
    assert_eq!(runtime.run(&bundle).ok().text(), "4");
}

#[test]
fn masks_and_read_only_paths_hold() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).sh("cat /proc/kcore | wc -c; ! echo 1 >/proc/sys/kernel/shmmax");
    assert_eq!(runtime.run(&bundle).ok().text(), "0");
}

#[test]
fn limits_that_cannot_be_set_are_refused_when_they_matter() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).edit(|c| {
        c["linux"]["resources"] = json!({ "memory": { "limit": 67_108_864 } });
        c["linux"]["cgroupsPath"] = json!("/gantry-test-of-nobody/x");
    });
    runtime.container(&bundle).create().fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn without_delegated_cgroups_containers_run_without_limits() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).args(["echo", "fine"]);
    assert_eq!(runtime.run(&bundle).ok().text(), "fine");
}

#[test]
fn delegated_cgroups_are_used() {
    require!(Need::Root, Need::User, Need::CgroupV2, Need::Controller("pids"));
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).sleeping();
    // What systemd does for a user: a directory of its own, with the process inside and the controllers enabled.
    let parent = gantry_testkit::Cgroups::detect().file("", bundle.cgroup_parent(), "");
    fs::create_dir_all(parent.join("runner")).unwrap();
    fs::write(parent.join("cgroup.subtree_control"), "+pids").unwrap();
    user.own(&parent);
    let path = bundle.cgroup();
    let bundle = bundle.edit(|c| {
        c["linux"]["cgroupsPath"] = json!(&path);
        c["linux"]["resources"] = json!({ "pids": { "limit": 20 } });
    });
    let container = runtime.container(&bundle);
    // Only root may move a process there; from then on it is the user's.
    let script = format!(
        "echo $$ >{}/runner/cgroup.procs; exec setpriv --reuid {} --regid {} --clear-groups \"$0\" \"$@\"",
        parent.display(),
        user.uid,
        user.gid
    );
    container.create_command(&[]).wrapped(["sh", "-c", &script]).run().ok();
    container.start().ok();
    assert_eq!(gantry_testkit::Cgroups::detect().read("pids", &bundle.cgroup(), "pids.max"), "20");
    let own = container.exec_command(&[], ["cat", "/proc/self/cgroup"]).wrapped(["sh", "-c", &script]).run();
    assert_eq!(own.ok().text(), format!("0::{path}"));
    container.delete_force().ok();
    fs::remove_dir(parent.join("runner")).unwrap();
}

#[test]
fn the_default_state_directory_is_the_users_own() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).sleeping();
    let run = |args: &[&str]| runtime.bare().args(args).cwd(bundle.path()).run();
    run(&["run", "--detach", "gantry-rootless"]).ok();
    let xdg = runtime.state_dir().parent().unwrap().join("xdg");
    let found = fs::read_dir(&xdg).unwrap().flatten().any(|dir| dir.path().join("gantry-rootless").exists());
    run(&["delete", "--force", "gantry-rootless"]).ok();
    assert!(found, "nothing in {}", xdg.display());
}
