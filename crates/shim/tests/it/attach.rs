use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use gantry_logs::{Format, Stream};
use gantry_shim::streams::protocol::{Kind, Op, Reply, Role};
use gantry_testkit::until_true;

use crate::harness::{Pod, key, lines, logged, pipe, receive_frame, receive_text, send_frame, terminal};

const ALL: &str = "\"stdin\":true,\"stdout\":true,\"stderr\":true";
const READ: &str = "\"stdout\":true,\"stderr\":true";

#[test]
fn clients_of_a_log_see_and_write_what_the_log_does() {
    let mut pod = Pod::new();
    let path = pod.path("c.log");
    let (mut stdout, mut stderr, mut stdin) = pod.add_log("c", &format!("json-file://{}", path.display()));
    let (mut writer, welcome) = pod.attach("c", ALL);
    assert_eq!(welcome, "{\"version\":1,\"terminal\":false}");
    let (mut reader, _) = pod.attach("c", "\"stderr\":true");
    stdout.write_all(b"out").unwrap();
    stderr.write_all(b"err").unwrap();
    assert_eq!(receive_text(&mut writer, 1, "out"), "out");
    assert_eq!(receive_frame(&mut reader), Some((2, b"err".to_vec())));

    let (_, refused) = pod.attach("c", ALL);
    assert!(refused.contains("error"), "{refused}");
    send_frame(&mut writer, 0, b"input");
    let mut found = [0; 5];
    stdin.read_exact(&mut found).unwrap();
    assert_eq!(&found, b"input");
    send_frame(&mut writer, 0, b"");
    assert_eq!(stdin.read(&mut found).unwrap(), 0);
    pod.wait_for("the end of input", |reply| *reply == Reply::StdinClosed(key("c")));

    stdout.write_all(b"put\n").unwrap();
    drop((stdout, stderr));
    pod.ok(Op::Ended { key: key("c"), exit_status: 7 }, &[]);
    receive_text(&mut writer, 3, "{\"exit_status\":7}");
    assert_eq!(receive_frame(&mut writer), None);
    assert_eq!(receive_frame(&mut reader), Some((3, b"{\"exit_status\":7}".to_vec())));
    assert_eq!(receive_frame(&mut reader), None);
    assert_eq!(logged(&path, Format::JsonFile, Stream::Stdout), b"output\n");
    // Who comes late is told, too.
    let (mut late, _) = pod.attach("c", READ);
    receive_text(&mut late, 3, "{\"exit_status\":7}");
}

#[test]
fn the_exit_is_told_while_others_hold_the_streams_open() {
    let mut pod = Pod::new();
    let (mut stdout, ..) = pod.add_log("c", &format!("cri://{}", pod.path("0.log").display()));
    let (mut client, _) = pod.attach("c", READ);
    stdout.write_all(b"before").unwrap();
    pod.ok(Op::Ended { key: key("c"), exit_status: 0 }, &[]);
    assert_eq!(receive_frame(&mut client), Some((1, b"before".to_vec())));
    assert_eq!(receive_frame(&mut client), Some((3, b"{\"exit_status\":0}".to_vec())));
    stdout.write_all(b"after").unwrap();
    assert_eq!(receive_frame(&mut client), Some((1, b"after".to_vec())));
}

#[test]
fn a_terminal_is_served_to_clients() {
    let mut pod = Pod::new();
    let (master, slave) = terminal();
    pod.add("t", Kind::Terminal, None, &[(Role::Master, master.as_fd())]);
    drop(master);
    let mut slave = File::from(slave);
    let (mut client, welcome) = pod.attach("t", ALL);
    assert_eq!(welcome, "{\"version\":1,\"terminal\":true}");
    send_frame(&mut client, 4, &[0, 100, 0, 40]);
    send_frame(&mut client, 0, b"typed\n");
    assert_eq!(receive_text(&mut client, 1, "typed\r\n"), "typed\r\n");
    let mut line = [0; 6];
    slave.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"typed\n");
    let size = rustix::termios::tcgetwinsize(&slave).unwrap();
    assert_eq!((size.ws_col, size.ws_row), (100, 40));
    slave.write_all(b"bye").unwrap();
    drop(slave);
    pod.drained("t");
    pod.ok(Op::Ended { key: key("t"), exit_status: 137 }, &[]);
    assert_eq!(receive_text(&mut client, 1, "bye"), "bye");
    receive_text(&mut client, 3, "137");
    assert_eq!(receive_frame(&mut client), None);
}

