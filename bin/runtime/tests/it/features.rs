//! features: what the runtime says that it can do.

use std::collections::BTreeSet;

use gantry_testkit::{Need, Runtime, require};
use serde_json::Value;

fn features() -> Value {
    Runtime::new().bare().arg("features").run().ok().json()
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn holds(value: &Value, wanted: &[&str]) {
    let names = names(value);
    let missing: Vec<&&str> = wanted.iter().filter(|name| !names.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {names:?}");
}

#[test]
fn versions_and_hooks_are_listed() {
    let features = features();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(features["ociVersionMax"].as_str().unwrap().starts_with("1."));
    let hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    holds(&features["hooks"], &hooks);
}

#[test]
fn mount_options_are_listed() {
    let features = features();
    let options = [
        "async",
        "atime",
        "bind",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "iversion",
        "lazytime",
        "loud",
        "mand",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "noiversion",
        "nolazytime",
        "nomand",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "nosymfollow",
        "private",
        "ratime",
        "rbind",
        "rdev",
        "rdiratime",
        "relatime",
        "remount",
        "rexec",
        "rnoatime",
        "rnodev",
        "rnodiratime",
        "rnoexec",
        "rnorelatime",
        "rnostrictatime",
        "rnosuid",
        "rnosymfollow",
        "ro",
        "rprivate",
        "rrelatime",
        "rro",
        "rrw",
        "rshared",
        "rslave",
        "rstrictatime",
        "rsuid",
        "rsymfollow",
        "runbindable",
        "rw",
        "shared",
        "silent",
        "slave",
        "strictatime",
        "suid",
        "symfollow",
        "sync",
        "tmpcopyup",
        "unbindable",
    ];
    holds(&features["mountOptions"], &options);
}

#[test]
fn namespaces_capabilities_and_cgroups_are_listed() {
    let features = features();
    let linux = &features["linux"];
    holds(&linux["namespaces"], &["cgroup", "ipc", "mount", "network", "pid", "user", "uts"]);
    holds(&linux["capabilities"], &["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_AUDIT_READ", "CAP_BPF"]);
    assert_eq!(linux["cgroup"]["v1"], true);
    assert_eq!(linux["cgroup"]["v2"], true);
    assert_eq!(linux["cgroup"]["systemd"], true);
}

#[test]
fn seccomp_is_described() {
    let features = features();
    let seccomp = &features["linux"]["seccomp"];
    assert_eq!(seccomp["enabled"], true);
    let actions = [
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_TRAP",
    ];
    holds(&seccomp["actions"], &actions);
    let operators = [
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_LE",
        "SCMP_CMP_LT",
        "SCMP_CMP_MASKED_EQ",
        "SCMP_CMP_NE",
    ];
    holds(&seccomp["operators"], &operators);
    holds(&seccomp["archs"], &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]);
}

#[test]
fn features_of_newer_runtimes_are_listed() {
    require!(Need::Runc(1, 2), Need::Crun(1, 9));
    let features = features();
    let linux = &features["linux"];
    holds(&linux["namespaces"], &["time"]);
    assert_eq!(linux["mountExtensions"]["idmap"]["enabled"], true);
    assert!(linux["intelRdt"]["enabled"].is_boolean());
    assert!(linux["apparmor"]["enabled"].is_boolean() && linux["selinux"]["enabled"].is_boolean());
    let unsafe_ones = ["bundle", "org.systemd.property.", "org.criu.config"];
    holds(&features["potentiallyUnsafeConfigAnnotations"], &unsafe_ones);
    holds(&linux["seccomp"]["knownFlags"], &["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]);
    assert!(linux["seccomp"]["supportedFlags"].is_array());
    assert!(features["annotations"].is_object());
}

#[test]
fn features_of_the_specification_1_3_are_listed() {
    require!(Need::Runc(1, 5), Need::Crun(1, 25));
    let features = features();
    let linux = &features["linux"];
    assert_eq!(linux["netDevices"]["enabled"], true);
    assert!(linux["memoryPolicy"]["modes"].is_array());
}

#[test]
fn features_need_neither_root_nor_a_state_directory() {
    let Some(user) = gantry_testkit::User::find() else {
        gantry_testkit::skip_test!("needs the user gantry-test");
    };
    Runtime::rootless(&user).bare().arg("features").run().ok();
    Runtime::new().bare().args(["features", "extra"]).run().fails();
}
