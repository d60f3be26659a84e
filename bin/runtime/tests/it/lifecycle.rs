//! create, start, run, state, kill, delete: the life of a container.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gantry_testkit::{Bundle, Need, Peer, Receiver, Runtime, require, until, until_true};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn run_returns_the_output_and_the_exit_code() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("echo out; echo err >&2; exit 42");
    let output = runtime.run(&bundle).exits(42);
    assert_eq!((output.text(), output.stderr.trim()), ("out", "err"));
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn run_of_a_process_killed_by_a_signal_returns_128_and_the_signal() {
    let runtime = Runtime::new();
    // The first process of a pid namespace can only be killed from outside, or by its own seccomp or a fault.
    let bundle = Bundle::new().sh("sleep 100 & wait").without_namespace("pid");
    let container = runtime.container(&bundle);
    let running = runtime.run_named(&bundle, container.id(), &[]).spawn();
    until_true("the container to run", || container.command("state", &[]).run().status.success());
    container.wait_for("running");
    container.kill("KILL").ok();
    running.wait().exits(137);
}

#[test]
fn run_passes_standard_input_through() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["cat"]);
    let output = runtime.run_command(&bundle, &[]).stdin("one\ntwo\n").run().ok();
    assert_eq!(output.stdout, "one\ntwo\n");
}

#[test]
fn run_forwards_signals_to_the_container() {
    let runtime = Runtime::new();
    let bundle =
        Bundle::new().sh("trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.05; done");
    let running = runtime.run_command(&bundle, &[]).spawn();
    until_true("the trap to be set", || running.stdout().contains("ready"));
    running.signal(Signal::USR1);
    let output = running.wait().exits(7);
    assert!(output.stdout.contains("got it"));
}

#[test]
fn run_detached_returns_at_once_and_leaves_the_container_running() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.container(&bundle);
    runtime.run_named(&bundle, container.id(), &["--detach"]).run().ok();
    container.wait_for("running");
}

#[test]
fn run_keep_leaves_a_stopped_container() {
    require!(Need::Runc(1, 1));
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let container = runtime.container(&bundle);
    runtime.run_named(&bundle, container.id(), &["--keep"]).run().ok();
    assert_eq!(container.status(), "stopped");
    container.delete().ok();
}

#[test]
fn run_no_subreaper_returns_the_exit_code() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("exit 3");
    runtime.run_command(&bundle, &["--no-subreaper"]).run().exits(3);
}

#[test]
fn runs_of_processes_that_end_at_once_never_hang() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    for _ in 0..20 {
        runtime.run(&bundle).ok();
    }
}

#[test]
fn create_waits_for_start() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().sh("touch /started; sleep 100");
    let container = runtime.created(&bundle);
    assert_eq!(container.status(), "created");
    assert!(!bundle.rootfs().join("started").exists());
    container.start().ok();
    container.wait_for("running");
    until_true("the program to run", || bundle.rootfs().join("started").exists());
}

#[test]
fn every_state_is_reported_and_deletion_ends_it() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.created(&bundle);
    container.start().ok();
    container.wait_for("running");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    container.command("state", &[]).run().fails().says("does not exist");
}

#[test]
fn state_has_the_fields_of_the_specification_and_of_runc() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping().edit(|c| c["annotations"] = json!({ "org.example.key": "value" }));
    let container = runtime.running(&bundle);
    let state = container.state();
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{state}");
    assert_eq!(state["id"], container.id());
    assert_eq!(state["status"], "running");
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
    assert_eq!(state["rootfs"], bundle.rootfs().to_str().unwrap());
    assert_eq!(state["annotations"]["org.example.key"], "value");
    assert_eq!(state["owner"], "");
    let created = state["created"].as_str().unwrap();
    assert!(created.ends_with('Z') && created.contains('T'), "{created}");
    let pid = state["pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("sleep"), "{status}");
}

#[test]
fn state_of_a_stopped_container_has_pid_0() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let container = runtime.running(&bundle);
    container.wait_for("stopped");
    assert_eq!(container.state()["pid"], 0);
}

#[test]
fn state_of_a_created_container_names_a_process_that_is_not_yet_the_program() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.created(&bundle);
    let pid = container.pid();
    assert!(pid > 0);
    assert_ne!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim(), "sleep");
    container.start().ok();
    until_true("exec", || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() == "sleep");
    assert_eq!(container.pid(), pid);
}

