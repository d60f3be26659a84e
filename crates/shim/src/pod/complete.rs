//! Operations: begun in a worker, completed by its verdict.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use gantry_proto_shim::any::Any;
use gantry_proto_shim::options::ProcessDetails;
use gantry_proto_shim::process::ProcessInfo;
use gantry_proto_shim::task::{CreateTaskResponse, PidsResponse, StartResponse, StatsResponse};
use gantry_proto_shim::{Message, events};
use gantry_types::ErrorKind;

use super::Pod;
use super::connection::Caller;
use super::dispatch::Reply;
use super::epoll::{EventFlags, Source};
use super::process::{Process, Status};
use super::task::deletion;
use crate::failure::Failure;
use crate::stdio::Role;
use crate::work::Made;
use crate::worker::{self, Done, Worker};

const SIGKILL: i32 = 9;
/// How many workers may be at work at once.
const MAX_WORKERS: usize = 256;

/// What a verdict is the end of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    Created,
    Restored,
    Started,
    ExecStarted(String),
    Deleted,
    Frozen,
    Thawed,
    Signalled,
    Checkpointed,
    Updated,
    Listed,
    Measured,
    /// Those who outlived the first process were killed.
    Swept,
    /// The pause of the sandbox was made.
    SandboxStarted,
    /// The sandbox's pause was removed.
    SandboxStopped,
    /// The sandbox's counters were read.
    SandboxMeasured,
    /// A container that could not be served was removed again, for this reason.
    Undone(Failure),
}

/// Why an operation was ended half-way, as its caller is told.
#[derive(Debug)]
struct Ended {
    kind: ErrorKind,
    text: &'static str,
}

static OVERDUE: Ended = Ended {
    kind: ErrorKind::DeadlineExceeded,
    text: "the operation was ended: its caller has given it no more time",
};
static DELETED: Ended = Ended {
    kind: ErrorKind::Cancelled,
    text: "the operation was ended: somebody deletes the container that it makes",
};

impl Then {
    /// Whether the operation may be ended half-way when its caller has given up: it is undone, or can be done again.
    fn can_be_ended(&self) -> bool {
        use Then::{Checkpointed, Created, Deleted, ExecStarted, Listed, Measured};
        matches!(self, Created | ExecStarted(_) | Deleted | Checkpointed | Listed | Measured)
    }

    /// Whether others that change the container have to wait.
    fn is_exclusive(&self) -> bool {
        !matches!(self, Then::Signalled | Then::Listed | Then::Measured | Then::Swept | Then::ExecStarted(_))
    }
}

/// An operation at work.
#[derive(Debug)]
pub(super) struct Operation {
    worker: Worker,
    id: String,
    caller: Option<Caller>,
    then: Then,
    /// When its caller gives up.
    deadline: Option<Instant>,
    /// Why it was ended half-way, if it was.
    ended: Option<&'static Ended>,
}

impl Pod {
    /// Begins an operation on a container.
    pub(super) fn begin(
        &mut self,
        id: &str,
        caller: Option<Caller>,
        then: Then,
        work: impl FnOnce() -> Result<Done, Failure>,
    ) -> Result<Reply, Failure> {
        let begun = if self.operations.len() >= MAX_WORKERS {
            let text = format!("more than {MAX_WORKERS} operations at once");
            Err(Failure::new(ErrorKind::ResourceExhausted, text))
        } else {
            worker::begin(self.workers.as_fd(), work)
        };
        let number = self.serial();
        let added = begun.and_then(|worker| {
            self.epoll.add(worker.fd(), Source::Operation(number), EventFlags::IN)?;
            Ok(worker)
        });
        match added {
            Ok(worker) => {
                self.workers_started += 1;
                if then.is_exclusive()
                    && let Some(container) = self.containers.get_mut(id)
                {
                    container.busy = true;
                }
                let (id, deadline, ended) = (id.to_owned(), None, None);
                self.operations.insert(number, Operation { worker, id, caller, then, deadline, ended });
                Ok(Reply::Later)
            }
            Err(failure) => {
                // As if the worker had failed, so that there is one way to undo.
                self.complete(id, None, then, Err(failure.clone()));
                Err(failure)
            }
        }
    }

