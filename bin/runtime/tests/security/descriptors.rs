//! Descriptors and directories of the host that reach the container.

use std::fs;

use gantry_testkit::{Bundle, Canary, Need, Report, Runtime, require, until_true};
use serde_json::{Value, json};

#[test]
fn cve_2024_21626_a_working_directory_behind_a_descriptor_is_not_the_hosts() {
    let runtime = Runtime::new();
    for fd in 3..32 {
        let bundle =
            Bundle::docker().probe(&[]).edit(|c| c["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}")));
        let output = runtime.run(&bundle);
        if output.status.success() {
            let report = Report::parse(&output.stdout);
            assert!(
                !report.text("cwd").contains("unreachable") && !report.text("cwd").starts_with("error"),
                "{fd}"
            );
        }
    }
}

#[test]
fn cve_2024_21626_the_same_through_a_link_of_the_image() {
    let runtime = Runtime::new();
    let canary = Canary::new();
    for fd in 3..20 {
        let bundle = Bundle::docker().sh("cat ../../../../../../../../etc/hostname; pwd");
        std::os::unix::fs::symlink(format!("/proc/self/fd/{fd}"), bundle.rootfs().join("cwd")).unwrap();
        let bundle = bundle.edit(|c| c["process"]["cwd"] = json!("/cwd"));
        let output = runtime.run(&bundle);
        let host = fs::read_to_string("/etc/hostname").unwrap_or_else(|_| "no such file".into());
        assert!(!output.stdout.contains(host.trim()), "{fd}: {output}");
    }
    canary.assert_untouched();
}

#[test]
fn cve_2024_21626_exec_with_such_a_working_directory() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().probe(&[]).sleeping();
    let container = runtime.running(&bundle);
    for fd in 3..20 {
        let cwd = format!("/proc/self/fd/{fd}");
        let output = container.exec(&["--cwd", &cwd], ["/bin/gantry-probe"]);
        if output.status.success() {
            let report = Report::parse(&output.stdout);
            assert!(
                !report.text("cwd").contains("unreachable") && !report.text("cwd").starts_with("error"),
                "{fd}"
            );
        }
    }
}

#[test]
fn cve_2024_21626_a_descriptor_of_the_caller_does_not_help() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().args(["ls", "."]).edit(|c| c["process"]["cwd"] = json!("/proc/self/fd/9"));
    let output = runtime.run_command(&bundle, &[]).redirected("9</sys/fs/cgroup 3</ 4</etc").run();
    assert!(!output.status.success(), "{output}");
}

/// Directories outside the container that it saw in `/proc/*/fd` while commands were run in it.
fn directories_seen_during_exec(capabilities: &[&str]) -> Value {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().writable().capabilities(capabilities);
    let bundle = bundle.probe(&[]).sh("exec /bin/gantry-probe watch-fds /stop >/found");
    let container = runtime.running(&bundle);
    let found = bundle.rootfs().join("found");
    until_true("the attacker to begin", || fs::read_to_string(&found).unwrap_or_default().contains("ready"));
    for _ in 0..30 {
        container.exec(&[], ["true"]).ok();
    }
    bundle.write("stop", "");
    until_true("the attacker to end", || fs::read_to_string(&found).unwrap().lines().count() >= 2);
    let text = fs::read_to_string(&found).unwrap();
    let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    report["directories"].clone()
}

#[test]
fn cve_2016_9962_a_container_sees_no_directory_of_the_host_during_exec() {
    assert_eq!(directories_seen_during_exec(&["CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETUID"]), json!({}));
}

#[test]
fn cve_2016_9962_a_container_that_may_trace_sees_no_directory_of_the_host_either() {
    // Against CAP_SYS_PTRACE it does not help to be undumpable: there must be nothing to see.
    require!(Need::Ours);
    assert_eq!(directories_seen_during_exec(&["CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SYS_PTRACE"]), json!({}));
}

#[test]
fn cve_2016_9962_the_processes_of_exec_have_no_descriptors_left_over() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().probe(&[]).sleeping();
    let container = runtime.running(&bundle);
    let fds: Vec<i32> = container.probe(&[], &[]).fds().into_keys().collect();
    assert_eq!(fds, [0, 1, 2]);
}

#[test]
fn a_created_container_holds_no_directory_of_the_host() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker();
    let container = runtime.created(&bundle);
    let mut outside = Vec::new();
    for entry in fs::read_dir(format!("/proc/{}/fd", container.pid())).unwrap().flatten() {
        if fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir()) {
            outside.push(fs::read_link(entry.path()).unwrap());
        }
    }
    // Whoever gets code to run in this process before its exec would leave the root through one of these. runc holds
    // descriptors of /proc and its state directory here, and relies on CLOEXEC and on not being dumpable.
    if runtime.is_ours() {
        assert_eq!(outside, Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn cve_2020_15257_the_runtime_listens_on_no_abstract_socket() {
    let runtime = Runtime::new();
    let abstracts = || {
        let text = fs::read_to_string("/proc/net/unix").unwrap();
        text.lines().filter(|line| line.contains(" @")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = abstracts();
    let bundle = Bundle::docker().sleeping();
    let container = runtime.created(&bundle);
    let id = container.id().to_owned();
    let new: Vec<String> =
        abstracts().into_iter().filter(|line| !before.contains(line) && line.contains(&id)).collect();
    assert_eq!(new, Vec::<String>::new());
}
