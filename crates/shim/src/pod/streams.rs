//! The streams process in the pod's loop: who is served by it, and what it says.
//!
//! Both hold the descriptors: a streams process that dies is replaced and given them again, a shim that dies gets them from
//! the streams process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use gantry_proto_shim::own::ReopenLogRequest;
use gantry_sys::Errno;
use gantry_sys::clone::{CloneArgs, spawn};
use gantry_types::ErrorKind;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, socketpair};

use super::Pod;
use super::complete::Then;
use super::connection::Caller;
use super::dispatch::Reply as Answer;
use super::epoll::{EventFlags, Source};
use super::process::Exit;
use crate::failure::Failure;
use crate::stdio::{Role as Stream, Target};
use crate::streams::protocol::{
    Add, Key, Kind, MAX_MESSAGE_BYTES, Op, Reply, Request, Role, VERSION, receive, send,
};
use crate::streams::{self, CONTROL_SOCKET};

/// How often a streams process that dies is replaced.
const MAX_REPLACED: u32 = 8;

/// The streams process, once there is one.
#[derive(Debug)]
pub(super) struct Streams {
    directory: PathBuf,
    control: Option<OwnedFd>,
    pid: u32,
    last_seq: u32,
    replaced: u32,
    /// Requests whose answers somebody waits for.
    waiting: Vec<(u64, Waiter)>,
}

/// Who waits for an answer.
#[derive(Debug)]
enum Waiter {
    /// The completion of a process's making.
    Made { id: String, exec_id: String, caller: Option<Caller>, then: Then },
    /// A client.
    Client(Caller),
    /// A client that deletes a process, with its answer.
    Deleted { caller: Option<Caller>, answer: Vec<u8> },
}

/// The key of a process.
fn key(id: &str, exec_id: &str) -> Key {
    Key { id: id.to_owned(), exec: (!exec_id.is_empty()).then(|| exec_id.to_owned()) }
}

fn role(stream: Stream) -> Role {
    match stream {
        Stream::Console => Role::Master,
        Stream::PipeInput => Role::Stdin,
        Stream::PipeOutput => Role::Stdout,
        Stream::PipeError => Role::Stderr,
        Stream::ClientInput => Role::StdinFifo,
        Stream::ClientOutput => Role::StdoutFifo,
        Stream::ClientError => Role::StderrFifo,
        Stream::HeldInput => Role::StdinHold,
        Stream::HeldOutput | Stream::Pidfd => Role::Held,
    }
}

fn stream(role: Role) -> Stream {
    match role {
        Role::Master => Stream::Console,
        Role::Stdin => Stream::PipeInput,
        Role::Stdout => Stream::PipeOutput,
        Role::Stderr => Stream::PipeError,
        Role::StdinFifo => Stream::ClientInput,
        Role::StdoutFifo => Stream::ClientOutput,
        Role::StderrFifo => Stream::ClientError,
        Role::StdinHold => Stream::HeldInput,
        Role::Held => Stream::HeldOutput,
    }
}

impl Streams {
    pub(super) fn new(directory: PathBuf) -> Self {
        Streams { directory, control: None, pid: 0, last_seq: 0, replaced: 0, waiting: Vec::new() }
    }

    /// What a program that takes our place needs: the connection, the process, the last request's number. Nothing while an
    /// answer is due.
    pub(super) fn suspend(&self) -> Option<(Option<BorrowedFd<'_>>, u32, u32)> {
        let control = self.control.as_ref().map(AsFd::as_fd);
        self.waiting.is_empty().then_some((control, self.pid, self.last_seq))
    }

    /// Its process; 0 when there is none, or when it is a former shim's.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Has it end.
    pub(super) fn quit(&mut self) {
        if self.control.is_some() {
            let _ = self.request(Op::Quit, &[]);
            self.control = None;
        }
    }

