use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use gantry_logs::{Format, Stream};
use gantry_shim::streams::protocol::{Add, Failure, Kind, Op, Reply};
use gantry_testkit::{Need, require, until_true};

use crate::harness::{Pod, key, lines, logged, status};

#[test]
fn a_flood_is_logged_whole() {
    let mut pod = Pod::new();
    let path = pod.path("c.log");
    let (mut stdout, mut stderr, _) = pod.add_log("c", &format!("json-file://{}", path.display()));
    let written = lines(400_000);
    stdout.write_all(&written).unwrap();
    stderr.write_all(b"last words").unwrap();
    drop((stdout, stderr));
    pod.drained("c");
    assert!(logged(&path, Format::JsonFile, Stream::Stdout) == written);
    assert_eq!(logged(&path, Format::JsonFile, Stream::Stderr), b"last words");
    pod.ok(Op::Remove(key("c")), &[]);
}

#[test]
fn rotated_files_are_compressed_by_another_process() {
    let mut pod = Pod::new();
    let path = pod.path("c.log");
    let options = "max-size=1000000&max-file=40&compress=true";
    let (mut stdout, ..) = pod.add_log("c", &format!("json-file://{}?{options}", path.display()));
    let written = lines(100_000);
    stdout.write_all(&written).unwrap();
    drop(stdout);
    pod.drained("c");
    until_true("every rotated file to be compressed", || {
        pod.path("c.log.8.gz").exists()
            && (1..40).all(|number| !pod.path(&format!("c.log.{number}")).exists())
    });
    assert!(logged(&path, Format::JsonFile, Stream::Stdout) == written);
}

#[test]
fn streams_that_are_closed_at_once_end_at_once() {
    let mut pod = Pod::new();
    let uri = format!("cri://{}", pod.path("0.log").display());
    drop(pod.add_log("c", &uri));
    pod.drained("c");
    pod.ok(Op::Ended { key: key("c"), exit_status: 3 }, &[]);
    pod.ok(Op::Remove(key("c")), &[]);
    let seq = pod.ask(Op::Remove(key("c")), &[]);
    assert!(matches!(pod.answer(seq), Reply::Failed { kind: Failure::NotFound, .. }));
}

#[test]
fn output_of_processes_in_the_background_is_logged_after_the_end() {
    let mut pod = Pod::new();
    let path = pod.path("0.log");
    let (mut stdout, ..) = pod.add_log("c", &format!("cri://{}", path.display()));
    pod.ok(Op::Ended { key: key("c"), exit_status: 0 }, &[]);
    stdout.write_all(b"still here\n").unwrap();
    until_true("the line", || logged(&path, Format::Cri, Stream::Stdout) == b"still here\n");
    stdout.write_all(b"until").unwrap();
    until_true("the read", || pod.counters("c").0 == 5);
    pod.ok(Op::Remove(key("c")), &[]);
    until_true("the rest", || logged(&path, Format::Cri, Stream::Stdout) == b"still here\nuntil");
}

