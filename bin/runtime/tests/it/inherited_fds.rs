//! Descriptors that a container keeps: `--preserve-fds` and `LISTEN_FDS`.

use std::fs;

use gantry_testkit::{Bundle, Invocation, Report, Runtime};

/// Lists the descriptors of the shell that runs it.
const LIST: &str = "ls /proc/self/fd | tr '\\n' ' '; for fd in 3 4 5; do \
    if [ -e /proc/self/fd/$fd ]; then read line <&$fd; echo \"$fd=$line\"; fi; done";

fn files(runtime: &Runtime) -> String {
    let dir = runtime.scratch();
    for n in 3..=5 {
        fs::write(dir.join(n.to_string()), format!("file{n}\n")).unwrap();
    }
    let dir = dir.to_str().unwrap().to_owned();
    format!("3<{dir}/3 4<{dir}/4 5<{dir}/5")
}

fn values(call: Invocation) -> Vec<String> {
    let output = call.run().ok();
    output
        .lines()
        .into_iter()
        .filter(|line| line.contains('='))
        .map(|line| {
            line[line.find(|c: char| c.is_ascii_digit()).unwrap()..].rsplit(' ').next().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn preserve_fds_keeps_that_many() {
    let runtime = Runtime::new();
    let redirections = files(&runtime);
    let bundle = Bundle::new().sh(LIST);
    let run = |options: &[&str]| values(runtime.run_command(&bundle, options).redirected(&redirections));
    assert_eq!(run(&["--preserve-fds", "3"]), ["3=file3", "4=file4", "5=file5"]);
    assert_eq!(run(&["--preserve-fds", "1"]), ["3=file3"]);
    assert_eq!(run(&[]), Vec::<String>::new());
}

#[test]
fn preserve_fds_works_with_create_and_start() {
    let runtime = Runtime::new();
    let redirections = files(&runtime);
    let bundle = Bundle::new().writable().sh("read line <&3; echo $line >/got");
    let container = runtime.container(&bundle);
    container.create_command(&["--preserve-fds", "1"]).redirected(&redirections).run().ok();
    container.start().ok();
    container.wait_for("stopped");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("got")).unwrap(), "file3\n");
}

#[test]
fn preserve_fds_works_with_exec() {
    let runtime = Runtime::new();
    let redirections = files(&runtime);
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let call = container.exec_command(&["--preserve-fds", "2"], ["sh", "-c", LIST]);
    assert_eq!(values(call.redirected(&redirections)), ["3=file3", "4=file4"]);
    let call = container.exec_command(&[], ["sh", "-c", LIST]);
    assert_eq!(values(call.redirected(&redirections)), Vec::<String>::new());
}

#[test]
fn preserved_descriptors_that_are_not_open_are_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let container = runtime.container(&bundle);
    runtime.run_named(&bundle, container.id(), &["--preserve-fds", "40"]).run().fails();
    // runc 1.3 leaves the state directory behind, which the guard deletes.
    assert!(runtime.leftovers().is_empty() || !runtime.is_ours());
}

/// What systemd does before it executes a program that it activates: the pid has to be that program's own.
fn activated(count: &str) -> [String; 3] {
    let script = format!("export LISTEN_FDS={count} LISTEN_PID=$$; exec \"$0\" \"$@\"");
    ["/bin/bash".to_owned(), "-c".to_owned(), script]
}

#[test]
fn listen_fds_of_another_process_are_ignored() {
    let runtime = Runtime::new();
    let redirections = files(&runtime);
    let bundle = Bundle::new().probe(&[]);
    let call = runtime.run_command(&bundle, &[]).env("LISTEN_FDS", "2").env("LISTEN_PID", "1");
    let report = Report::parse(&call.redirected(&redirections).run().ok().stdout);
    assert_eq!(report.fds().into_keys().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(report.env("LISTEN_FDS"), None);
}

#[test]
fn listen_fds_are_passed_with_their_number_and_the_pid() {
    let runtime = Runtime::new();
    let redirections = files(&runtime);
    let bundle = Bundle::new().probe(&[]);
    let call = runtime.run_command(&bundle, &[]).redirected(&redirections).wrapped(activated("2"));
    let report = Report::parse(&call.run().ok().stdout);
    assert_eq!(report.env("LISTEN_FDS"), Some("2"));
    assert_eq!(report.env("LISTEN_PID"), Some("1"));
    assert_eq!(report.fds().into_keys().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn listen_fds_and_preserve_fds_add_up() {
    let runtime = Runtime::new();
    let redirections = files(&runtime);
    let bundle = Bundle::new().probe(&[]);
    let call = runtime.run_command(&bundle, &["--preserve-fds", "2"]).redirected(&redirections);
    let report = Report::parse(&call.wrapped(activated("1")).run().ok().stdout);
    assert_eq!(report.fds().into_keys().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn descriptors_of_the_caller_are_not_inherited() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().probe(&[]);
    let report = |call: Invocation| {
        let output = call.redirected("9</etc/passwd 20</ 3</sys/fs/cgroup").run().ok();
        Report::parse(&output.stdout).fds().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(report(runtime.run_command(&bundle, &[])), [0, 1, 2]);
    let container = runtime.running(&Bundle::new()).id().to_owned();
    drop(container);
    let sleeping = Bundle::new().probe(&[]).sleeping();
    let container = runtime.running(&sleeping);
    assert_eq!(report(container.exec_command(&[], ["/bin/gantry-probe"])), [0, 1, 2]);
}
