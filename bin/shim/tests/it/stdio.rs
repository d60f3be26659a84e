//! FIFOs and files.

use gantry_testkit::{Bundle, Cgroups, Need, require, until_true};

use crate::harness::{Daemon, Expect, Input, Io, Output, ours};

fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}

#[test]
fn output_and_errors_reach_their_fifos_whole() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let (mut out, mut err) = (Output::new(daemon.path("out")), Output::new(daemon.path("err")));
    let mut task = daemon.task(Bundle::new().sh("seq 1 50000; echo error >&2"));
    let io = Io { stdout: text(out.path()), stderr: text(err.path()), ..Io::default() };
    task.create_with(io.clone()).good();
    let state = task.state();
    assert_eq!((state.stdout, state.stderr, state.terminal), (io.stdout, io.stderr, false));
    task.start();
    let expect: String = (1..=50_000).map(|n| format!("{n}\n")).collect();
    assert!(out.read_to_end() == expect);
    assert_eq!(err.read_to_end(), "error\n");
    assert_eq!(task.wait(), 0);
    task.delete();
}

#[test]
fn fifos_may_be_named_by_an_address() {
    ours!("containerd 1.6 knows paths alone");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut out = Output::new(daemon.path("out"));
    let mut task = daemon.task(Bundle::new().sh("echo there"));
    let stdout = format!("fifo://{}", out.path().display());
    task.create_with(Io { stdout, ..Io::default() }).good();
    task.start();
    assert_eq!(out.read_to_end(), "there\n");
    task.wait();
    task.delete();
}

#[test]
fn one_stream_may_go_nowhere() {
    ours!("the reference takes both outputs or none");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut out = Output::new(daemon.path("out"));
    let mut task = daemon.task(Bundle::new().sh("echo error >&2; echo there"));
    task.create_with(Io { stdout: text(out.path()), ..Io::default() }).good();
    task.start();
    assert_eq!(out.read_to_end(), "there\n");
    assert_eq!(task.wait(), 0);
    task.delete();
}

#[test]
fn input_is_read_up_to_its_end() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let mut task = daemon.task(Bundle::new().args(["cat"]));
    let io = Io::stdout(out.path()).with_input(input.path());
    task.create_with(io).good();
    task.start();
    input.write("hello\n");
    out.read_until("hello\n");
    input.write("again\n");
    out.read_until("again\n");
    input.close();
    task.close_stdin("").good();
    assert_eq!(task.wait(), 0);
    assert_eq!(out.read_to_end(), "hello\nagain\n");
    task.delete();
}

#[test]
fn a_writer_that_goes_is_no_end_of_the_input() {
    ours!("the reference ends the input with its writer");
    require!(Need::Root);
    let daemon = Daemon::new();
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let mut task = daemon.task(Bundle::new().args(["cat"]));
    let io = Io::stdout(out.path()).with_input(input.path());
    task.create_with(io).good();
    task.start();
    input.write("one\n");
    out.read_until("one\n");
    input.close();
    input.reopen();
    input.write("two\n");
    out.read_until("two\n");
    input.close();
    task.close_stdin("").good();
    assert_eq!(task.wait(), 0);
    task.delete();
}

#[test]
fn input_of_an_exec_is_closed_alone() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let (mut input, mut out) = (Input::new(daemon.path("in")), Output::new(daemon.path("out")));
    let io = Io::stdout(out.path()).with_input(input.path());
    task.exec("e", &crate::harness::process_spec(&["cat"]), io).good();
    task.start_process("e").good();
    input.write("x\n");
    out.read_until("x\n");
    input.close();
    task.close_stdin("e").good();
    assert_eq!(task.wait_process("e").good().exit_status, 0);
    task.delete_process("e").good();
}

/// A client that has little to say has said it before the process is there.
#[test]
fn input_that_is_closed_before_the_start_ends() {
    ours!("the reference forgets it");
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let mut out = Output::new(daemon.path("out"));
    let mut input = Input::new(daemon.path("in"));
    input.write("x\n");
    let io = Io::stdout(out.path()).with_input(input.path());
    task.exec("e", &crate::harness::process_spec(&["cat"]), io).good();
    task.close_stdin("e").good();
    task.start_process("e").good();
    out.read_until("x\n");
    input.close();
    assert_eq!(task.wait_process("e").good().exit_status, 0);
    task.delete_process("e").good();
}

/// The same where the bytes of the input are moved.
#[test]
fn input_of_a_terminal_that_is_closed_before_the_start_is_shown() {
    ours!("the reference forgets it");
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let mut out = Output::new(daemon.path("out"));
    let mut input = Input::new(daemon.path("in"));
    input.write("word\n");
    let io = Io { terminal: true, stderr: String::new(), ..Io::stdout(out.path()).with_input(input.path()) };
    let mut process = crate::harness::process_spec(&["sh", "-c", "read line; echo got $line; exit 8"]);
    process["terminal"] = serde_json::json!(true);
    task.exec("e", &process, io).good();
    task.close_stdin("e").good();
    task.start_process("e").good();
    out.read_until("got word\r\n");
    assert_eq!(task.wait_process("e").good().exit_status, 8);
    task.delete_process("e").good();
}

