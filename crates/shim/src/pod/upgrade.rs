//! In-place upgrade: another binary takes the place of this one in the same process, with its children, descriptors and
//! the calls that wait for an answer.
//!
//! ```text
//!   Upgrade{path} ─► nothing at work? ─► Handover to a memory file ─► execve(path, -handover FD)
//!                                                                       │ seals itself, reads it,
//!                                     Upgrade's answer ◄────────────────┘ reads the records, reaps
//! ```
//! The handover has a version; a binary that does not know it ends with an error, and a new shim can adopt the containers
//! as after a kill. docs/design/0004-shim.md, Upgrade (version 1).

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use gantry_proto_shim::Message;
use gantry_proto_shim::own::{UpgradeRequest, UpgradeResponse};
use gantry_sys::exec::{StringArray, execve};
use gantry_sys::process::{clear_cloexec_raw, set_cloexec_raw, take_inherited};
use gantry_ttrpc::server::{Connection, Suspended};
use gantry_types::ErrorKind;
use rustix::fs::{CWD, FileType, MemfdFlags, Mode, OFlags, fstat, memfd_create, openat};
use serde::{Deserialize, Serialize};

use super::connection::Caller;
use super::dispatch::Reply;
use super::{Identity, Pod};
use crate::failure::Failure;
use crate::stdio::Role;

/// The version of the handover.
const VERSION: u32 = 1;
/// The largest handover that is read, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// Everything that is not on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Handover {
    version: u32,
    identity: Identity,
    listener: i32,
    lock: i32,
    clients: Vec<HandedClient>,
    processes: Vec<HandedProcess>,
    /// The connection to the streams process.
    streams: Option<i32>,
    streams_pid: u32,
    streams_seq: u32,
    /// Who waits for the sandbox's end.
    sandbox_waiters: Vec<Caller>,
    last_serial: u32,
    /// Who asked for the upgrade.
    caller: Caller,
}

#[derive(Debug, Serialize, Deserialize)]
struct HandedClient {
    number: u32,
    socket: i32,
    last_stream: u32,
    waiting: Vec<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HandedProcess {
    id: String,
    exec_id: String,
    console: Option<i32>,
    held: Vec<(Role, i32)>,
    streams: Vec<(Role, i32)>,
    waiters: Vec<Caller>,
    #[serde(default)]
    requested: u64,
}

impl Pod {
    /// Executes another binary in the place of this one.
    pub(super) fn upgrade(&mut self, caller: Caller, request: &UpgradeRequest) -> Result<Reply, Failure> {
        let path = check(&request.path)?;
        let handover = self.hand_over(caller)?;
        let text = serde_json::to_vec(&handover).map_err(|error| Failure::invalid(error.to_string()))?;
        let memory = memfd_create(c"handover", MemfdFlags::CLOEXEC).map_err(Failure::call("memfd_create"))?;
        let mut rest = &text[..];
        while !rest.is_empty() {
            let written = rustix::io::write(&memory, rest).map_err(Failure::call("write the handover"))?;
            rest = &rest[written..];
        }
        rustix::fs::seek(&memory, rustix::fs::SeekFrom::Start(0)).map_err(Failure::call("seek"))?;
        let kept = handover.descriptors(memory.as_raw_fd());
        kept.iter().try_for_each(|fd| clear_cloexec_raw(*fd)).map_err(Failure::call("fcntl"))?;
        let errno = execute(&path, memory.as_raw_fd())?;
        // Still here: as before.
        for fd in kept {
            let _ = set_cloexec_raw(fd);
        }
        Err(Failure::call(format!("execute {}", request.path))(errno))
    }

    fn hand_over(&self, caller: Caller) -> Result<Handover, Failure> {
        let busy = || Failure::precondition("operations are at work; try again");
        if !self.operations.is_empty() || !self.opening.is_empty() || !self.unreaped.is_empty() {
            return Err(busy());
        }
        let listener = self.listener.as_ref().ok_or_else(busy)?;
        let (streams, streams_pid, streams_seq) = self.streams.suspend().ok_or_else(busy)?;
        let mut clients = Vec::new();
        for (number, client) in &self.clients {
            let Suspended { last_stream, waiting } = client.protocol.suspend().ok_or_else(busy)?;
            let socket = client.socket.as_raw_fd();
            clients.push(HandedClient { number: *number, socket, last_stream, waiting });
        }
        let raw = |fds: &[(Role, OwnedFd)]| fds.iter().map(|(role, fd)| (*role, fd.as_raw_fd())).collect();
        let processes = self.containers.iter().flat_map(|(id, container)| {
            container.processes().map(move |(exec_id, process)| HandedProcess {
                id: id.clone(),
                exec_id: exec_id.to_owned(),
                console: process.console.as_ref().map(AsRawFd::as_raw_fd),
                held: raw(&process.held),
                streams: raw(&process.streams),
                waiters: process.waiters.clone(),
                requested: process.requested,
            })
        });
        Ok(Handover {
            version: VERSION,
            identity: self.identity.clone(),
            listener: listener.as_raw_fd(),
            lock: self.lock.as_raw_fd(),
            clients,
            processes: processes.collect(),
            streams: streams.map(|fd| fd.as_raw_fd()),
            streams_pid,
            streams_seq,
            sandbox_waiters: self.sandbox.suspend().ok_or_else(busy)?,
            last_serial: self.last_serial,
            caller,
        })
    }

