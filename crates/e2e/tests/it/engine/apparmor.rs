//! AppArmor: the default profile is loaded when it is needed, others by name, and what they deny is denied.

use std::fs;
use std::process::{Command, Stdio};

use gantry_e2e::require_engine;
use gantry_testkit::{Need, require};

use super::{detached, remove, shared};

/// The profile of a process, as it reads it.
const LABEL: &str = "cat /proc/self/attr/apparmor/current 2>/dev/null || cat /proc/self/attr/current";
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

fn is_loaded(name: &str) -> bool {
    let list = fs::read_to_string(LOADED).expect("the list of profiles");
    list.lines().any(|line| line.starts_with(&format!("{name} (")))
}

/// Gives a policy to the parser.
fn parser(option: &str, policy: &str) {
    use std::io::Write as _;
    let mut parser = Command::new("apparmor_parser")
        .args(["--skip-cache", option])
        .stdin(Stdio::piped())
        .spawn()
        .expect("apparmor_parser runs");
    parser.stdin.take().expect("its input").write_all(policy.as_bytes()).expect("a policy");
    assert!(parser.wait().expect("it is ours").success(), "{policy}");
}

#[test]
fn containers_get_the_default_profile_unless_they_choose() {
    require_engine!("dockerd");
    require!(Need::AppArmor);
    let docker = shared();
    let label = |options: &[&str]| docker.run(options, &["sh", "-c", LABEL]).run().ok().text().to_owned();
    assert_eq!(label(&[]), "docker-default (enforce)");
    assert!(is_loaded("docker-default"));
    assert_eq!(label(&["--privileged"]), "unconfined");
    assert_eq!(label(&["--security-opt", "apparmor=unconfined"]), "unconfined");
    assert_eq!(label(&["--security-opt", "apparmor=docker-default"]), "docker-default (enforce)");
    let info = docker.docker(["info", "--format", "{{.SecurityOptions}}"]).run().ok();
    assert!(info.text().contains("name=apparmor"), "{info}");

    detached(docker, "e-armor", &[], &["sleep", "1000"]);
    let exec = |options: &[&str]| {
        let call = docker.docker(["exec"]).args(options).args(["e-armor", "sh", "-c", LABEL]);
        call.run().ok().text().to_owned()
    };
    assert_eq!(exec(&[]), "docker-default (enforce)");
    assert_eq!(exec(&["--privileged"]), "docker-default (enforce)");
    assert_eq!(docker.inspect("e-armor", "{{.AppArmorProfile}}"), "docker-default");
    remove(docker, "e-armor");
}

#[test]
fn the_default_profile_denies_what_is_the_kernels_and_lets_programs_work() {
    require_engine!("dockerd");
    require!(Need::AppArmor);
    let docker = shared();
    // Nothing else stands before these files: root with all capabilities, in a container whose /proc is writable.
    let open = ["--cap-add", "ALL", "--security-opt", "systempaths=unconfined", "--security-opt"];
    let outcome = |profile: &str, line: &str| {
        let options = [&open[..], &[profile]].concat();
        docker.run(&options, &["sh", "-c", line]).run().status.success()
    };
    let denied = [
        "echo 1 > /proc/sys/kernel/sysrq",
        "cat /proc/sys/kernel/core_pattern > /tmp/kept; cat /tmp/kept > /proc/sys/kernel/core_pattern",
        "cat /proc/sys/vm/swappiness > /tmp/kept; cat /tmp/kept > /proc/sys/vm/swappiness",
        "mount -t tmpfs none /tmp",
    ];
    for line in denied {
        assert!(outcome("apparmor=unconfined", line), "{line}");
        assert!(!outcome("apparmor=docker-default", line), "{line}");
    }
    let allowed = [
        "cat /proc/sys/kernel/shmmni > /tmp/kept; cat /tmp/kept > /proc/sys/kernel/shmmni",
        "cat /proc/sys/kernel/sem > /tmp/kept; cat /tmp/kept > /proc/sys/kernel/sem",
        "echo 500 > /proc/self/oom_score_adj",
        "echo name > /proc/self/comm",
        "sleep 100 & kill $! && ! wait $!",
        "cat /proc/meminfo /sys/kernel/mm/transparent_hugepage/enabled",
        "touch /tmp/a && mv /tmp/a /tmp/b && ln /tmp/b /c && chown 1:1 /c",
    ];
    for line in allowed {
        assert!(outcome("apparmor=docker-default", line), "{line}");
    }
}

#[test]
fn profiles_of_others_are_chosen_by_name() {
    require_engine!("dockerd");
    require!(Need::AppArmor);
    let docker = shared();
    let policy = "profile gt-e2e-armor flags=(attach_disconnected) { file, network, capability, signal, \
                  deny /forbidden/** w, }";
    parser("--replace", policy);
    let options = ["--security-opt", "apparmor=gt-e2e-armor"];
    let line = format!("{LABEL}; mkdir /forbidden; touch /forbidden/x 2>/dev/null || echo denied");
    let output = docker.run(&options, &["sh", "-c", &line]).run().ok();
    assert_eq!(output.text(), "gt-e2e-armor (enforce)\ndenied");
    // Also where everything else is given.
    let both = [&options[..], &["--privileged"]].concat();
    let output = docker.run(&both, &["sh", "-c", LABEL]).run().ok();
    assert_eq!(output.text(), "gt-e2e-armor (enforce)");
    parser("--remove", "profile gt-e2e-armor {}");
    let refused = docker.run(&options, &["true"]).run();
    assert!(!refused.status.success() && refused.stderr.contains("gt-e2e-armor"), "{refused}");
    assert!(!refused.stderr.contains("docker-default"), "{refused}");
}
