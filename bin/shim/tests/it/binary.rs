//! `start`, `delete`, `-info` and `-v`.

use std::path::Path;

use gantry_proto_shim::Message;
use gantry_proto_shim::any::{Any, FEATURES};
use gantry_proto_shim::bootstrap::BootstrapParams;
use gantry_proto_shim::info::RuntimeInfo;
use gantry_proto_shim::options::Options;
use gantry_testkit::{Bundle, Need, require, until_true};

use crate::harness::{Answer, Call, Daemon, Io, is_ours, name_of, ours, since_2};

/// `start` must fail, and say why. If it does not, what it has started is ended.
#[track_caller]
fn refused(daemon: &Daemon, id: &str, directory: &Path, stdin: Vec<u8>) {
    let output = daemon.call(id, directory).args(["start"]).stdin(stdin).run();
    if output.status.success() {
        daemon.connect(&Answer::parse(&output.stdout), id);
        panic!("started: {}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(!output.stderr.is_empty() || !output.stdout.is_empty(), "containerd shows what was printed");
}

#[test]
fn start_without_input_answers_version_2() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new();
    let id = name_of(&bundle);
    let answer = daemon.start(&id, &bundle, Vec::new());
    // containerd 2 has version 3 alone, and says so whoever asks.
    assert!(answer.version == 2 || !is_ours(), "{answer:?}");
    assert_eq!(answer.protocol, "ttrpc");
    assert!(answer.socket().exists(), "{answer:?}");
    daemon.connect(&answer, &id).shutdown(true).unwrap_or_default();
}

#[test]
fn start_takes_options_of_a_runtime_on_its_input() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new();
    let options = Any::pack(&Options { binary_name: "runc".into(), ..Options::default() });
    let id = name_of(&bundle);
    let answer = daemon.start(&id, &bundle, options.encode_to_vec());
    assert!(answer.version == 2 || !is_ours(), "{answer:?}");
    daemon.connect(&answer, &id);
}

#[test]
fn start_with_bootstrap_parameters_answers_version_3() {
    since_2!("it has version 2 alone");
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new();
    let id = name_of(&bundle);
    let answer = daemon.start(&id, &bundle, daemon.params(&id).encode_to_vec());
    assert_eq!((answer.version, answer.protocol.as_str()), (3, "ttrpc"));
    daemon.connect(&answer, &id);
}

#[test]
fn start_refuses_parameters_of_another_container() {
    ours!("containerd 1.6 knows no parameters");
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new();
    let id = name_of(&bundle);
    let other = daemon.params("other").encode_to_vec();
    refused(&daemon, &id, bundle.path(), other);
    let namespace = BootstrapParams { namespace: "other".into(), ..daemon.params(&id) }.encode_to_vec();
    refused(&daemon, &id, bundle.path(), namespace);
}

#[test]
fn start_refuses_input_that_is_no_message() {
    ours!("the reference does not read its input");
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new();
    let id = name_of(&bundle);
    refused(&daemon, &id, bundle.path(), vec![0xff; 64]);
}

#[test]
fn start_without_a_configuration_fails() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let empty = tempfile::tempdir().unwrap();
    refused(&daemon, "no-config", empty.path(), Vec::new());
}

#[test]
fn start_of_the_same_container_gives_the_same_address() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new();
    let id = name_of(&bundle);
    let first = daemon.start(&id, &bundle, Vec::new());
    let second = daemon.start(&id, &bundle, Vec::new());
    assert_eq!(first, second);
    daemon.connect(&first, &id);
}

#[test]
fn the_address_does_not_depend_on_the_working_directory_and_fits_a_socket() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new();
    let id = name_of(&bundle);
    let answer = daemon.start(&id, &bundle, Vec::new());
    let socket = answer.socket();
    assert!(socket.is_absolute() && socket.as_os_str().len() <= 106, "{socket:?}");
    daemon.connect(&answer, &id);
}

