//! Containers of an ordinary user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use gantry_testkit::{Bundle, Need, Runtime, User, require};
use serde_json::json;

#[test]
fn cve_2014_8989_groups_that_deny_keep_denying() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).sh("cat /mnt/file; cat /proc/self/setgroups");
    let dir = bundle.make_dir("shared");
    let file = dir.join("file");
    fs::write(&file, "for all but the group\n").unwrap();
    // Everybody may read it but this group, which a user must not be able to leave.
    chown(&file, Some(0), Some(user.gid)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    let bundle = bundle.bind(&dir, "/mnt", &["rbind"]);
    let output = runtime.run(&bundle).ok();
    assert_eq!(output.text(), "deny", "{output}");
}

#[test]
fn cve_2023_25809_the_cgroups_of_the_host_are_not_writable_without_a_cgroup_namespace() {
    require!(Need::Root, Need::User);
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let script = "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/made 2>/dev/null && [ -e $d/made/cgroup.procs ] && echo $d; done; true";
    for options in [&["nosuid", "noexec", "nodev", "ro"][..], &["nosuid", "noexec", "nodev", "rw"][..]] {
        let bundle = Bundle::rootless(&user).sh(script).without_namespace("cgroup").edit(|c| {
            for mount in c["mounts"].as_array_mut().unwrap() {
                if mount["destination"] == "/sys/fs/cgroup" {
                    mount["options"] = json!(options);
                }
            }
        });
        let output = runtime.run(&bundle);
        if output.status.success() {
            assert_eq!(output.text(), "", "{output}");
        }
    }
}