#[test]
fn a_relative_bundle_is_found_from_the_working_directory() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("echo here");
    let dir = bundle.path();
    let name = dir.file_name().unwrap();
    let container = runtime.container(&bundle);
    let output = runtime.command(["run", "--bundle"]).arg(name).arg(container.id());
    assert_eq!(output.cwd(dir.parent().unwrap()).run().ok().text(), "here");
    // Without the option it is the working directory itself.
    let output = runtime.command(["run", container.id()]).cwd(dir).run().ok();
    assert_eq!(output.text(), "here");
}

#[test]
fn an_absolute_root_outside_the_bundle_is_used() {
    let runtime = Runtime::new();
    let (one, two) = (Bundle::new(), Bundle::new());
    two.write("marker", "of two");
    let root = two.rootfs();
    let bundle = one.args(["cat", "/marker"]).edit(|c| c["root"]["path"] = json!(root));
    assert_eq!(runtime.run(&bundle).ok().text(), "of two");
}

#[test]
fn pid_files_hold_the_pid_of_the_first_process() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.container(&bundle);
    let file = runtime.scratch().join("pid");
    container.create_command(&["--pid-file", file.to_str().unwrap()]).run().ok();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, container.pid().to_string(), "no newline: engines parse the whole file");
    let second = runtime.scratch().join("pid2");
    container.start().ok();
    container.exec(&["--pid-file", second.to_str().unwrap()], ["true"]).ok();
    assert!(fs::read_to_string(&second).unwrap().parse::<u32>().is_ok());
}

#[test]
fn run_writes_a_pid_file() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.container(&bundle);
    let file = runtime.scratch().join("pid");
    runtime.run_named(&bundle, container.id(), &["-d", "--pid-file", file.to_str().unwrap()]).run().ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), container.pid().to_string());
}

#[test]
fn changes_of_the_configuration_after_create_have_no_effect() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new().writable().sh("touch /first");
    let id = {
        let container = runtime.created(&bundle);
        let id = container.id().to_owned();
        std::mem::forget(container);
        id
    };
    bundle.change(|c| c["process"]["args"] = json!(["/bin/sh", "-c", "touch /second"]));
    runtime.command(["start", &id]).run().ok();
    let marker = bundle.rootfs().join("first");
    until_true("the program to run", || marker.exists());
    assert!(!bundle.rootfs().join("second").exists());
    runtime.command(["delete", "--force", &id]).run().ok();
}

#[test]
fn kill_knows_names_and_numbers_of_signals() {
    let runtime = Runtime::new();
    let script = "trap 'echo hup >>/log' HUP; trap 'echo usr1 >>/log' USR1; trap 'echo usr2 >>/log' USR2;
        trap 'echo term >>/log' TERM; : >/log; while :; do sleep 0.02; done";
    let bundle = Bundle::new().writable().sh(script);
    let container = runtime.running(&bundle);
    let log = bundle.rootfs().join("log");
    until_true("the traps to be set", || log.exists());
    let text = || fs::read_to_string(&log).unwrap();
    for (signal, expected) in [("HUP", "hup"), ("SIGUSR1", "usr1"), ("12", "usr2"), ("term", "term")] {
        container.kill(signal).ok();
        until_true(expected, || text().contains(expected));
    }
}

#[test]
fn kill_without_a_signal_sends_term() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().sh("trap 'exit 0' TERM; : >/ready; while :; do sleep 0.02; done");
    let container = runtime.running(&bundle);
    until_true("the trap to be set", || bundle.rootfs().join("ready").exists());
    container.command("kill", &[]).run().ok();
    container.wait_for("stopped");
}

#[test]
fn kill_reaches_realtime_signals_by_number_and_name() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping().without_namespace("pid");
    let container = runtime.running(&bundle);
    container.kill("34").ok();
    container.wait_for("stopped");
}

#[test]
fn kill_of_an_unknown_signal_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    for signal in ["NOPE", "SIGNOPE", "-9x"] {
        container.kill(signal).fails();
    }
    container.kill("NOPE").fails().says("unknown signal");
    assert_eq!(container.status(), "running");
}

#[test]
fn kill_of_a_stopped_container_says_that_it_does_not_run() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let container = runtime.running(&bundle);
    container.wait_for("stopped");
    container.kill("TERM").fails().says("container not running");
}

#[test]
fn kill_of_a_created_container_stops_it() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let container = runtime.created(&bundle);
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
}