#[test]
fn a_client_that_stalls_is_cut_off_and_the_container_goes_on() {
    let mut pod = Pod::new();
    let path = pod.path("c.log");
    let (mut stdout, stderr, _) = pod.add_log("c", &format!("json-file://{}", path.display()));
    let (mut stalled, _) = pod.attach("c", READ);
    let (mut slow, _) = pod.attach("c", READ);
    until_true("both", || pod.counters("c").2 == 2);
    let written = lines(1_000_000);
    let count = written.len();
    let reader = std::thread::spawn(move || {
        let mut seen = 0;
        while seen < count {
            seen += receive_frame(&mut slow).expect("a frame").1.len();
        }
        slow
    });
    // Waits for who reads, and for a while for who does not.
    stdout.write_all(&written).unwrap();
    let slow = reader.join().unwrap();
    drop((stdout, stderr));
    pod.drained("c");
    assert_eq!(pod.counters("c").2, 1);
    drop(slow);
    let mut seen = 0;
    while let Some((_, bytes)) = receive_frame(&mut stalled) {
        seen += bytes.len();
    }
    assert!(seen < written.len());
    assert!(logged(&path, Format::JsonFile, Stream::Stdout) == written);
}

#[test]
fn output_without_any_taker_is_dropped() {
    let mut pod = Pod::new();
    let (out, stdout) = pipe();
    pod.add("c", Kind::Pipes, None, &[(Role::Stdout, out.as_fd())]);
    let mut stdout = File::from(stdout);
    stdout.write_all(&lines(100_000)).unwrap();
    until_true("nothing on its way", || pod.counters("c").0 == 0);
    let (mut client, _) = pod.attach("c", READ);
    until_true("the client", || pod.counters("c").2 == 1);
    stdout.write_all(b"now").unwrap();
    assert!(receive_text(&mut client, 1, "now").ends_with("now"));
}

#[test]
fn greetings_that_make_no_sense_are_refused() {
    let mut pod = Pod::new();
    drop(pod.add_log("c", &format!("cri://{}", pod.path("0.log").display())));
    for (id, wants) in [("c", "\"stdin\":3"), ("nobody", READ), ("c\n", READ), (&"x".repeat(5000), READ)] {
        let (mut client, answer) = pod.attach(id, wants);
        assert!(answer.contains("error"), "{id} {wants}: {answer}");
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    }
}

#[test]
fn a_terminal_can_have_a_log_and_clients() {
    let mut pod = Pod::new();
    let path = pod.path("c.log");
    let (master, slave) = terminal();
    let uri = format!("json-file://{}", path.display());
    pod.add("t", Kind::Terminal, Some(&uri), &[(Role::Master, master.as_fd())]);
    drop(master);
    let mut slave = File::from(slave);
    let (mut client, welcome) = pod.attach("t", ALL);
    assert_eq!(welcome, "{\"version\":1,\"terminal\":true}");
    send_frame(&mut client, 4, &[0, 90, 0, 30]);
    slave.write_all(b"hello\n").unwrap();
    assert_eq!(receive_text(&mut client, 1, "hello\r\n"), "hello\r\n");
    until_true("the size", || rustix::termios::tcgetwinsize(&slave).unwrap().ws_col == 90);
    drop(slave);
    pod.drained("t");
    assert_eq!(logged(&path, Format::JsonFile, Stream::Stdout), b"hello\r\n");
}

#[test]
fn a_slow_client_gets_the_rest_of_an_entry_that_is_gone() {
    for log in [true, false] {
        let mut pod = Pod::new();
        let (mut stdout, held);
        if log {
            let (out, err, _) = pod.add_log("c", &format!("cri://{}", pod.path("0.log").display()));
            (stdout, held) = (out, Some(err));
        } else {
            let (read, write) = pipe();
            pod.add("c", Kind::Pipes, None, &[(Role::Stdout, read.as_fd())]);
            (stdout, held) = (File::from(write), None);
        }
        let (mut client, _) = pod.attach("c", READ);
        let written = lines(60_000);
        stdout.write_all(&written).unwrap();
        drop((stdout, held));
        pod.drained("c");
        pod.ok(Op::Ended { key: key("c"), exit_status: 9 }, &[]);
        pod.ok(Op::Remove(key("c")), &[]);
        pod.drop_shim();
        let (mut seen, mut exit) = (Vec::new(), Vec::new());
        while let Some((stream, bytes)) = receive_frame(&mut client) {
            if stream == 1 { &mut seen } else { &mut exit }.extend(bytes);
        }
        assert!(seen == written, "{log}: {} of {}", seen.len(), written.len());
        assert_eq!(exit, b"{\"exit_status\":9}");
        pod.ends();
    }
}
