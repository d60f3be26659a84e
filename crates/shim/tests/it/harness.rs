//! A streams process, and what a shim, a container and a client do with it.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gantry_shim::streams::protocol::{
    Add, Key, Kind, MAX_MESSAGE_BYTES, Op, Reply, Request, Role, VERSION, receive, send,
};
use gantry_testkit::{DEADLINE, until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

/// A shim and its streams process.
pub(crate) struct Pod {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) process: Child,
    control: Option<OwnedFd>,
    seq: u64,
    pub(crate) said: VecDeque<Reply>,
    /// Descriptors that came with an entry.
    pub(crate) given: Vec<(Reply, Vec<OwnedFd>)>,
}

pub(crate) fn key(id: &str) -> Key {
    Key { id: id.into(), exec: None }
}

impl Pod {
    pub(crate) fn new() -> Self {
        Self::start(|_, binary| Command::new(binary))
    }

    /// A pod in a mount namespace of its own, in which `script` was run with the pod's directory as `$1`.
    pub(crate) fn with_mounts(script: &str) -> Self {
        let script = format!("set -e; {script}; exec \"$0\" \"$1\"");
        Self::start(|_, binary| {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", &script]).arg(binary);
            command
        })
    }

    fn start(command: impl FnOnce(&Path, &OsStr) -> Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let mut command = command(dir.path(), env!("CARGO_BIN_EXE_gantry-streams-fixture").as_ref());
        let process = command.arg(dir.path()).stdin(Stdio::from(theirs)).spawn().unwrap();
        let (said, given) = (VecDeque::new(), Vec::new());
        let mut pod = Self { dir, process, control: Some(ours), seq: 0, said, given };
        pod.ok(Op::Hello { version: VERSION }, &[]);
        pod
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Sends a request: its number.
    pub(crate) fn ask(&mut self, op: Op, fds: &[BorrowedFd<'_>]) -> u64 {
        self.seq += 1;
        let request = Request { seq: self.seq, op };
        send(self.control.as_ref().unwrap().as_fd(), &request, fds).unwrap();
        self.seq
    }

    /// The answer to a request.
    pub(crate) fn answer(&mut self, seq: u64) -> Reply {
        let is_it = |reply: &Reply| matches!(reply, Reply::Ack { seq: found, .. } | Reply::Failed { seq: found, .. } if *found == seq);
        self.wait_for("an answer", is_it)
    }

    /// Waits for something that the streams process says.
    pub(crate) fn wait_for(&mut self, what: &str, mut is_it: impl FnMut(&Reply) -> bool) -> Reply {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.said.iter().position(&mut is_it) {
                return self.said.remove(at).unwrap();
            }
            assert!(self.hear(end.saturating_duration_since(Instant::now())), "waited for {what}");
        }
    }

    /// Takes one message, if one comes within `limit`.
    pub(crate) fn hear(&mut self, limit: Duration) -> bool {
        let control = self.control.as_ref().unwrap();
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
        if poll(&mut [PollFd::new(control, PollFlags::IN)], Some(&limit)).unwrap() == 0 {
            return false;
        }
        let mut buffer = vec![0; MAX_MESSAGE_BYTES];
        let message = receive::<Reply>(control.as_fd(), &mut buffer).unwrap();
        let (reply, fds) = message.expect("the streams process lives");
        if fds.is_empty() {
            self.said.push_back(reply);
        } else {
            self.said.push_back(reply.clone());
            self.given.push((reply, fds));
        }
        true
    }

    /// A request that succeeds.
    #[track_caller]
    pub(crate) fn ok(&mut self, op: Op, fds: &[BorrowedFd<'_>]) {
        let seq = self.ask(op, fds);
        let answer = self.answer(seq);
        assert!(matches!(answer, Reply::Ack { .. }), "{answer:?}");
    }

    #[track_caller]
    pub(crate) fn add(&mut self, id: &str, kind: Kind, log: Option<&str>, fds: &[(Role, BorrowedFd<'_>)]) {
        let roles = fds.iter().map(|(role, _)| *role).collect();
        let add = Add { key: key(id), kind, log: log.map(str::to_owned), roles };
        let fds: Vec<_> = fds.iter().map(|(_, fd)| *fd).collect();
        self.ok(Op::Add(add), &fds);
    }

    /// Adds a container with a log: the write ends of its output and error output, and the read end of its input.
    #[track_caller]
    pub(crate) fn add_log(&mut self, id: &str, uri: &str) -> (File, File, File) {
        let [(out, stdout), (err, stderr), (stdin, input)] = [pipe(), pipe(), pipe()];
        let fds = [(Role::Stdout, out.as_fd()), (Role::Stderr, err.as_fd()), (Role::Stdin, input.as_fd())];
        self.add(id, Kind::Pipes, Some(uri), &fds);
        (stdout.into(), stderr.into(), stdin.into())
    }

    pub(crate) fn drained(&mut self, id: &str) {
        let key = key(id);
        self.wait_for("the end of output", |reply| *reply == Reply::Drained(key.clone()));
    }

    pub(crate) fn counters(&mut self, id: &str) -> (u64, u64, u32) {
        let seq = self.ask(Op::Report, &[]);
        self.answer(seq);
        let is_it = |reply: &Reply| matches!(reply, Reply::Counters { seq: found, key, .. } if *found == seq && key.id == id);
        match self.wait_for("counters", is_it) {
            Reply::Counters { backlog_bytes, dropped_bytes, clients, .. } => {
                (backlog_bytes, dropped_bytes, clients)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The shim is killed, and another one connects.
    pub(crate) fn replace_shim(&mut self) {
        self.control = None;
        self.said.clear();
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(self.path("streams")).unwrap()).unwrap();
        self.control = Some(socket);
        self.ok(Op::Hello { version: VERSION }, &[]);
    }

    pub(crate) fn drop_shim(&mut self) {
        self.control = None;
    }

    /// The log writers' process ids.
    pub(crate) fn writers(&self) -> Vec<i32> {
        let pid = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Attaches a client.
    pub(crate) fn attach(&self, id: &str, wants: &str) -> (UnixStream, String) {
        let mut client = UnixStream::connect(self.path("attach")).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.write_all(format!("{{\"version\":1,\"id\":\"{id}\",{wants}}}\n").as_bytes()).unwrap();
        let (mut line, mut byte) = (Vec::new(), [0]);
        while client.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        (client, String::from_utf8(line).unwrap())
    }

    /// Waits until the process ends by itself.
    pub(crate) fn ends(&mut self) {
        let status = until("the streams process to end", || self.process.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(control) = &self.control {
            let _ = send(control.as_fd(), &Request { seq: 0, op: Op::Quit }, &[]);
        }
        if std::thread::panicking() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// Sends a frame.
pub(crate) fn send_frame(client: &mut UnixStream, stream: u8, bytes: &[u8]) {
    let [_, a, b, c] = (bytes.len() as u32).to_be_bytes();
    client.write_all(&[stream, a, b, c]).unwrap();
    client.write_all(bytes).unwrap();
}

/// Receives a frame; `None` at the end.
pub(crate) fn receive_frame(client: &mut UnixStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    client.read_exact(&mut header).ok()?;
    let [stream, a, b, c] = header;
    let mut bytes = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    client.read_exact(&mut bytes).ok()?;
    Some((stream, bytes))
}

/// Receives frames until those of `stream` contain `text`.
pub(crate) fn receive_text(client: &mut UnixStream, stream: u8, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let (found, bytes) =
            receive_frame(client).unwrap_or_else(|| panic!("the client's end, after {seen:?}"));
        if found == stream {
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    seen
}

/// A pipe: read end and write end.
pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC).unwrap()
}

/// Makes a FIFO.
pub(crate) fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// Opens a FIFO for reading and writing, as the shim does.
pub(crate) fn open_both(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// A terminal: master and slave.
pub(crate) fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, flags | OpenptFlags::CLOEXEC).unwrap();
    (master, slave)
}

/// A number from `/proc/PID/status`.
pub(crate) fn status(pid: i32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

/// The bytes of a stream of a log.
pub(crate) fn logged(path: &Path, format: gantry_logs::Format, stream: gantry_logs::Stream) -> Vec<u8> {
    let mut reader = gantry_logs::LogReader::open(path, format).unwrap();
    let mut bytes = Vec::new();
    for entry in reader.by_ref().map(Result::unwrap).filter(|entry| entry.stream == stream) {
        bytes.extend_from_slice(&entry.content);
        bytes.extend((entry.ending == gantry_logs::Ending::Line).then_some(b'\n'));
    }
    assert_eq!(reader.damaged_lines(), 0);
    bytes
}

/// So many numbered lines.
pub(crate) fn lines(count: usize) -> Vec<u8> {
    (0..count).map(|number| format!("line {number:08}\n")).collect::<String>().into_bytes()
}
