//! AppArmor profiles on run and exec. They need a host with AppArmor: `make conformance-vm` has one.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use gantry_testkit::{Bundle, Need, Runtime, User, require};
use serde_json::json;

/// A profile that forbids reading `/etc/forbidden`, and nothing else; unloaded on drop.
struct Profile {
    name: String,
    file: tempfile::NamedTempFile,
}

impl Profile {
    fn load() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gantry-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n  \
             file,\n  capability,\n  network,\n  mount,\n  signal,\n  ptrace,\n  unix,\n  \
             deny /etc/forbidden r,\n}}\n"
        );
        fs::write(file.path(), text).unwrap();
        let profile = Self { name, file };
        profile.parser("--add");
        profile
    }

    fn parser(&self, action: &str) {
        let output = Command::new("apparmor_parser")
            .args(["--skip-cache", action])
            .arg(self.file.path())
            .output()
            .expect("apparmor_parser runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the kernel calls a process under it.
    fn label(&self) -> String {
        format!("{} (enforce)", self.name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("--remove");
    }
}

const LABEL: &str = "cat /proc/self/attr/current";

fn confined(profile: &str) -> Bundle {
    let bundle = Bundle::new().edit(|c| c["process"]["apparmorProfile"] = json!(profile));
    bundle.write("etc/forbidden", "secret");
    bundle
}

#[test]
fn the_container_runs_under_its_profile() {
    require!(Need::AppArmor);
    let profile = Profile::load();
    let runtime = Runtime::new();
    let bundle = confined(&profile.name).sh(&format!("{LABEL}; cat /etc/forbidden || echo denied"));
    assert_eq!(runtime.run(&bundle).ok().lines(), [profile.label().as_str(), "denied"]);
}

#[test]
fn a_created_container_is_not_under_it_before_it_starts() {
    require!(Need::AppArmor);
    let profile = Profile::load();
    let runtime = Runtime::new();
    let bundle = confined(&profile.name).sleeping();
    let container = runtime.created(&bundle);
    let label = || fs::read_to_string(format!("/proc/{}/attr/current", container.pid())).unwrap();
    assert_eq!(label().trim(), "unconfined");
    container.start().ok();
    gantry_testkit::until_true("the program to run", || label().trim() == profile.label());
}

#[test]
fn exec_has_the_profile_of_the_container() {
    require!(Need::AppArmor);
    let profile = Profile::load();
    let runtime = Runtime::new();
    let bundle = confined(&profile.name).sleeping();
    let container = runtime.running(&bundle);
    assert_eq!(container.sh(LABEL), profile.label());
    assert_eq!(container.sh("cat /etc/forbidden || echo denied"), "denied");
}

#[test]
fn exec_may_have_a_profile_of_its_own() {
    require!(Need::AppArmor);
    let (first, second) = (Profile::load(), Profile::load());
    let runtime = Runtime::new();
    let bundle = confined(&first.name).sleeping();
    let container = runtime.running(&bundle);
    let output = container.exec(&["--apparmor", &second.name], ["/bin/sh", "-c", LABEL]).ok();
    assert_eq!(output.text(), second.label());
    let process = json!({
        "cwd": "/", "args": ["/bin/sh", "-c", LABEL], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
        "apparmorProfile": second.name,
    });
    assert_eq!(container.exec_process(&process, &[]).ok().text(), second.label());
}

#[test]
fn an_unconfined_process_may_be_asked_for() {
    require!(Need::AppArmor);
    let runtime = Runtime::new();
    assert_eq!(runtime.run(&confined("unconfined").sh(LABEL)).ok().text(), "unconfined");
}

#[test]
fn a_profile_that_is_not_loaded_is_refused_by_name() {
    require!(Need::AppArmor);
    let runtime = Runtime::new();
    let bundle = confined("no-such-profile").sleeping();
    runtime.container(&bundle).create().fails().says("apparmor").says("no-such-profile");
    assert!(runtime.leftovers().is_empty());
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let output = container.exec(&["--apparmor", "no-such-profile"], ["true"]).fails();
    output.says("apparmor").says("no-such-profile");
    assert_eq!(container.status(), "running");
}

#[test]
fn it_holds_with_everything_else_that_docker_asks_for() {
    require!(Need::AppArmor);
    let profile = Profile::load();
    let runtime = Runtime::new();
    let bundle = Bundle::docker().sh(LABEL).edit(|c| {
        c["process"]["apparmorProfile"] = json!(profile.name);
        c["process"]["noNewPrivileges"] = json!(true);
        c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    assert_eq!(runtime.run(&bundle).ok().text(), profile.label());
}

#[test]
fn an_ordinary_user_confines_a_container() {
    require!(Need::AppArmor, Need::Root, Need::User);
    let profile = Profile::load();
    let user = User::find().unwrap();
    let runtime = Runtime::rootless(&user);
    let bundle = Bundle::rootless(&user).sh(LABEL);
    let bundle = bundle.edit(|c| c["process"]["apparmorProfile"] = json!(profile.name));
    assert_eq!(runtime.run(&bundle).ok().text(), profile.label());
}