#[test]
fn the_version_is_told() {
    let text = String::from_utf8(Call::new().args(["-v"]).run().stdout).unwrap();
    assert!(text.contains("Version:"), "{text}");
}

#[test]
fn the_runtime_is_described() {
    since_2!("it has no -info");
    for (options, name) in [(None, "gantry"), (Some("runc"), "runc")] {
        let any = |binary: &str| Any::pack(&Options { binary_name: binary.into(), ..Options::default() });
        let input = options.map(any).unwrap_or_default().encode_to_vec();
        let info = RuntimeInfo::decode(&*Call::new().args(["-info"]).stdin(input).good()).unwrap();
        assert!(info.name.contains(if is_ours() { "gantry" } else { "runc" }), "{info:?}");
        assert!(info.version.is_some_and(|version| !version.version.is_empty()));
        let features = info.features.expect("features");
        assert_eq!(features.type_url, FEATURES);
        let features: serde_json::Value = serde_json::from_slice(&features.value).unwrap();
        assert!(features["ociVersionMax"].is_string(), "{name}: {features}");
    }
}

#[test]
fn delete_of_a_killed_shims_container_removes_it() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    let pid = task.state().pid;
    task.shim.kill();
    until_true("the shim to be gone", || task.shim.is_gone());
    let response = daemon.delete(&task.id, task.bundle.path());
    assert_eq!(response.exit_status, 137);
    assert_eq!(response.pid, pid);
    assert!(response.exited_at.is_some());
    task.forget();
    until_true("the process to end", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    let state = daemon.runtime_root().join(daemon.namespace()).join(&task.id);
    assert!(!state.exists(), "{}", state.display());
}

#[test]
fn delete_of_a_killed_shims_container_leaves_nothing_of_the_shim() {
    ours!("the reference leaves its socket");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sleeping());
    task.shim.kill();
    until_true("the shim to be gone", || task.shim.is_gone());
    daemon.delete(&task.id, task.bundle.path());
    task.forget();
    assert!(!task.shim.answer().socket().exists());
    let left: Vec<_> = std::fs::read_dir(daemon.state_root()).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn delete_after_the_container_has_exited_tells_its_true_status() {
    ours!("the reference says 137 of every container");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.running(Bundle::new().sh("exit 7"));
    assert_eq!(task.wait(), 7);
    task.shim.kill();
    until_true("the shim to be gone", || task.shim.is_gone());
    assert_eq!(daemon.delete(&task.id, task.bundle.path()).exit_status, 7);
    task.forget();
}

#[test]
fn delete_where_nothing_was_created_is_answered() {
    ours!("the reference wants the files of a Create");
    require!(Need::Root);
    let daemon = Daemon::new();
    let bundle = Bundle::new();
    let id = name_of(&bundle);
    let answer = daemon.start(&id, &bundle, Vec::new());
    let shim = daemon.connect(&answer, &id);
    shim.kill();
    until_true("the shim to be gone", || shim.is_gone());
    let response = daemon.delete(&id, bundle.path());
    assert_eq!(response.exit_status, 137);
}

#[test]
fn a_container_survives_its_shim_and_is_served_on() {
    ours!("the reference takes nothing over");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new().sleeping());
    task.create_with(Io::default()).unwrap();
    let pid = task.start();
    task.shim.kill();
    until_true("the shim to be gone", || task.shim.is_gone());
    let answer = daemon.start(&task.id, &task.bundle, Vec::new());
    let shim = std::sync::Arc::new(crate::harness::Shim::connect(answer, &task.id));
    task.shim = std::sync::Arc::clone(&shim);
    assert_eq!(shim.ask(&task.id).unwrap().task_pid, pid);
    task.kill(9);
    let status = task.wait();
    crate::adoption::assert_adopted(status, 137);
    assert_eq!(task.delete().exit_status, status);
    shim.end();
    until_true("the second shim to end", || shim.is_gone());
}