    fn inherit(handover: Handover) -> Result<Self, Failure> {
        let take = |fd: i32| take_inherited(fd).map_err(Failure::call(format!("descriptor {fd}")));
        let mut pod = Pod::open(handover.identity, take(handover.listener)?, take(handover.lock)?)?;
        pod.handed_over = true;
        pod.save_pod();
        pod.last_serial = handover.last_serial;
        pod.adopt_sandbox();
        pod.sandbox.resume(handover.sandbox_waiters);
        pod.adopt();
        for handed in handover.processes {
            let fds = |fds: Vec<(Role, i32)>| -> Result<Vec<(Role, OwnedFd)>, Failure> {
                fds.into_iter().map(|(role, fd)| Ok((role, take(fd)?))).collect()
            };
            let (console, held) = (handed.console.map(take).transpose()?, fds(handed.held)?);
            let streams = fds(handed.streams)?;
            let container = pod.containers.get_mut(&handed.id);
            if let Some(process) = container.and_then(|it| it.process_mut(&handed.exec_id)) {
                (process.console, process.held, process.streams) = (console, held, streams);
                process.waiters = handed.waiters;
                process.requested = handed.requested;
            }
        }
        for client in handover.clients {
            let HandedClient { number, socket, last_stream, waiting } = client;
            let protocol = Connection::resume(Suspended { last_stream, waiting });
            pod.welcome(number, take(socket)?, protocol);
        }
        if let Some(control) = handover.streams {
            pod.resume_streams(take(control)?, handover.streams_pid, handover.streams_seq)?;
        }
        // Who ended meanwhile is a child of ours, and was not reaped.
        pod.reap();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let answer = UpgradeResponse { pid: std::process::id(), version };
        pod.answer(handover.caller, Ok(answer.encode_to_vec()));
        Ok(pod)
    }
}

impl Handover {
    /// Everything that the next program keeps.
    fn descriptors(&self, memory: i32) -> Vec<i32> {
        let clients = self.clients.iter().map(|client| client.socket);
        let processes = self.processes.iter().flat_map(|process| {
            let pairs = process.held.iter().chain(&process.streams).map(|(_, fd)| *fd);
            process.console.into_iter().chain(pairs)
        });
        let own = [memory, self.listener, self.lock];
        own.into_iter().chain(self.streams).chain(clients).chain(processes).collect()
    }
}

/// A binary that may take our place: nobody but root may have written it.
fn check(path: &str) -> Result<CString, Failure> {
    let refuse = |reason: &str| Failure::invalid(format!("upgrade to {path:?}: {reason}"));
    if !Path::new(path).is_absolute() {
        return Err(refuse("not an absolute path"));
    }
    let name = CString::new(path).map_err(|_| refuse("has a NUL byte"))?;
    let file = openat(CWD, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(Failure::call(format!("open {path}")))?;
    let stat = fstat(&file).map_err(Failure::call(format!("stat {path}")))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refuse("not a regular file"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
        return Err(refuse("others may write to it"));
    }
    Ok(name)
}

/// Executes the binary; gives back why it could not be.
fn execute(path: &CString, memory: i32) -> Result<gantry_sys::Errno, Failure> {
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Failure::invalid("has a NUL byte"));
    let mut argv = vec![text(std::env::args_os().next().unwrap_or_default().into_vec())?];
    argv.push(text(b"-handover".to_vec())?);
    argv.push(text(memory.to_string().into_bytes())?);
    let mut envp = Vec::new();
    for (key, value) in std::env::vars_os() {
        envp.push(text([key.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    Ok(execve(path, &StringArray::new(argv), &StringArray::new(envp)))
}

/// Goes on in the place of another binary, until the pod is shut down.
///
/// # Errors
/// InvalidArgument for a handover of another version, and what setting up gives.
pub(crate) fn take_over(memory: i32) -> Result<(), Failure> {
    // Everything that was handed over is inherited until it is taken.
    crate::start::seal_self()?;
    let memory = take_inherited(memory).map_err(Failure::call("the handover"))?;
    let mut text = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let read = rustix::io::retry_on_intr(|| rustix::io::read(memory.as_fd(), &mut chunk[..]));
        match read.map_err(Failure::call("read the handover"))? {
            0 => break,
            len if text.len() + len > MAX_BYTES => {
                return Err(Failure::new(ErrorKind::ResourceExhausted, "the handover is too large"));
            }
            len => text.extend_from_slice(&chunk[..len]),
        }
    }
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let damaged = |error: serde_json::Error| Failure::invalid(format!("the handover: {error}"));
    let found = serde_json::from_slice::<Versioned>(&text).map_err(damaged)?.version;
    if found != VERSION {
        let text = format!("the handover has version {found}; this shim knows {VERSION}");
        return Err(Failure::invalid(text));
    }
    Pod::inherit(serde_json::from_slice(&text).map_err(damaged)?)?.run();
    Ok(())
}