#[test]
fn kill_all_reaches_every_process_of_a_container_without_a_pid_namespace() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("sleep 1000 & sleep 1000 & exec sleep 1000").without_namespace("pid");
    let container = runtime.running(&bundle);
    until("three processes", || (container.processes().len() == 3).then_some(()));
    let pids = container.processes();
    container.command("kill", &["--all"]).arg("KILL").run().ok();
    container.wait_for("stopped");
    for pid in pids {
        until_true("the process to go", || !is_running(pid));
    }
}

#[test]
fn kill_all_of_a_stopped_container_is_no_error() {
    require!(Need::Runc(1, 2), Need::Not(Peer::Crun, "crun reports that the container does not run"));
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let container = runtime.running(&bundle);
    container.wait_for("stopped");
    container.command("kill", &["--all"]).arg("KILL").run().ok();
}

fn is_running(pid: i64) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

#[test]
fn delete_of_a_running_container_is_refused_without_force() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container.delete().fails().says_any(&["is not stopped: running", "is not stopped"]);
    assert_eq!(container.status(), "running");
    container.delete_force().ok();
    container.command("state", &[]).run().fails();
}

#[test]
fn delete_of_a_created_container_kills_it() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let container = runtime.created(&bundle);
    let pid = container.pid();
    container.delete().ok();
    until_true("the process to go", || !is_running(i64::from(pid)));
}

#[test]
fn delete_of_no_container_fails_and_with_force_does_not() {
    let runtime = Runtime::new();
    runtime.command(["delete", "nothing"]).run().fails().says("does not exist");
    runtime.command(["delete", "--force", "nothing"]).run().ok();
}

#[test]
fn delete_force_ends_every_process_of_a_container_that_shares_the_pid_namespace() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("sleep 1000 & exec sleep 1000").without_namespace("pid");
    let container = runtime.running(&bundle);
    until("two processes", || (container.processes().len() == 2).then_some(()));
    let pids = container.processes();
    container.delete_force().ok();
    for pid in pids {
        until_true("the process to go", || !is_running(pid));
    }
}

#[test]
fn delete_removes_processes_left_when_the_first_ended() {
    require!(Need::Runc(1, 3), Need::Not(Peer::Crun, "leaves them"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("sleep 1000 & exit 0").without_namespace("pid");
    let container = runtime.running(&bundle);
    container.wait_for("stopped");
    container.delete().ok();
    assert!(gantry_testkit::Cgroups::detect().processes(bundle.cgroup_parent()).is_empty());
}

#[test]
fn delete_removes_only_cgroups_that_the_container_made() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let sibling = runtime.created(&bundle);
    let parents = gantry_testkit::Cgroups::detect().dirs(bundle.cgroup_parent());
    assert!(!parents.is_empty());
    let foreign: Vec<_> = parents.iter().map(|dir| dir.join("foreign")).collect();
    for dir in &foreign {
        fs::create_dir(dir).unwrap();
    }
    sibling.delete_force().ok();
    for dir in &foreign {
        assert!(dir.is_dir(), "{}", dir.display());
        fs::remove_dir(dir).unwrap();
    }
}

#[test]
fn an_id_can_be_used_again_after_deletion() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container.delete_force().ok();
    container.create().ok();
    container.start().ok();
    container.wait_for("running");
}

#[test]
fn an_id_that_is_taken_is_refused_and_the_first_container_lives_on() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container.create().fails().says_any(&["container with given ID already exists", "already exists"]);
    assert_eq!(container.status(), "running");
}

#[test]
fn a_second_start_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container
        .start()
        .fails()
        .says_any(&["cannot start an already running container", "is not in created state"]);
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container
        .start()
        .fails()
        .says_any(&["cannot start a container that has stopped", "is not in created state"]);
}

#[test]
fn create_without_a_process_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().edit(|c| {
        c.as_object_mut().unwrap().remove("process");
    });
    runtime.container(&bundle).create().fails();
}

#[test]
fn the_exit_of_the_first_process_ends_the_others() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("sleep 1000 & echo $!; exit 0");
    runtime.run(&bundle).ok();
}

#[test]
fn state_directories_are_for_root_alone() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let dir = runtime.state_dir().join(container.id());
    let mode = fs::metadata(&dir).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o066, 0, "{mode:o}");
}