    fn request(&mut self, op: Op, fds: &[BorrowedFd<'_>]) -> Result<u64, Failure> {
        self.last_seq = self.last_seq.wrapping_add(1);
        let control = self
            .control
            .as_ref()
            .ok_or_else(|| Failure::new(ErrorKind::Unavailable, "there is no streams process"))?;
        let request = Request { seq: self.last_seq.into(), op };
        send(control.as_fd(), &request, fds).map_err(|error| Failure::of(error.kind(), &error))?;
        Ok(self.last_seq.into())
    }
}

impl Pod {
    /// Sees to it that there is a streams process.
    fn ensure_streams(&mut self) -> Result<(), Failure> {
        if self.streams.control.is_some() {
            return Ok(());
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(Failure::call("socketpair"))?;
        let directory = &self.streams.directory;
        let child = || {
            let number = std::os::fd::AsRawFd::as_raw_fd(&theirs);
            if gantry_sys::process::close_others(&mut [number]).is_err() {
                return 1;
            }
            streams::run(theirs, directory)
        };
        let child = spawn(&CloneArgs::default(), child).map_err(Failure::call("clone3"))?;
        self.streams.pid = child.pid as u32;
        self.adopt_control(ours)
    }

    fn adopt_control(&mut self, control: OwnedFd) -> Result<(), Failure> {
        self.epoll.add(&control, Source::Streams, EventFlags::IN)?;
        self.streams.control = Some(control);
        self.streams.request(Op::Hello { version: VERSION }, &[]).map(drop)
    }

    /// Goes on with the connection of the program before.
    pub(super) fn resume_streams(
        &mut self,
        control: OwnedFd,
        pid: u32,
        last_seq: u32,
    ) -> Result<(), Failure> {
        self.epoll.add(&control, Source::Streams, EventFlags::IN)?;
        self.streams.control = Some(control);
        (self.streams.pid, self.streams.last_seq) = (pid, last_seq);
        Ok(())
    }

    /// Finds the streams process of a former shim, and asks it what it holds.
    pub(super) fn rejoin_streams(&mut self) {
        let path = self.streams.directory.join(CONTROL_SOCKET);
        let Ok(address) = SocketAddrUnix::new(&path) else { return };
        let flags = SocketFlags::CLOEXEC;
        let Ok(socket) = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None) else { return };
        if connect(&socket, &address).is_err() || rustix::io::ioctl_fionbio(&socket, true).is_err() {
            return;
        }
        let asked = self.adopt_control(socket).and_then(|()| self.streams.request(Op::List, &[]));
        if let Err(failure) = asked {
            self.log.error(&failure.message);
        }
    }

    /// Gives a process's streams to be served; who completes its making is told when they are.
    pub(super) fn add_streams(&mut self, id: &str, exec_id: &str) -> Result<u64, Failure> {
        match self.try_add_streams(id, exec_id) {
            // It has died, and its end was not heard of yet.
            Err(failure) if failure.kind == ErrorKind::Unavailable && self.streams.control.is_some() => {
                let process = self.containers.get_mut(id).and_then(|it| it.process_mut(exec_id));
                process.into_iter().for_each(|process| process.streamed = false);
                self.streams_lost();
                self.try_add_streams(id, exec_id)
            }
            added => added,
        }
    }