    /// Ends the operation that was begun for a call, if there is one, after the time that the caller has given it.
    pub(super) fn limit(&mut self, caller: Caller, timeout: Duration) {
        let mut operations = self.operations.values_mut();
        let own = operations.find(|operation| operation.caller == Some(caller));
        if let Some(operation) = own.filter(|operation| operation.then.can_be_ended()) {
            operation.deadline = Instant::now().checked_add(timeout);
        }
    }

    /// When the next operation is to be ended.
    pub(super) fn operations_deadline(&self) -> Option<Instant> {
        self.operations.values().filter_map(|operation| operation.deadline).min()
    }

    /// Ends the operations that nobody waits for any more. Their workers' ends are their verdicts.
    pub(super) fn end_overdue(&mut self) {
        let now = Instant::now();
        for operation in self.operations.values_mut() {
            if operation.deadline.is_some_and(|deadline| deadline <= now) {
                operation.worker.end();
                operation.deadline = None;
                operation.ended = Some(&OVERDUE);
            }
        }
    }

    /// Ends the making of a container that somebody deletes meanwhile: who asked for it may be gone, and what he asked for may
    /// have no end.
    pub(super) fn end_creation(&mut self, id: &str) {
        let mut operations = self.operations.values_mut();
        let own = operations.find(|operation| operation.id == id && operation.then == Then::Created);
        if let Some(operation) = own {
            operation.worker.end();
            operation.deadline = None;
            operation.ended = Some(&DELETED);
        }
    }

    /// Hears what a worker has to say.
    pub(super) fn hear(&mut self, number: u32) {
        let Some(operation) = self.operations.get_mut(&number) else { return };
        let Some(mut verdict) = operation.worker.receive() else { return };
        let Some(operation) = self.operations.remove(&number) else { return };
        let Operation { worker, id, caller, then, ended, .. } = operation;
        let silent = !worker.has_spoken();
        drop(worker);
        if let Some(ended) = ended.filter(|_| silent) {
            verdict = Err(Failure::new(ended.kind, ended.text));
        }
        match (then, verdict) {
            // Nobody has undone what it had made.
            (Then::Created, Err(failure)) if silent => self.undo(&id, caller, failure),
            (then, verdict) => self.complete(&id, caller, then, verdict),
        }
        if self.operations.is_empty() {
            // Nobody is left to claim them.
            self.ended = Vec::new();
        }
    }

    fn complete(&mut self, id: &str, caller: Option<Caller>, then: Then, verdict: Result<Done, Failure>) {
        if then.is_exclusive()
            && let Some(container) = self.containers.get_mut(id)
        {
            container.busy = false;
        }
        match then {
            Then::Created => self.created(id, caller, verdict),
            Then::Restored => {
                let adopted = verdict.and_then(|done| self.adopt_made(id, "", done));
                self.watch_memory(id);
                match adopted {
                    Ok(Some(seq)) => self.await_streams(seq, (id, ""), caller, Then::Restored),
                    adopted => self.init_started(id, caller, adopted.map(drop)),
                }
            }
            Then::Started => self.init_started(id, caller, verdict.map(drop)),
            Then::ExecStarted(exec_id) => self.exec_started(id, &exec_id, caller, verdict),
            Then::Deleted => self.deleted(id, caller, verdict),
            Then::Frozen => self.frozen(id, caller, verdict, Status::Paused),
            Then::Thawed => self.frozen(id, caller, verdict, Status::Running),
            Then::Signalled | Then::Updated => self.answer_to(caller, verdict.map(|_| Vec::new())),
            Then::Checkpointed => {
                if verdict.is_ok() {
                    self.publish(&events::TaskCheckpointed {
                        container_id: id.to_owned(),
                        ..Default::default()
                    });
                }
                self.answer_to(caller, verdict.map(|_| Vec::new()));
            }
            Then::Listed => {
                let answer = verdict.map(|done| self.list(id, &done.body));
                self.answer_to(caller, answer);
            }
            Then::Measured => {
                let answer = verdict.and_then(|done| {
                    let stats = Any::decode(&*done.body).map_err(|error| {
                        Failure::new(ErrorKind::Internal, format!("a worker's counters: {error}"))
                    })?;
                    Ok(StatsResponse { stats: Some(stats) }.encode_to_vec())
                });
                self.answer_to(caller, answer);
            }
            Then::Swept => {
                if let Err(failure) = verdict {
                    self.log.warn(&format!("processes of {id} outlived it: {failure}"));
                }
                self.settle(id);
            }
            Then::SandboxStarted => self.sandbox_started(caller, verdict),
            Then::SandboxStopped => self.sandbox_stopped(caller, verdict),
            Then::Undone(cause) => self.undone(id, caller, cause, verdict),
            Then::SandboxMeasured => self.sandbox_measured(id, caller, verdict),
        }
        self.resume_queue(id);
    }