#[test]
fn containers_of_one_root_are_unknown_in_another() {
    let (one, two) = (Runtime::new(), Runtime::new());
    let bundle = Bundle::new().sleeping();
    let container = one.running(&bundle);
    two.command(["state", container.id()]).run().fails().says("does not exist");
    assert!(two.list().is_empty());
}

#[test]
fn notify_socket_gets_the_readiness_of_the_container() {
    let runtime = Runtime::new();
    let dir = runtime.scratch();
    let socket = dir.join("notify");
    let listener = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    listener.set_read_timeout(Some(gantry_testkit::DEADLINE)).unwrap();
    // busybox has no client for datagram sockets; the probe's `--notify` is one.
    let bundle = Bundle::new().probe(&["notify", "READY=1"]);
    let container = runtime.container(&bundle);
    container.create_command(&[]).env("NOTIFY_SOCKET", &socket).run().ok();
    let start = container.command("start", &[]).env("NOTIFY_SOCKET", &socket).spawn();
    let mut buffer = [0; 256];
    // The end of another test's child interrupts the wait.
    let got = loop {
        match listener.recv(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => break received.unwrap(),
        }
    };
    let text = String::from_utf8_lossy(&buffer[..got]).into_owned();
    assert!(text.contains("READY=1"), "{text}");
    start.wait().ok();
}

#[test]
fn pidfd_socket_gets_a_descriptor_of_the_first_process() {
    require!(Need::Runc(1, 2), Need::Not(Peer::Crun, "crun has an annotation instead"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.container(&bundle);
    let receiver = Receiver::listen(runtime.scratch().join("pidfd"));
    container.create_command(&["--pidfd-socket", receiver.path()]).run().ok();
    let received = receiver.receive();
    assert_eq!(received.fds.len(), 1);
    assert_eq!(pid_behind(&received.fds[0]), container.pid());
    container.start().ok();
    let receiver = Receiver::listen(runtime.scratch().join("pidfd2"));
    let options = ["--pidfd-socket", receiver.path(), "--detach"];
    container.exec(&options, ["sleep", "1000"]).ok();
    let pid = pid_behind(&receiver.receive().fds[0]);
    let comm = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    until_true("exec", || comm().trim() == "sleep");
}

fn pid_behind(fd: &std::os::fd::OwnedFd) -> i32 {
    use std::os::fd::AsRawFd;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a descriptor of a process");
    pid.trim().parse().unwrap()
}

#[test]
fn log_file_gets_errors_as_json_and_standard_error_too() {
    let runtime = Runtime::new();
    let log = runtime.scratch().join("log");
    let globals = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let runtime = runtime.with_globals(globals);
    let output = runtime.command(["start", "nothing"]).run().fails();
    assert!(output.stderr.contains("does not exist"), "{output}");
    let text = fs::read_to_string(&log).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("does not exist"), "{line}");
    assert!(line["time"].as_str().unwrap().contains('T'), "{line}");
}

#[test]
fn log_file_gets_errors_as_text_by_default() {
    let runtime = Runtime::new();
    let log = runtime.scratch().join("log");
    let runtime = runtime.with_globals(["--log", log.to_str().unwrap()]);
    runtime.command(["start", "nothing"]).run().fails();
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("does not exist"), "{text}");
    assert!(serde_json::from_str::<serde_json::Value>(text.lines().last().unwrap()).is_err());
}

#[test]
fn an_unknown_log_format_is_refused() {
    let runtime = Runtime::new().with_globals(["--log-format", "xml"]);
    runtime.command(["list"]).run().fails().says("xml");
}

#[test]
fn logs_are_appended_and_debug_adds_to_them() {
    require!(Need::Not(Peer::Crun, "writes no debug messages in this version"));
    let runtime = Runtime::new();
    let log = runtime.scratch().join("log");
    fs::write(&log, "before\n").unwrap();
    let bundle = Bundle::new();
    let runtime = runtime.with_globals(["--debug", "--log", log.to_str().unwrap()]);
    runtime.run(&bundle).ok();
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("before\n") && text.contains("level=debug"), "{text}");
}