    fn try_add_streams(&mut self, id: &str, exec_id: &str) -> Result<u64, Failure> {
        self.ensure_streams()?;
        let process = self.containers.get_mut(id).and_then(|container| container.process_mut(exec_id));
        let Some(process) = process else { return Err(Failure::not_found("container", id)) };
        process.streamed = true;
        let logs = |name: &String| matches!(Target::parse(name), Ok(Target::Log(_)));
        let log = Some(process.stdio.stdout.clone()).filter(logs);
        let kind = if process.console.is_some() { Kind::Terminal } else { Kind::Pipes };
        let console = process.console.as_ref().map(|fd| (Role::Master, fd.as_fd()));
        let others = process.streams.iter().map(|(stream, fd)| (role(*stream), fd.as_fd()));
        let (roles, fds): (Vec<Role>, Vec<BorrowedFd<'_>>) = console.into_iter().chain(others).unzip();
        self.streams.request(Op::Add(Add { key: key(id, exec_id), kind, log, roles }), &fds)
    }

    /// Completes a process's making when its streams are served.
    pub(super) fn await_streams(
        &mut self,
        seq: u64,
        (id, exec_id): (&str, &str),
        caller: Option<Caller>,
        then: Then,
    ) {
        let waiter = Waiter::Made { id: id.to_owned(), exec_id: exec_id.to_owned(), caller, then };
        self.streams.waiting.push((seq, waiter));
    }

    /// The streams process has something to say, or is gone.
    pub(super) fn streams_event(&mut self) {
        let mut buffer = vec![0; MAX_MESSAGE_BYTES];
        while let Some(control) = &self.streams.control {
            match receive::<Reply>(control.as_fd(), &mut buffer) {
                Ok(Some((reply, fds))) => self.streams_said(reply, fds),
                Ok(None) => return self.streams_lost(),
                Err(crate::streams::protocol::ProtocolError::Socket(Errno::AGAIN)) => return,
                Err(error) => {
                    self.log.error(&Failure::of(error.kind(), &error).message);
                    return self.streams_lost();
                }
            }
        }
    }

    fn streams_said(&mut self, reply: Reply, fds: Vec<OwnedFd>) {
        match reply {
            Reply::Ack { seq, .. } => self.streams_answered(seq, Ok(())),
            Reply::Failed { seq, kind, error } => {
                self.streams_answered(seq, Err(Failure::new(kind.into(), error)));
            }
            Reply::Entry { add, ended, .. } => self.streams_hold(&add, fds, ended),
            Reply::Lost { key, error } => {
                self.log.error(&format!("the log of {} is lost: {error}", key.id));
            }
            Reply::Drained(key) => {
                let exec_id = key.exec.unwrap_or_default();
                if let Some(process) =
                    self.containers.get_mut(&key.id).and_then(|it| it.process_mut(&exec_id))
                {
                    // Its clients see the end when nobody holds the writing ends any more.
                    process.drop_outputs();
                }
            }
            Reply::StdinClosed(key) => {
                let exec_id = key.exec.unwrap_or_default();
                if let Some(process) =
                    self.containers.get_mut(&key.id).and_then(|it| it.process_mut(&exec_id))
                {
                    // It sees the end of its input when nobody holds the writing end any more.
                    process.close_input();
                }
            }
            Reply::Counters { .. } => {}
        }
    }

    fn streams_answered(&mut self, seq: u64, result: Result<(), Failure>) {
        let Some(index) = self.streams.waiting.iter().position(|(number, _)| *number == seq) else {
            if let Err(failure) = result {
                self.log.warn(&failure.message);
            }
            return;
        };
        match self.streams.waiting.swap_remove(index).1 {
            Waiter::Client(caller) => self.answer(caller, result.map(|()| Vec::new())),
            Waiter::Deleted { caller, answer } => self.answer_to(caller, Ok(answer)),
            Waiter::Made { id, exec_id, caller, then } => {
                self.streams_served(&id, &exec_id, caller, &then, result)
            }
        }
    }

    /// A former shim's descriptors.
    fn streams_hold(&mut self, add: &Add, fds: Vec<OwnedFd>, ended: Option<i32>) {
        let exec_id = add.key.exec.clone().unwrap_or_default();
        let process = self.containers.get_mut(&add.key.id).and_then(|it| it.process_mut(&exec_id));
        let Some(process) = process else {
            // Nobody's any more.
            let removed = self.streams.request(Op::Remove(add.key.clone()), &[]);
            return removed.map(drop).unwrap_or_else(|failure| self.log.warn(&failure.message));
        };
        process.streamed = true;
        process.held.retain(|(stream, _)| *stream != Stream::HeldInput);
        for (role, fd) in add.roles.iter().zip(fds) {
            match stream(*role) {
                Stream::Console => process.console = Some(fd),
                other => process.streams.push((other, fd)),
            }
        }
        let exit = process.exit.filter(|_| ended.is_none());
        if let Some(exit) = exit {
            self.ended_streams(&add.key.id, &exec_id, exit);
        }
    }

    /// The streams process has died: its successor gets everything again.
    fn streams_lost(&mut self) {
        if let Some(control) = self.streams.control.take() {
            self.epoll.remove(&control);
        }
        self.streams.pid = 0;
        let failure = Failure::new(ErrorKind::Unavailable, "the streams process has ended");
        let mut making = Vec::new();
        for (_, waiter) in std::mem::take(&mut self.streams.waiting) {
            match waiter {
                Waiter::Client(caller) => self.answer(caller, Err(failure.clone())),
                Waiter::Deleted { caller, answer } => self.answer_to(caller, Ok(answer)),
                made @ Waiter::Made { .. } => making.push(made),
            }
        }
        let served: Vec<(String, String)> = self
            .containers
            .iter()
            .flat_map(|(id, container)| {
                let streamed = container.processes().filter(|(_, process)| process.streamed);
                streamed.map(move |(exec_id, _)| (id.clone(), exec_id.to_owned()))
            })
            .collect();
        if !served.is_empty() {
            self.log.error(&failure.message);
            self.streams.replaced += 1;
        }
        let replaced = self.streams.replaced <= MAX_REPLACED;
        if !replaced {
            self.log.error("it has ended too often, and is not replaced again");
        }
        for (id, exec_id) in served.into_iter().filter(|_| replaced) {
            let exit = self.containers.get(&id).and_then(|it| it.process(&exec_id)).and_then(|it| it.exit);
            let added = self.add_streams(&id, &exec_id);
            let waits = |waiter: &Waiter| matches!(waiter, Waiter::Made { id: i, exec_id: e, .. } if *i == id && *e == exec_id);
            let waiter = making.iter().position(waits);
            match (added, waiter) {
                // Who waits for its making does not notice.
                (Ok(seq), Some(index)) => self.streams.waiting.push((seq, making.swap_remove(index))),
                (Ok(_), None) => {}
                (Err(failure), _) => self.log.error(&format!("streams of {id} {exec_id}: {failure}")),
            }
            if let Some(exit) = exit {
                self.ended_streams(&id, &exec_id, exit);
            }
        }
        for waiter in making {
            if let Waiter::Made { id, exec_id, caller, then } = waiter {
                self.streams_served(&id, &exec_id, caller, &then, Err(failure.clone()));
            }
        }
    }

    fn tell_streams(&mut self, op: Op) {
        if self.streams.control.is_some()
            && let Err(failure) = self.streams.request(op, &[])
        {
            self.log.error(&failure.message);
        }
    }

    pub(super) fn close_streamed_input(&mut self, id: &str, exec_id: &str) {
        self.tell_streams(Op::CloseStdin(key(id, exec_id)));
    }

    /// A process has ended: what it wrote is still to be moved, and attached clients are told.
    pub(super) fn ended_streams(&mut self, id: &str, exec_id: &str, exit: Exit) {
        self.tell_streams(Op::Ended { key: key(id, exec_id), exit_status: exit.status as i32 });
    }

    /// A process is gone. Gives the number of the request after which all that it wrote is in the FIFOs of its client; no disk is
    /// waited for.
    pub(super) fn drop_streams(&mut self, id: &str, exec_id: &str) -> Option<u64> {
        let process = self.containers.get(id)?.process(exec_id).filter(|process| process.streamed)?;
        let is_fifo = |name: &String| matches!(Target::parse(name), Ok(Target::Fifo(_)));
        let has_fifo = [&process.stdio.stdout, &process.stdio.stderr].into_iter().any(is_fifo);
        if !has_fifo || self.streams.control.is_none() {
            self.tell_streams(Op::Remove(key(id, exec_id)));
            return None;
        }
        let asked = self.streams.request(Op::Remove(key(id, exec_id)), &[]);
        asked.inspect_err(|failure| self.log.error(&failure.message)).ok()
    }

    /// A container is gone. The same number for its first process.
    pub(super) fn drop_all_streams(&mut self, id: &str) -> Option<u64> {
        let container = self.containers.get(id)?;
        let execs: Vec<String> = container.processes().map(|(exec_id, _)| exec_id.to_owned()).collect();
        let mut first = None;
        for exec_id in execs {
            let number = self.drop_streams(id, &exec_id);
            first = first.or(number.filter(|_| exec_id.is_empty()));
        }
        first
    }

    /// Answers who deletes a process, after the request of that number. Clients close their FIFOs when they have that answer.
    pub(super) fn answer_deletion(&mut self, after: Option<u64>, caller: Option<Caller>, answer: Vec<u8>) {
        match after {
            Some(seq) => self.streams.waiting.push((seq, Waiter::Deleted { caller, answer })),
            None => self.answer_to(caller, Ok(answer)),
        }
    }

    pub(super) fn reopen_log(
        &mut self,
        caller: Caller,
        request: &ReopenLogRequest,
    ) -> Result<Answer, Failure> {
        let process = self.process_mut(&request.id, &request.exec_id)?;
        if !process.streamed {
            return Err(Failure::precondition("the process has no log of ours"));
        }
        if process.exit.is_some() {
            return Err(Failure::precondition("the process is not running"));
        }
        let seq = self.streams.request(Op::Reopen(key(&request.id, &request.exec_id)), &[])?;
        self.streams.waiting.push((seq, Waiter::Client(caller)));
        Ok(Answer::Later)
    }
}

/// Has the streams process of a pod without a shim forget the processes of a container; with `quit`, end.
///
/// # Errors
/// Unavailable where there is none.
pub(crate) fn forget(
    directory: &std::path::Path,
    id: &str,
    exec_ids: &[String],
    quit: bool,
) -> Result<(), Failure> {
    let named = || Failure::call("the streams process");
    let address = SocketAddrUnix::new(directory.join(CONTROL_SOCKET)).map_err(named())?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(named())?;
    connect(&socket, &address).map_err(named())?;
    let timeout = Some(std::time::Duration::from_secs(2));
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, timeout)
        .map_err(named())?;
    let removals = exec_ids.iter().map(|exec_id| Op::Remove(key(id, exec_id)));
    let last = quit.then_some(Op::Quit);
    let ops = [Op::Hello { version: VERSION }].into_iter().chain(removals).chain(last);
    let mut buffer = vec![0; MAX_MESSAGE_BYTES];
    for (number, op) in ops.enumerate() {
        let asked = number as u64 + 1;
        let failed = |error| Failure::of(crate::streams::protocol::ProtocolError::kind(&error), &error);
        send(socket.as_fd(), &Request { seq: asked, op }, &[]).map_err(failed)?;
        // Whoever hears no answers any more is not heard, either.
        loop {
            match receive::<Reply>(socket.as_fd(), &mut buffer).map_err(failed)? {
                Some((Reply::Ack { seq, .. } | Reply::Failed { seq, .. }, _)) if seq == asked => break,
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }
    Ok(())
}
