//! Terminals: the console socket, sizes, foreground terminals, standard streams.

use gantry_testkit::{Bundle, Need, Peer, Receiver, Report, Runtime, Terminal, require};
use serde_json::json;

fn terminal_bundle() -> Bundle {
    Bundle::new().edit(|c| c["process"]["terminal"] = json!(true))
}

#[test]
fn the_console_socket_gets_the_terminal() {
    let runtime = Runtime::new();
    let bundle = terminal_bundle().sh("tty; read line; echo \"got $line\"");
    let container = runtime.container(&bundle);
    let receiver = Receiver::listen(runtime.scratch().join("console"));
    container.create_command(&["--console-socket", receiver.path()]).run().ok();
    let received = receiver.receive();
    assert_eq!(received.fds.len(), 1);
    assert!(!received.message.is_empty(), "runc sends the terminal's name along");
    let mut terminal = Terminal::new(received.fds.into_iter().next().unwrap());
    container.start().ok();
    terminal.read_until("/dev/pts/0");
    terminal.write("hello\n");
    terminal.read_until("got hello");
}

#[test]
fn the_terminal_controls_the_first_process() {
    let runtime = Runtime::new();
    let bundle = terminal_bundle().probe(&[]);
    let container = runtime.container(&bundle);
    let receiver = Receiver::listen(runtime.scratch().join("console"));
    container.create_command(&["--console-socket", receiver.path()]).run().ok();
    let mut terminal = Terminal::new(receiver.receive().fds.remove(0));
    container.start().ok();
    let text = terminal.read_to_end();
    let report = Report::parse(&text);
    let seen = &report.0["terminal"];
    assert_eq!(seen["controlling"], true);
    assert_eq!(seen["name"], "/dev/pts/0");
    let fds = report.fds();
    assert_eq!(fds.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert!(fds.values().all(|link| link == "/dev/pts/0"), "{fds:?}");
}

#[test]
fn dev_console_is_the_terminal() {
    let runtime = Runtime::new();
    let bundle = terminal_bundle().sh("echo through >/dev/console; stat -c %t:%T /dev/console /dev/pts/0");
    let container = runtime.container(&bundle);
    let receiver = Receiver::listen(runtime.scratch().join("console"));
    container.create_command(&["--console-socket", receiver.path()]).run().ok();
    let mut terminal = Terminal::new(receiver.receive().fds.remove(0));
    container.start().ok();
    let text = terminal.read_to_end();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(lines[0], "through");
    assert_eq!(lines[1], lines[2], "{text}");
}

#[test]
fn the_console_size_is_set() {
    let runtime = Runtime::new();
    let bundle = terminal_bundle()
        .args(["stty", "size"])
        .edit(|c| c["process"]["consoleSize"] = json!({ "height": 33, "width": 111 }));
    let container = runtime.container(&bundle);
    let receiver = Receiver::listen(runtime.scratch().join("console"));
    container.create_command(&["--console-socket", receiver.path()]).run().ok();
    let mut terminal = Terminal::new(receiver.receive().fds.remove(0));
    assert_eq!(terminal.size(), (33, 111));
    container.start().ok();
    assert!(terminal.read_to_end().contains("33 111"));
}

#[test]
fn a_resize_reaches_the_container() {
    let runtime = Runtime::new();
    let bundle =
        terminal_bundle().sh("trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.02; done");
    let container = runtime.container(&bundle);
    let receiver = Receiver::listen(runtime.scratch().join("console"));
    container.create_command(&["--console-socket", receiver.path()]).run().ok();
    let mut terminal = Terminal::new(receiver.receive().fds.remove(0));
    container.start().ok();
    terminal.read_until("ready");
    terminal.resize(44, 99);
    terminal.read_until("44 99");
}

#[test]
fn the_terminal_belongs_to_the_user_of_the_process() {
    let runtime = Runtime::new();
    let bundle = terminal_bundle()
        .args(["stat", "-c", "%u:%g %a", "/dev/pts/0"])
        .edit(|c| c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    let container = runtime.container(&bundle);
    let receiver = Receiver::listen(runtime.scratch().join("console"));
    container.create_command(&["--console-socket", receiver.path()]).run().ok();
    let mut terminal = Terminal::new(receiver.receive().fds.remove(0));
    container.start().ok();
    assert!(terminal.read_to_end().contains("1000:5 620"));
}

#[test]
fn exec_with_a_terminal_uses_a_console_socket_of_its_own() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let receiver = Receiver::listen(runtime.scratch().join("console"));
    let options = ["--tty", "--detach", "--console-socket", receiver.path()];
    container.exec(&options, ["sh", "-c", "tty; stty size; read line; echo \"got $line\""]).ok();
    let mut terminal = Terminal::new(receiver.receive().fds.remove(0));
    terminal.read_until("/dev/pts/0");
    terminal.write("hello\n");
    terminal.read_until("got hello");
}

#[test]
fn exec_process_takes_its_terminal_from_the_file() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let receiver = Receiver::listen(runtime.scratch().join("console"));
    let process = json!({
        "terminal": true, "args": ["stty", "size"], "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 },
        "consoleSize": { "height": 10, "width": 110 },
    });
    container.exec_process(&process, &["--detach", "--console-socket", receiver.path()]).ok();
    let mut terminal = Terminal::new(receiver.receive().fds.remove(0));
    terminal.read_until("10 110");
}

