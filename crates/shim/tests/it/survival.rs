use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use gantry_logs::{Format, Stream};
use gantry_shim::streams::protocol::{Failure, Kind, Op, Reply, Role};
use gantry_testkit::until_true;

use crate::harness::{Pod, key, lines, logged, pipe, status, terminal};

#[test]
fn a_new_shim_finds_everything_and_no_line_is_lost() {
    let mut pod = Pod::new();
    let path = pod.path("c.log");
    let (mut stdout, stderr, mut stdin) = pod.add_log("c", &format!("json-file://{}", path.display()));
    let (master, slave) = terminal();
    pod.add("t", Kind::Terminal, None, &[(Role::Master, master.as_fd())]);
    let (held, other) = pipe();
    pod.add("h", Kind::Held, None, &[(Role::Held, held.as_fd())]);
    drop((master, held));
    let written = lines(20_000);
    let (first, second) = written.split_at(written.len() / 2);
    stdout.write_all(first).unwrap();
    pod.drop_shim();
    stdout.write_all(second).unwrap();
    pod.replace_shim();

    let seq = pod.ask(Op::List, &[]);
    assert_eq!(pod.answer(seq), Reply::Ack { seq, entries: Some(3) });
    for id in ["c", "t", "h"] {
        pod.wait_for(id, |reply| matches!(reply, Reply::Entry { add, .. } if add.key == key(id)));
    }
    let given = std::mem::take(&mut pod.given);
    let find = |id: &str, role: Role| {
        given.iter().find_map(|(reply, fds)| match reply {
            Reply::Entry { add, .. } if add.key.id == id => {
                fds.get(add.roles.iter().position(|found| *found == role)?)
            }
            _ => None,
        })
    };
    // They are the same descriptors.
    let input = find("c", Role::Stdin).unwrap();
    rustix::io::write(input, b"in").unwrap();
    let mut found = [0; 2];
    stdin.read_exact(&mut found).unwrap();
    let master = find("t", Role::Master).unwrap();
    gantry_sys::tty::set_size(master.as_fd(), 11, 12).unwrap();
    assert_eq!(rustix::termios::tcgetwinsize(&slave).unwrap().ws_row, 11);
    File::from(other).write_all(b"held").unwrap();
    let mut text = [0; 4];
    rustix::io::read(find("h", Role::Held).unwrap(), &mut text).unwrap();
    assert_eq!(&text, b"held");

    drop((stdout, stderr));
    pod.drained("c");
    assert!(logged(&path, Format::JsonFile, Stream::Stdout) == written);
    pod.ok(Op::Ended { key: key("c"), exit_status: 5 }, &[]);
    // What happened while nobody listened is in the list.
    pod.replace_shim();
    let seq = pod.ask(Op::List, &[]);
    pod.answer(seq);
    pod.wait_for(
        "c",
        |reply| matches!(reply, Reply::Entry { add, drained: true, ended: Some(5) } if add.key == key("c")),
    );
}

#[test]
fn it_ends_with_the_last_entry_and_the_last_shim() {
    let mut pod = Pod::new();
    let (stdout, stderr, stdin) = pod.add_log("c", &format!("cri://{}", pod.path("0.log").display()));
    pod.drop_shim();
    pod.replace_shim();
    pod.ok(Op::Remove(key("c")), &[]);
    drop((stdout, stderr, stdin));
    assert!(!pod.hear(Duration::from_millis(300)));
    assert!(pod.process.try_wait().unwrap().is_none());
    pod.drop_shim();
    pod.ends();
}

#[test]
fn a_log_writer_that_dies_is_replaced() {
    let mut pod = Pod::new();
    let path = pod.path("0.log");
    let (mut stdout, ..) = pod.add_log("c", &format!("cri://{}", path.display()));
    for round in 0..3 {
        let writer = pod.writers()[0];
        let line = format!("round {round}\n");
        stdout.write_all(line.as_bytes()).unwrap();
        until_true("the line", || logged(&path, Format::Cri, Stream::Stdout).ends_with(line.as_bytes()));
        gantry_sys::process::kill(writer, 9).unwrap();
        // Nothing is lost that nobody has read.
        until_true("another one", || pod.writers().first().is_some_and(|&pid| pid != writer));
    }
    until_true("the log to be open", || pod.counters("c").1 == 0);
    gantry_sys::process::kill(pod.writers()[0], 9).unwrap();
    pod.wait_for("the loss", |reply| matches!(reply, Reply::Lost { key: lost, .. } if *lost == key("c")));
}

#[test]
fn what_is_idle_does_not_wake_up() {
    let mut pod = Pod::new();
    let (mut stdout, ..) = pod.add_log("c", &format!("cri://{}", pod.path("0.log").display()));
    stdout.write_all(&lines(100_000)).unwrap();
    // Memory goes back after a while; then nothing happens.
    assert!(!pod.hear(Duration::from_secs(2)));
    let processes = [pod.process.id() as i32, pod.writers()[0]];
    let switches = || processes.map(|pid| status(pid, "voluntary_ctxt_switches"));
    let before = switches();
    assert!(!pod.hear(Duration::from_secs(2)));
    assert_eq!(switches(), before);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut pod = Pod::new();
    let uri = format!("cri://{}", pod.path("0.log").display());
    let _streams = pod.add_log("c", &uri);
    let mut refused = |op: Op| {
        let seq = pod.ask(op, &[]);
        match pod.answer(seq) {
            Reply::Failed { kind, .. } => kind,
            other => panic!("{other:?}"),
        }
    };
    let add =
        |kind, roles| Op::Add(gantry_shim::streams::protocol::Add { key: key("n"), kind, log: None, roles });
    assert_eq!(refused(Op::Hello { version: 2 }), Failure::Unimplemented);
    assert_eq!(refused(Op::List), Failure::FailedPrecondition);
    let seq = pod.ask(Op::Hello { version: 1 }, &[]);
    pod.answer(seq);
    let mut refused = |op: Op| {
        let seq = pod.ask(op, &[]);
        match pod.answer(seq) {
            Reply::Failed { kind, .. } => kind,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(Op::Reopen(key("n"))), Failure::NotFound);
    assert_eq!(refused(add(Kind::Terminal, Vec::new())), Failure::InvalidArgument);
    assert_eq!(refused(add(Kind::Pipes, vec![Role::Stdout])), Failure::InvalidArgument);
}