    pub(super) fn answer_to(&mut self, caller: Option<Caller>, answer: Result<Vec<u8>, Failure>) {
        match (caller, answer) {
            (Some(caller), answer) => self.answer(caller, answer),
            (None, Err(failure)) => self.log.debug(&failure.message),
            (None, Ok(_)) => {}
        }
    }

    /// Takes over a process that a worker made; gives back the number of the request that its streams wait for.
    pub(super) fn adopt_made(&mut self, id: &str, exec_id: &str, done: Done) -> Result<Option<u64>, Failure> {
        let made: Made = serde_json::from_slice(&done.body)
            .map_err(|error| Failure::new(ErrorKind::Internal, format!("a worker's answer: {error}")))?;
        if exec_id.is_empty()
            && let Some(container) = self.containers.get_mut(id)
        {
            container.cgroup.clone_from(&made.cgroup);
            container.own_pids = made.own_pids;
            container.poststart = made.poststart;
            container.root_on_host = made.root_on_host;
            container.options = made.options.clone();
        }
        let streams = made.roles.iter().copied().zip(done.fds);
        let Some(process) = self.containers.get_mut(id).and_then(|it| it.process_mut(exec_id)) else {
            return Err(Failure::not_found("container", id));
        };
        take_over(process, &made, streams);
        let served = process.console.is_some() || !process.streams.is_empty();
        // A client may have written all that it has, and said so, while the process was made.
        let input_closed = process.input_closed;
        if input_closed && !served {
            process.close_input();
        }
        // It may have ended before we knew that it is ours. A process that lives has its number from somebody who ended before.
        let ended = process.pidfd.as_ref().is_none_or(super::exit::has_ended);
        if ended && let Some(index) = self.ended.iter().position(|ended| ended.pid == made.pid) {
            let ended = self.ended.swap_remove(index);
            if let Some(process) = self.containers.get_mut(id).and_then(|it| it.process_mut(exec_id)) {
                process.untold = Some(ended.exit);
            }
        }
        let added = served.then(|| self.add_streams(id, exec_id)).transpose()?;
        if input_closed && served {
            self.close_input(id, exec_id)?;
        }
        Ok(added)
    }

    /// A process's streams are served, or cannot be: then there is no process.
    pub(super) fn streams_served(
        &mut self,
        id: &str,
        exec_id: &str,
        caller: Option<Caller>,
        then: &Then,
        result: Result<(), Failure>,
    ) {
        match then {
            Then::Created => self.finish_created(id, caller, result),
            Then::Restored => self.init_started(id, caller, result),
            _ => self.finish_exec(id, exec_id, caller, result),
        }
    }

    fn created(&mut self, id: &str, caller: Option<Caller>, verdict: Result<Done, Failure>) {
        let done = match verdict {
            Ok(done) => done,
            // The worker has undone what it had made.
            Err(failure) => return self.finish_created(id, caller, Err(failure)),
        };
        match self.adopt_made(id, "", done) {
            Ok(Some(seq)) => {
                // Until then nobody else may have it.
                if let Some(container) = self.containers.get_mut(id) {
                    container.busy = true;
                }
                self.await_streams(seq, (id, ""), caller, Then::Created);
            }
            Ok(None) => self.finish_created(id, caller, Ok(())),
            // It was made, and half an answer tells nothing of it.
            Err(failure) => self.undo(id, caller, failure),
        }
    }