#[test]
fn debug_names_the_steps_as_runc_does() {
    require!(Need::Not(Peer::Crun, "has words of its own"));
    let runtime = Runtime::new().with_globals(["--debug"]);
    let log = |output: &str, steps: &[&str]| {
        for step in steps {
            assert!(output.contains(step), "{step}: {output}");
        }
    };
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"] });
    let profiled = Bundle::new().edit(|c| c["linux"]["seccomp"] = profile);
    let common = ["nsexec container setup", "child process in init()"];
    let output = runtime.run(&profiled).ok();
    log(&output.stderr, &common);
    log(&output.stderr, &["init: closing the pipe to signal completion"]);
    let bundle = Bundle::new().args(["sleep", "100"]);
    let container = runtime.container(&bundle);
    container.create().ok();
    container.start().ok();
    let output = container.exec(&[], ["true"]).ok();
    log(&output.stderr, &common);
    log(&output.stderr, &["setns_init: about to exec"]);
}

#[test]
fn systemd_cgroup_path_of_a_file_system_is_refused() {
    require!(Need::Not(Peer::Crun, "takes any path for a slice"));
    let runtime = Runtime::new().with_globals(["--systemd-cgroup"]);
    let bundle = Bundle::new();
    // A path with slashes is no `slice:prefix:name`.
    runtime.container(&bundle).create().fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn no_pivot_runs_from_a_root_that_cannot_be_pivoted_into() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("echo inside; ls /bin/busybox");
    let output = runtime.run_command(&bundle, &["--no-pivot"]).run().ok();
    assert_eq!(output.lines(), ["inside", "/bin/busybox"]);
}

#[test]
fn no_new_keyring_keeps_the_session_keyring() {
    let runtime = Runtime::new();
    // keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, no) tells the serial number.
    let bundle = Bundle::new().with_syscall().args(["syscall", "250", "0", "-3", "0"]);
    let serial = |options: &[&str]| runtime.run_command(&bundle, options).run().ok().text().to_owned();
    assert_ne!(serial(&[]), serial(&[]), "each container gets a keyring of its own");
    assert_eq!(serial(&["--no-new-keyring"]), serial(&["--no-new-keyring"]), "the caller's");
}

#[test]
fn a_container_has_no_descriptors_but_the_standard_ones() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().probe(&[]);
    let output = runtime.run(&bundle).ok();
    let fds: Vec<i32> = gantry_testkit::Report::parse(&output.stdout).fds().into_keys().collect();
    assert_eq!(fds, [0, 1, 2]);
}

#[test]
fn nothing_is_left_of_a_create_that_fails_late() {
    let runtime = Runtime::new();
    // The mount fails after the cgroup, the state directory and the first process were made.
    let bundle = Bundle::new().bind("/nonexistent/source", "/mnt", &["rbind"]);
    for _ in 0..3 {
        runtime.container(&bundle).create().fails();
    }
    assert!(runtime.leftovers().is_empty());
    assert!(gantry_testkit::Cgroups::detect().dirs(&bundle.cgroup()).is_empty());
}

#[test]
fn a_root_that_is_missing_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().edit(|c| c["root"]["path"] = json!("absent"));
    runtime.container(&bundle).create().fails();
    assert!(!Path::new(bundle.path()).join("absent").exists());
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn the_host_sees_no_mounts_of_a_running_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().sleeping();
    let container = runtime.running(&bundle);
    assert_eq!(gantry_testkit::mounts_below(bundle.path()), Vec::<String>::new());
    container.delete_force().ok();
}

#[test]
fn many_containers_live_at_once() {
    let runtime = Runtime::new();
    let bundles: Vec<_> = (0..12).map(|_| Bundle::new().sleeping()).collect();
    let containers: Vec<_> = bundles.iter().map(|bundle| runtime.running(bundle)).collect();
    assert_eq!(runtime.list().len(), containers.len());
    for container in &containers {
        assert_eq!(container.status(), "running");
    }
}

#[test]
fn delete_by_force_waits_for_whoever_makes_the_container() {
    require!(Need::Ours);
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let (begun, go) = (bundle.path().join("begun"), bundle.path().join("go"));
    let script = format!("touch {}; while [ ! -e {} ]; do sleep 0.01; done", begun.display(), go.display());
    let bundle = bundle.edit(|c| {
        c["hooks"]["createRuntime"] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    });
    let container = runtime.container(&bundle);
    let creating = container.create_command(&[]).spawn();
    until_true("the hook", || begun.exists());
    assert_eq!(container.status(), "creating");
    let deleting = runtime.command(["delete", "--force", container.id()]).spawn();
    // What there is of it must not go under its maker's hands.
    std::fs::write(&go, "").unwrap();
    creating.wait().ok();
    deleting.wait().ok();
    assert!(runtime.list().is_empty() && runtime.leftovers().is_empty());
}