#[test]
fn a_reader_goes_and_comes_back() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut out = Output::new(daemon.path("out"));
    let script = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done";
    let mut task = daemon.task(Bundle::new().sh(script));
    task.create_with(Io::stdout(out.path())).good();
    task.start();
    out.read_until("line 3\n");
    out.close();
    // The container lives on without a reader.
    assert_eq!(task.sh("look", "kill -0 1"), 0);
    out.reopen();
    let before = out.text().lines().count();
    until_true("more lines", || {
        out.read_until("line");
        out.read_until(&format!("line {}\n", before + 20));
        true
    });
    task.kill(9);
    task.wait();
    task.delete();
}

#[test]
fn a_file_is_appended_to() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let log = daemon.path("log");
    std::fs::write(&log, "before\n").unwrap();
    let mut task = daemon.task(Bundle::new().sh("echo out; echo err >&2"));
    let uri = format!("file://{}", log.display());
    task.create_with(Io { stdout: uri.clone(), stderr: uri, ..Io::default() }).good();
    task.start();
    task.wait();
    until_true("both lines", || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.starts_with("before\n") && text.contains("out\n") && text.contains("err\n")
    });
    task.delete();
}

#[test]
fn a_logger_is_executed_with_the_streams() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let log = daemon.path("log");
    let logger = daemon.path("logger");
    let script = format!(
        "#!/bin/sh\nexec 9>&5\nexec 5>&-\necho $CONTAINER_ID $CONTAINER_NAMESPACE $1 $2 > {0}\n\
         echo ready >&9\nexec 9>&-\ncat <&4 >> {0} &\ncat <&3 >> {0}\nwait\n",
        log.display()
    );
    std::fs::write(&logger, script).unwrap();
    std::fs::set_permissions(&logger, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut task = daemon.task(Bundle::new().sh("echo out; echo err >&2"));
    let uri = format!("binary://{}?key=value", logger.display());
    task.create_with(Io { stdout: uri.clone(), stderr: uri, ..Io::default() }).good();
    task.start();
    task.wait();
    task.delete();
    let expect = format!("{} {} key value\n", task.id, daemon.namespace());
    until_true("the log", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.starts_with(&expect) && text.contains("out\n") && text.contains("err\n")
    });
}

#[test]
fn a_container_that_closes_its_streams_runs_on() {
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut out = Output::new(daemon.path("out"));
    let bundle = Bundle::new().writable();
    let script = "echo last; exec >&- 2>&- <&-; touch /tmp/closed; while :; do sleep 0.02; done";
    let mut task = daemon.task(bundle.sh(script));
    task.create_with(Io::stdout(out.path())).good();
    task.start();
    assert!(out.read_until("last\n").ends_with("last\n"));
    let closed = task.bundle.rootfs().join("tmp/closed");
    until_true("the streams to be closed", || closed.exists());
    assert_eq!(task.sh("look", "kill -0 1"), 0);
    task.kill(9);
    assert_eq!(task.wait(), 137);
    task.delete();
}

#[test]
fn output_of_a_process_that_outlives_the_first_is_not_waited_for_for_ever() {
    require!(Need::Root);
    if Cgroups::detect().is_v2() {
        ours!("runc leaves the process on cgroup v2");
    }
    let daemon = Daemon::new();
    let mut out = Output::new(daemon.path("out"));
    // In the container's cgroup, and without the container's process namespace nobody ends it before Delete.
    let bundle = Bundle::new().without_namespace("pid").sh("sleep 1000 & echo first; exit 2");
    let mut task = daemon.task(bundle);
    task.create_with(Io::stdout(out.path())).good();
    task.start();
    assert_eq!(task.wait(), 2);
    assert_eq!(task.delete().exit_status, 2);
    assert_eq!(out.read_to_end(), "first\n");
}

#[test]
fn a_missing_fifo_is_refused_and_leaves_nothing() {
    ours!("the reference refuses it and leaves the container");
    require!(Need::Root);
    let daemon = Daemon::new();
    let mut task = daemon.task(Bundle::new());
    let missing = daemon.path("missing");
    task.create_with(Io::stdout(&missing)).unwrap_err();
    assert!(!missing.exists());
}

#[test]
fn a_logger_gets_what_a_terminal_shows() {
    ours!("containerd 1.6 does not hold back for it");
    require!(Need::Root);
    let daemon = Daemon::new();
    let log = daemon.path("log");
    let logger = daemon.path("logger");
    let script = format!(
        "#!/bin/sh\necho ready >&5\nexec 5>&-\ncat <&3 > {0}.part\necho END >> {0}.part\nmv {0}.part {0}\n",
        log.display()
    );
    std::fs::write(&logger, script).unwrap();
    std::fs::set_permissions(&logger, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bundle = Bundle::new().sh("tty; seq 1 3000").edit(|c| c["process"]["terminal"] = true.into());
    let mut task = daemon.task(bundle);
    let stdout = format!("binary-v2://{}", logger.display());
    task.create_with(Io { stdout, terminal: true, ..Io::default() }).good();
    task.start();
    task.wait();
    let text = gantry_testkit::until("the logger to end", || std::fs::read_to_string(&log).ok());
    assert!(text.starts_with("/dev/pts/0\r\n1\r\n") && text.ends_with("3000\r\nEND\n"), "{}", text.len());
    task.delete();
}