    fn finish_created(&mut self, id: &str, caller: Option<Caller>, result: Result<(), Failure>) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.busy = false;
        if let Err(failure) = result {
            if container.init.pid == 0 {
                self.answer_to(caller, Err(failure));
                return self.discard(id);
            }
            // It was made and cannot be served.
            return self.undo(id, caller, failure);
        }
        container.init.status = Status::Created;
        let pid = container.init.pid as u32;
        self.save(id);
        self.publish_create(id, pid);
        self.answer_to(caller, Ok(CreateTaskResponse { pid }.encode_to_vec()));
        self.watch_memory(id);
        self.settle(id);
        self.resume_queue(id);
    }

    /// Removes what was made of a container that cannot be had.
    fn undo(&mut self, id: &str, caller: Option<Caller>, cause: Failure) {
        let Some(container) = self.containers.get(id) else { return };
        let subject = container.subject();
        let undo = move || crate::work::delete_forced(&subject).map(|()| Done::default());
        if let Err(failure) = self.begin(id, caller, Then::Undone(cause), undo) {
            self.log.error(&failure.message);
        }
    }

    /// A container that could not be served is gone again.
    fn undone(&mut self, id: &str, caller: Option<Caller>, cause: Failure, verdict: Result<Done, Failure>) {
        if let Err(failure) = verdict {
            self.log.error(&format!("what was made of {id} stays behind: {failure}"));
        }
        self.drop_all_streams(id);
        self.answer_to(caller, Err(cause));
        self.discard(id);
    }

    /// Forgets a container that never came to be. Whoever waited for its maker is told so.
    fn discard(&mut self, id: &str) {
        let Some(container) = self.containers.remove(id) else { return };
        self.forget(id);
        for (caller, call) in container.queue {
            self.call(caller, call);
        }
    }

    /// The first process runs its program, or does not.
    pub(super) fn init_started(&mut self, id: &str, caller: Option<Caller>, result: Result<(), Failure>) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.busy = false;
        container.init.starting = false;
        let pid = container.init.pid as u32;
        let answer = match result {
            Ok(()) => {
                container.init.status = Status::Running;
                container.init.refusal = String::new();
                self.save(id);
                self.publish(&events::TaskStart { container_id: id.to_owned(), pid });
                Ok(StartResponse { pid }.encode_to_vec())
            }
            Err(failure) => {
                container.init.refuse(&failure.message);
                Err(failure)
            }
        };
        self.answer_to(caller, answer);
        self.settle(id);
        self.resume_queue(id);
    }

    fn exec_started(
        &mut self,
        id: &str,
        exec_id: &str,
        caller: Option<Caller>,
        verdict: Result<Done, Failure>,
    ) {
        match verdict.and_then(|done| self.adopt_made(id, exec_id, done)) {
            Ok(Some(seq)) => {
                self.await_streams(seq, (id, exec_id), caller, Then::ExecStarted(exec_id.to_owned()));
            }
            adopted => self.finish_exec(id, exec_id, caller, adopted.map(drop)),
        }
    }

    fn finish_exec(&mut self, id: &str, exec_id: &str, caller: Option<Caller>, result: Result<(), Failure>) {
        let process = self.containers.get_mut(id).and_then(|it| it.process_mut(exec_id));
        let Some(process) = process else { return };
        process.starting = false;
        let pid = process.pid as u32;
        let answer = match result {
            Ok(()) => {
                process.status = Status::Running;
                if let Some(container) = self.containers.get_mut(id) {
                    // It may have come after those who outlived the first process were killed.
                    container.swept &= container.init.untold.is_none();
                }
                self.save(id);
                let (container_id, exec_id) = (id.to_owned(), exec_id.to_owned());
                self.publish(&events::TaskExecStarted { container_id, exec_id, pid });
                Ok(StartResponse { pid }.encode_to_vec())
            }
            Err(failure) => {
                // It can be deleted, and waited for, as one that has failed.
                if let Some(pidfd) = process.pidfd.take() {
                    let _ = gantry_sys::process::pidfd_kill(pidfd.as_fd(), SIGKILL);
                }
                process.status = Status::Stopped;
                process.untold = None;
                process.exit = Some(super::process::Exit::never_ran());
                process.refuse(&failure.message);
                let waiters = std::mem::take(&mut process.waiters);
                self.refused(id, exec_id);
                self.save(id);
                self.tell_waiters(id, exec_id, waiters);
                Err(failure)
            }
        };
        self.answer_to(caller, answer);
        self.settle(id);
        self.resume_queue(id);
    }

    fn frozen(&mut self, id: &str, caller: Option<Caller>, verdict: Result<Done, Failure>, status: Status) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if verdict.is_ok() && container.init.status != Status::Stopped {
            container.init.status = status;
            self.save(id);
            let container_id = id.to_owned();
            match status {
                Status::Paused => self.publish(&events::TaskPaused { container_id }),
                _ => self.publish(&events::TaskResumed { container_id }),
            }
        }
        self.answer_to(caller, verdict.map(|_| Vec::new()));
        self.settle(id);
    }

    fn deleted(&mut self, id: &str, caller: Option<Caller>, verdict: Result<Done, Failure>) {
        if let Err(failure) = verdict {
            return self.answer_to(caller, Err(failure));
        }
        // One that was never started was killed for it: its end comes first.
        self.reap();
        let dropped = self.drop_all_streams(id);
        let Some(mut container) = self.containers.remove(id) else { return };
        let response = deletion(&container.init);
        self.end_logger(container.init.logger);
        self.forget(id);
        self.publish(&events::TaskDelete {
            container_id: id.to_owned(),
            pid: response.pid,
            exit_status: response.exit_status,
            exited_at: response.exited_at,
            id: String::new(),
        });
        self.answer_deletion(dropped, caller, response.encode_to_vec());
        self.abandon_waiters(&mut container.init);
        for exec in container.execs.values_mut() {
            self.abandon_waiters(&mut exec.process);
            self.end_logger(exec.process.logger);
        }
        for (caller, call) in container.queue {
            self.call(caller, call);
        }
    }

    /// Answers those who wait for the end of a process that never ran.
    pub(super) fn abandon_waiters(&mut self, process: &mut Process) {
        for caller in std::mem::take(&mut process.waiters) {
            self.answer(caller, Err(Failure::new(ErrorKind::NotFound, "the process was deleted")));
        }
    }

    /// The processes of a container, those of execs with their ids.
    fn list(&self, id: &str, body: &[u8]) -> Vec<u8> {
        let execs = self.containers.get(id).map(|container| &container.execs);
        let details = |pid: i32| {
            let exec = execs.into_iter().flatten().find(|(_, exec)| exec.process.pid == pid);
            exec.map(|(exec_id, _)| Any::pack(&ProcessDetails { exec_id: exec_id.clone() }))
        };
        let processes = body
            .chunks_exact(4)
            .map(|bytes| i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .map(|pid| ProcessInfo { pid: pid as u32, info: details(pid) })
            .collect();
        PidsResponse { processes }.encode_to_vec()
    }
}

/// Puts a made process's descriptors in their places.
fn take_over(process: &mut Process, made: &Made, streams: impl Iterator<Item = (Role, OwnedFd)>) {
    process.pid = made.pid;
    process.start_time = made.start_time;
    process.logger = made.logger;
    for (role, fd) in streams {
        match role {
            Role::Pidfd => process.pidfd = Some(fd),
            Role::Console => process.console = Some(fd),
            Role::HeldInput | Role::HeldOutput => process.held.push((role, fd)),
            _ => process.streams.push((role, fd)),
        }
    }
    if process.console.is_some() || process.streams.iter().any(|(role, _)| *role == Role::ClientInput) {
        // Whoever moves the input holds its other end.
        let (input, held): (Vec<_>, Vec<_>) =
            process.held.drain(..).partition(|(role, _)| *role == Role::HeldInput);
        process.held = held;
        process.streams.extend(input);
    }
}
