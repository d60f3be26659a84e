use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use gantry_shim::streams::protocol::{Kind, Op, Reply, Role};
use gantry_testkit::until_true;

use crate::harness::{Pod, fifo, key, lines, open_both, pipe, terminal};

/// A relay of output: the container's end and the client's.
fn relay(pod: &mut Pod, id: &str) -> (File, File) {
    let path = pod.path(id);
    fifo(&path);
    let (out, stdout) = pipe();
    let both = open_both(&path);
    pod.add(id, Kind::Pipes, None, &[(Role::Stdout, out.as_fd()), (Role::StdoutFifo, both.as_fd())]);
    let client =
        OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path);
    (stdout.into(), client.unwrap())
}

fn read_all(client: &mut File, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut at = 0;
    until_true("output", || {
        match client.read(&mut bytes[at..]) {
            Ok(more) => at += more,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        at == len
    });
    bytes
}

#[test]
fn a_client_that_never_reads_stops_its_container_alone() {
    let mut pod = Pod::new();
    let (mut stuck, mut idle_client) = relay(&mut pod, "stuck");
    let (mut free, mut client) = relay(&mut pod, "free");
    let written = lines(100_000);
    let flood = written.clone();
    let writer = std::thread::spawn(move || stuck.write_all(&flood));
    until_true("back-pressure", || pod.counters("stuck").0 > 0);
    for _ in 0..3 {
        free.write_all(b"hello").unwrap();
        assert_eq!(read_all(&mut client, 5), b"hello");
    }
    assert!(!writer.is_finished());
    // It comes back, and has missed nothing.
    assert!(read_all(&mut idle_client, written.len()) == written);
    writer.join().unwrap().unwrap();
    pod.drained("stuck");
}

#[test]
fn a_flood_passes_a_relay_whole() {
    let mut pod = Pod::new();
    let (mut stdout, mut client) = relay(&mut pod, "c");
    let written = lines(1_000_000);
    let flood = written.clone();
    let writer = std::thread::spawn(move || stdout.write_all(&flood));
    assert!(read_all(&mut client, written.len()) == written);
    writer.join().unwrap().unwrap();
    pod.drained("c");
}

#[test]
fn small_output_without_a_client_waits_in_the_fifo() {
    let mut pod = Pod::new();
    let (mut stdout, client) = relay(&mut pod, "c");
    drop(client);
    let mut expected = Vec::new();
    for number in 0..1000 {
        let line = format!("{number}\n");
        stdout.write_all(line.as_bytes()).unwrap();
        expected.extend_from_slice(line.as_bytes());
    }
    drop(stdout);
    pod.drained("c");
    let mut client = open_both(&pod.path("c"));
    let mut found = vec![0; expected.len()];
    client.read_exact(&mut found).unwrap();
    assert!(found == expected);
}

#[test]
fn input_goes_on_from_client_to_client_until_it_is_closed() {
    let mut pod = Pod::new();
    let path = pod.path("stdin");
    fifo(&path);
    let hold = open_both(&path);
    let client_end = File::open(&path).unwrap();
    let (stdin, input) = pipe();
    pod.add(
        "c",
        Kind::Pipes,
        None,
        &[
            (Role::StdinFifo, client_end.as_fd()),
            (Role::StdinHold, hold.as_fd()),
            (Role::Stdin, input.as_fd()),
        ],
    );
    drop((hold, client_end, input));
    let mut stdin = File::from(stdin);
    for text in [b"one", b"two"] {
        OpenOptions::new().write(true).open(&path).unwrap().write_all(text).unwrap();
        let mut found = [0; 3];
        stdin.read_exact(&mut found).unwrap();
        assert_eq!(&found, text);
    }
    let mut last = OpenOptions::new().write(true).open(&path).unwrap();
    pod.ok(Op::CloseStdin(key("c")), &[]);
    last.write_all(b"end").unwrap();
    drop(last);
    let mut rest = Vec::new();
    stdin.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"end");
    pod.wait_for("the end of input", |reply| *reply == Reply::StdinClosed(key("c")));
}

#[test]
fn a_terminal_is_served_by_fifos() {
    let mut pod = Pod::new();
    let (stdin, stdout) = (pod.path("stdin"), pod.path("stdout"));
    fifo(&stdin);
    fifo(&stdout);
    let (hold, out) = (open_both(&stdin), open_both(&stdout));
    let client_end = File::open(&stdin).unwrap();
    let (master, slave) = terminal();
    pod.add(
        "t",
        Kind::Terminal,
        None,
        &[
            (Role::Master, master.as_fd()),
            (Role::StdinFifo, client_end.as_fd()),
            (Role::StdinHold, hold.as_fd()),
            (Role::StdoutFifo, out.as_fd()),
        ],
    );
    drop((master, client_end, hold));
    let mut slave = File::from(slave);
    let mut reader = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(&stdout)
        .unwrap();
    // Typed by a client that goes: echoed, and read by the process.
    OpenOptions::new().write(true).open(&stdin).unwrap().write_all(b"echo\n").unwrap();
    let mut line = [0; 5];
    slave.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"echo\n");
    assert_eq!(read_all(&mut reader, 6), b"echo\r\n");
    // What is written just before the hang-up comes out.
    let last = vec![b'z'; 3000];
    slave.write_all(&last).unwrap();
    drop(slave);
    assert!(read_all(&mut reader, 3000) == last);
    pod.drained("t");
    drop(out);
}