#[test]
fn a_line_without_end_takes_little_memory() {
    const BYTES: usize = 64 << 20;
    for (id, uri, format) in [
        ("json", "json-file://PATH?max-size=10000000&max-file=20", Format::JsonFile),
        ("cri", "cri://PATH", Format::Cri),
        ("unlimited", "cri://PATH?max-line=-1", Format::Cri),
    ] {
        let mut pod = Pod::new();
        let path = pod.path(id);
        let (mut stdout, stderr, _) = pod.add_log(id, &uri.replace("PATH", &path.display().to_string()));
        let writer = pod.writers()[0];
        let part = vec![b'x'; 1 << 20];
        for _ in 0..BYTES / part.len() {
            stdout.write_all(&part).unwrap();
        }
        drop((stdout, stderr));
        pod.drained(id);
        let found = logged(&path, format, Stream::Stdout);
        assert!(found.len() == BYTES && found.iter().all(|&byte| byte == b'x'), "{id}");
        let peak = status(writer, "VmHWM");
        assert!(peak < 10 << 10, "{id}: {peak} KiB");
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_refused() {
    let mut pod = Pod::new();
    for (log, expected) in [
        (format!("json-file://{}", pod.dir.path().display()), Failure::InvalidArgument),
        ("syslog:///dev/log".into(), Failure::InvalidArgument),
        ("cri:///proc/none/log".into(), Failure::NotFound),
    ] {
        let add = Add { key: key("c"), kind: Kind::Pipes, log: Some(log.clone()), roles: Vec::new() };
        let seq = pod.ask(Op::Add(add), &[]);
        match pod.answer(seq) {
            Reply::Failed { kind, .. } => assert_eq!(kind, expected, "{log}"),
            other => panic!("{log}: {other:?}"),
        }
    }
    until_true("no log writer", || pod.writers().is_empty());
}

#[test]
fn a_log_is_reopened_after_a_rotation_by_others() {
    let mut pod = Pod::new();
    let path = pod.path("0.log");
    let (mut stdout, ..) = pod.add_log("c", &format!("cri://{}", path.display()));
    for day in 1..6 {
        stdout.write_all(format!("day {day}\n").as_bytes()).unwrap();
        fs::rename(&path, pod.path(&format!("0.log.2024030{day}-000000"))).unwrap();
        stdout.write_all(b"between\n").unwrap();
        pod.ok(Op::Reopen(key("c")), &[]);
    }
    drop(stdout);
    pod.ok(Op::Remove(key("c")), &[]);
    let expected: String = (1..6).map(|day| format!("day {day}\nbetween\n")).collect();
    until_true("every line once", || {
        String::from_utf8(logged(&path, Format::Cri, Stream::Stdout)).unwrap() == expected
    });
}

#[test]
fn a_full_disk_stops_nobody_and_is_told_of() {
    require!(Need::Root);
    let mut pod = Pod::with_mounts("mkdir $1/disk; mount -t tmpfs -o size=256k tmpfs $1/disk");
    let inside = pod.path("disk");
    let (mut stdout, ..) = pod.add_log("c", &format!("json-file://{}/c.log", inside.display()));
    let other = pod.path("other.log");
    let (mut blocking, ..) = pod.add_log("b", &format!("cri://{}/b.log", inside.display()));
    let (mut free, ..) = pod.add_log("f", &format!("cri://{}", other.display()));
    let written = lines(400_000);
    // The container is never stopped.
    stdout.write_all(&written).unwrap();
    let outside = std::path::PathBuf::from(format!("/proc/{}/root{}", pod.process.id(), inside.display()));
    until_true("dropped bytes", || pod.counters("c").1 > 0);
    free.write_all(b"free\n").unwrap();
    until_true("the other disk's log", || logged(&other, Format::Cri, Stream::Stdout) == b"free\n");
    assert!(fs::read(outside.join("c.log")).unwrap().ends_with(b"}\n"));

    // This one waits, and loses nothing.
    let writer = std::thread::spawn(move || blocking.write_all(&lines(100_000)));
    until_true("back-pressure", || pod.counters("b").0 > 1 << 20);
    let grow = format!("mount -o remount,size=64m {}", inside.display());
    let pid = pod.process.id().to_string();
    let grown =
        Command::new("nsenter").args(["--mount", "--target", &pid, "sh", "-c", &grow]).status().unwrap();
    assert!(grown.success());
    writer.join().unwrap().unwrap();
    pod.drained("b");
    assert!(logged(&outside.join("b.log"), Format::Cri, Stream::Stdout) == lines(100_000));
    let (_, dropped, _) = pod.counters("c");
    until_true("the notice", || {
        let notice = logged(&outside.join("c.log"), Format::JsonFile, Stream::Stderr);
        String::from_utf8(notice).unwrap().contains(&format!(" {dropped} bytes"))
    });
    let kept = logged(&outside.join("c.log"), Format::JsonFile, Stream::Stdout);
    assert_eq!(kept.len() as u64 + dropped, written.len() as u64);
}

/// A file system whose writes wait.
struct Frozen(String);

impl Frozen {
    fn new(path: String) -> Self {
        assert!(Command::new("fsfreeze").args(["-f", &path]).status().unwrap().success());
        Self(path)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").args(["-u", &self.0]).status();
    }
}

#[test]
fn a_disk_that_does_not_answer_stops_its_own_log_alone() {
    require!(Need::Root, Need::Program("mkfs.ext4"), Need::Program("fsfreeze"), Need::File("/dev/loop0"));
    let script =
        "mkdir $1/disk; truncate -s 32M $1/image; mkfs.ext4 -q $1/image; mount -o loop $1/image $1/disk";
    let mut pod = Pod::with_mounts(script);
    let slow = format!("/proc/{}/root{}", pod.process.id(), pod.path("disk").display());
    let (mut held, ..) = pod.add_log("h", &format!("json-file://{}/h.log", pod.path("disk").display()));
    let path = pod.path("f.log");
    let (mut free, ..) = pod.add_log("f", &format!("json-file://{}", path.display()));
    let frozen = Frozen::new(slow.clone());
    held.write_all(b"waits\n").unwrap();

    let end = Instant::now() + Duration::from_secs(10);
    let (mut count, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < end {
        let start = Instant::now();
        free.write_all(b"goes on\n").unwrap();
        count += 1;
        until_true("the line", || {
            fs::read(&path).unwrap_or_default().iter().filter(|&&byte| byte == b'\n').count() == count
        });
        slowest = slowest.max(start.elapsed());
        // The hub answers.
        assert_eq!(pod.counters("f").1, 0);
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(fs::read(format!("{slow}/h.log")).unwrap().is_empty());
    drop(frozen);
    drop(held);
    pod.drained("h");
    assert_eq!(logged(format!("{slow}/h.log").as_ref(), Format::JsonFile, Stream::Stdout), b"waits\n");
}

#[test]
fn local_logs_are_rotated_and_compressed() {
    let mut pod = Pod::new();
    let path = pod.path("c.log");
    let (mut stdout, ..) =
        pod.add_log("c", &format!("local://{}?max-size=100000&max-file=90", path.display()));
    let written = lines(50_000);
    stdout.write_all(&written).unwrap();
    drop(stdout);
    pod.drained("c");
    assert!(logged(&path, Format::Local, Stream::Stdout) == written);
    pod.ok(Op::Remove(key("c")), &[]);
    assert!(pod.path("c.log.9.gz").exists());
}

#[test]
fn a_flood_reaches_a_daemon_whose_name_is_resolved_and_the_cache_beside_it() {
    let mut pod = Pod::new();
    let cache = pod.path("cache");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let uri =
        format!("syslog://?address=tcp://localhost:{port}&tag=t&mode=blocking&cache={}", cache.display());
    let (mut stdout, ..) = pod.add_log("c", &uri);
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(listener.accept().unwrap().0).lines();
        lines.map(|line| line.unwrap().split_once("]: ").unwrap().1.to_owned() + "\n").collect::<String>()
    });
    let written = lines(100_000);
    stdout.write_all(&written).unwrap();
    drop(stdout);
    pod.drained("c");
    pod.ok(Op::Remove(key("c")), &[]);
    assert!(reader.join().unwrap().into_bytes() == written);
    assert!(logged(&cache, Format::Local, Stream::Stdout) == written);
}

#[test]
fn a_daemon_that_is_not_there_stops_nobody_and_gets_its_messages_when_it_comes() {
    let mut pod = Pod::new();
    let (path, cache) = (pod.path("journal"), pod.path("cache"));
    let uri = format!("journald://?socket={}&tag=t&cache={}", path.display(), cache.display());
    let (mut stdout, ..) = pod.add_log("c", &uri);
    stdout.write_all(b"one\n").unwrap();
    until_true("the cache", || logged(&cache, Format::Local, Stream::Stdout) == b"one\n");
    stdout.write_all(b"two\n").unwrap();
    until_true("the cache, although the daemon is waited for", || {
        logged(&cache, Format::Local, Stream::Stdout) == b"one\ntwo\n"
    });
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = [0; 4096];
    for line in ["one", "two"] {
        let len = socket.recv(&mut buffer).unwrap();
        assert!(buffer[..len].starts_with(format!("MESSAGE={line}\nPRIORITY=6\n").as_bytes()));
    }
    drop(stdout);
    pod.drained("c");
    pod.ok(Op::Remove(key("c")), &[]);
}

#[test]
fn a_log_to_a_daemon_that_never_comes_ends_all_the_same() {
    let mut pod = Pod::new();
    let cache = pod.path("cache");
    let uri = format!("syslog://?address=tcp://127.0.0.1:1&tag=t&cache={}", cache.display());
    let (mut stdout, ..) = pod.add_log("c", &uri);
    stdout.write_all(&lines(1000)).unwrap();
    drop(stdout);
    let begun = Instant::now();
    pod.ok(Op::Remove(key("c")), &[]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(logged(&cache, Format::Local, Stream::Stdout) == lines(1000));
}