#[test]
fn run_in_a_terminal_connects_it() {
    let runtime = Runtime::new();
    let bundle = terminal_bundle().sh("test -t 0 && test -t 1 && test -t 2 && echo all; \
        until stty size 2>/dev/null | grep 21; do sleep 0.02; done; exit 5");
    let (mut terminal, other) = Terminal::pair();
    terminal.resize(21, 77);
    let call =
        runtime.run_command(&bundle, &[]).redirected(">&0 2>&0").wrapped(["setsid", "--ctty", "--wait"]);
    let running = call.stdin_fd(other).spawn();
    terminal.read_until("all");
    terminal.read_until("21 77");
    running.wait().exits(5);
}

#[test]
fn exec_in_a_terminal_connects_it() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let (mut terminal, other) = Terminal::pair();
    let call = container.exec_command(&["-t"], ["sh", "-c", "read line; echo \"got $line\"; exit 6"]);
    let call = call.redirected(">&0 2>&0").wrapped(["setsid", "--ctty", "--wait"]);
    let running = call.stdin_fd(other).spawn();
    terminal.write("hello\n");
    terminal.read_until("got hello");
    running.wait().exits(6);
}

#[test]
fn a_detached_terminal_without_a_console_socket_is_refused() {
    let runtime = Runtime::new();
    let bundle = terminal_bundle().sleeping();
    let output = runtime.container(&bundle).create().fails();
    output.says_any(&[
        "cannot allocate tty if runc will detach without setting console socket",
        "console socket",
    ]);
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_console_socket_without_a_terminal_is_refused() {
    require!(Need::Not(Peer::Crun, "ignores it"));
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let receiver = Receiver::listen(runtime.scratch().join("console"));
    let output = runtime.container(&bundle).create_command(&["--console-socket", receiver.path()]).run();
    output.fails().says("console socket");
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_console_socket_that_nobody_listens_on_is_refused() {
    let runtime = Runtime::new();
    let bundle = terminal_bundle();
    let socket = runtime.scratch().join("nobody");
    let container = runtime.container(&bundle);
    container.create_command(&["--console-socket", socket.to_str().unwrap()]).run().fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn terminals_of_two_processes_are_different() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let start = |name: &str| {
        let receiver = Receiver::listen(runtime.scratch().join(name));
        let options = ["--tty", "--detach", "--console-socket", receiver.path()];
        container.exec(&options, ["sh", "-c", "tty; sleep 1000"]).ok();
        Terminal::new(receiver.receive().fds.remove(0))
    };
    let (mut one, mut two) = (start("one"), start("two"));
    one.read_until("/dev/pts/0");
    two.read_until("/dev/pts/1");
}

#[test]
fn standard_streams_can_be_opened_again_by_an_ordinary_user() {
    let runtime = Runtime::new();
    let bundle = Bundle::new()
        .sh("echo out >/dev/stdout; echo err >/dev/stderr; id -u")
        .edit(|c| c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    // With pipes, as engines use them: they must be given to the user.
    let call = runtime.run_command(&bundle, &[]);
    let output = call.wrapped(["/bin/bash", "-o", "pipefail", "-c", "\"$0\" \"$@\" 2>&1 | cat"]).run().ok();
    let mut lines = output.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["1000", "err", "out"]);
}
