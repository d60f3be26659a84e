//! The Task service: one function a method.

use std::os::fd::AsFd;
use std::path::PathBuf;

use gantry_proto_shim::Message as _;
use gantry_proto_shim::any::{Any, Timestamp};
use gantry_proto_shim::events;
use gantry_proto_shim::options::CheckpointOptions;
use gantry_proto_shim::process::Status as WireStatus;
use gantry_proto_shim::task::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, ExecProcessRequest, KillRequest, PauseRequest,
    PidsRequest, ResizePtyRequest, ResumeRequest, StartRequest, StateRequest, StateResponse, StatsRequest,
    UpdateTaskRequest, WaitRequest, WaitResponse,
};
use gantry_runtime::Scope;
use gantry_types::{ContainerId, ErrorKind};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Pod;
use super::complete::Then;
use super::connection::Caller;
use super::container::{Container, Exec, MAX_EXECS};
use super::dispatch::Reply;
use super::epoll::{EventFlags, Source};
use super::process::{Process, Status};
use crate::failure::Failure;
use crate::options::RuntimeOptions;
use crate::stdio::Stdio;
use crate::work::{self, Creation, Execution};

/// How many containers a pod may have.
const MAX_CONTAINERS: usize = 1024;
/// How many calls may wait for one process's end.
const MAX_WAITERS: usize = 4096;
const SIGKILL: u32 = 9;
const MAX_SIGNAL: u32 = 64;

fn parse_id(id: &str) -> Result<ContainerId, Failure> {
    id.parse().map_err(|error: gantry_types::InvalidId| Failure::invalid(error.to_string()))
}

fn stamp(process: &Process) -> Option<Timestamp> {
    process.exit.map(|exit| exit.at.into())
}

impl Pod {
    /// The container of an id, once it exists.
    pub(super) fn container(&self, id: &str) -> Result<&Container, Failure> {
        self.containers
            .get(id)
            .filter(|container| container.init.status != Status::Creating)
            .map(AsRef::as_ref)
            .ok_or_else(|| Failure::not_found("container", id))
    }

    pub(super) fn container_mut(&mut self, id: &str) -> Result<&mut Container, Failure> {
        self.containers
            .get_mut(id)
            .filter(|container| container.init.status != Status::Creating)
            .map(AsMut::as_mut)
            .ok_or_else(|| Failure::not_found("container", id))
    }

    fn process(&self, id: &str, exec_id: &str) -> Result<&Process, Failure> {
        self.container(id)?.process(exec_id).ok_or_else(|| Failure::not_found("process", exec_id))
    }

    pub(super) fn process_mut(&mut self, id: &str, exec_id: &str) -> Result<&mut Process, Failure> {
        self.container_mut(id)?.process_mut(exec_id).ok_or_else(|| Failure::not_found("process", exec_id))
    }

    pub(super) fn create(&mut self, caller: Caller, request: CreateTaskRequest) -> Result<Reply, Failure> {
        let id = parse_id(&request.id)?;
        if self.containers.contains_key(id.as_str()) {
            return Err(Failure::new(ErrorKind::AlreadyExists, format!("container {id} already exists")));
        }
        if self.containers.len() >= MAX_CONTAINERS || self.ending.is_some() {
            let text = format!("the pod takes no more than {MAX_CONTAINERS} containers");
            return Err(Failure::new(ErrorKind::ResourceExhausted, text));
        }
        let serial = self.serial();
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let creation = Creation {
            id: id.clone(),
            namespace: self.identity.namespace.clone(),
            bundle: PathBuf::from(&request.bundle),
            rootfs: request.rootfs.clone(),
            stdio: stdio.clone(),
            options: RuntimeOptions::default(),
        };
        let mut container = Container {
            id: id.clone(),
            namespace: self.identity.namespace.clone(),
            bundle: creation.bundle.clone(),
            // Whoever finds it half made has to know where.
            options: RuntimeOptions::in_memory(request.options.as_ref()),
            init: Process::new(serial, stdio),
            execs: Default::default(),
            cgroup: None,
            root_on_host: false,
            own_pids: true,
            poststart: false,
            restore: None,
            rootfs: request.rootfs,
            oom: None,
            oom_kills: 0,
            watched: None,
            exhausted: None,
            busy: true,
            queue: Default::default(),
            swept: false,
        };
        let options = request.options;
        if !request.checkpoint.is_empty() {
            let mut creation = creation;
            creation.options = RuntimeOptions::decode(options.as_ref())?;
            container.options = creation.options.clone();
            container.busy = false;
            container.init.status = Status::Created;
            container.restore = Some(Box::new((PathBuf::from(request.checkpoint), creation)));
            self.containers.insert(id.to_string(), Box::new(container));
            self.save(id.as_str());
            self.publish_create(id.as_str(), 0);
            return Reply::message(&CreateTaskResponse { pid: 0 });
        }
        self.containers.insert(id.to_string(), Box::new(container));
        self.save(id.as_str());
        let work = move || {
            let options = RuntimeOptions::decode(options.as_ref())?;
            work::create(&Creation { options, ..creation })
        };
        self.begin(id.as_str(), Some(caller), Then::Created, work)
    }

    pub(super) fn publish_create(&mut self, id: &str, pid: u32) {
        let Some(container) = self.containers.get_mut(id) else { return };
        // Nobody needs them again.
        let rootfs = std::mem::take(&mut container.rootfs);
        let stdio = &container.init.stdio;
        let event = events::TaskCreate {
            container_id: id.to_owned(),
            bundle: container.bundle.to_string_lossy().into_owned(),
            rootfs,
            io: Some(events::TaskIO {
                stdin: stdio.stdin.clone(),
                stdout: stdio.stdout.clone(),
                stderr: stdio.stderr.clone(),
                terminal: stdio.terminal,
            }),
            checkpoint: String::new(),
            pid,
        };
        self.publish(&event);
    }

    pub(super) fn start(&mut self, caller: Caller, request: &StartRequest) -> Result<Reply, Failure> {
        if request.exec_id.is_empty() {
            self.start_init(caller, &request.id)
        } else {
            self.start_exec(caller, &request.id, &request.exec_id)
        }
    }

    fn start_init(&mut self, caller: Caller, id: &str) -> Result<Reply, Failure> {
        let container = self.container_mut(id)?;
        match container.init.status {
            Status::Created => {}
            Status::Stopped => {
                return Err(Failure::precondition("cannot start a container that has stopped"));
            }
            _ => return Err(Failure::precondition("cannot start an already running container")),
        }
        container.init.starting = true;
        if let Some(restore) = container.restore.take() {
            let (images, creation) = *restore;
            return self.begin(id, Some(caller), Then::Restored, move || work::restore(&creation, &images));
        }
        let subject = container.subject();
        if container.poststart || !container.options.binary_name.is_empty() {
            return self.begin(id, Some(caller), Then::Started, move || work::start(&subject));
        }
        let host = container.options.host(&container.namespace);
        let opened = gantry_runtime::begin_start(&host, &container.id);
        let serial = container.init.serial;
        match opened {
            Ok(starting) => {
                container.busy = true;
                self.epoll.add(starting.fd(), Source::Starting(serial), EventFlags::IN)?;
                self.opening.push((serial, starting, caller));
                Ok(Reply::Later)
            }
            Err(error) => {
                container.init.starting = false;
                self.settle(id);
                Err(error.into())
            }
        }
    }

    /// A process's program runs, or could not be executed.
    pub(super) fn started(&mut self, serial: u32) {
        let Some(index) = self.opening.iter().position(|(number, _, _)| *number == serial) else { return };
        let (_, starting, caller) = self.opening.swap_remove(index);
        self.epoll.remove(starting.fd());
        let result = starting.finish().map_err(Failure::from);
        let Some((id, _)) = self.find(serial) else { return };
        self.init_started(&id, Some(caller), result);
    }

    fn start_exec(&mut self, caller: Caller, id: &str, exec_id: &str) -> Result<Reply, Failure> {
        let container = self.container_mut(id)?;
        if !matches!(container.init.status, Status::Running | Status::Created) {
            return Err(Failure::precondition("cannot exec in a container that is not running"));
        }
        let subject = container.subject();
        let exec = container.execs.get_mut(exec_id).ok_or_else(|| Failure::not_found("process", exec_id))?;
        if exec.process.status != Status::Created || exec.process.starting {
            return Err(Failure::precondition("the process was started already"));
        }
        exec.process.starting = true;
        let execution = Execution {
            exec_id: exec_id.to_owned(),
            process: std::mem::take(&mut exec.spec),
            stdio: exec.process.stdio.clone(),
        };
        let then = Then::ExecStarted(exec_id.to_owned());
        self.begin(id, Some(caller), then, move || work::exec(&subject, &execution))
    }

    pub(super) fn exec(&mut self, request: ExecProcessRequest) -> Result<Reply, Failure> {
        let exec_id = parse_id(&request.exec_id)?;
        let serial = self.serial();
        let container = self.container_mut(&request.id)?;
        if container.execs.contains_key(exec_id.as_str()) {
            return Err(Failure::new(ErrorKind::AlreadyExists, format!("process {exec_id} already exists")));
        }
        match container.init.status {
            Status::Running | Status::Created => {}
            Status::Paused => return Err(Failure::precondition("cannot exec in a paused container")),
            _ => return Err(Failure::precondition("cannot exec in a stopped container")),
        }
        if container.execs.len() >= MAX_EXECS {
            let text = format!("more than {MAX_EXECS} processes in container {}", request.id);
            return Err(Failure::new(ErrorKind::ResourceExhausted, text));
        }
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let mut process = Process::new(serial, stdio);
        process.status = Status::Created;
        let spec = request.spec.map(|any| any.value).unwrap_or_default();
        container.execs.insert(exec_id.to_string(), Box::new(Exec { process, spec }));
        self.save(&request.id);
        self.publish(&events::TaskExecAdded { container_id: request.id, exec_id: exec_id.to_string() });
        Reply::empty()
    }

    pub(super) fn delete(&mut self, caller: Caller, request: &DeleteRequest) -> Result<Reply, Failure> {
        let id = &request.id;
        let container = self.container(id)?;
        if !request.exec_id.is_empty() {
            let exec_id = &request.exec_id;
            let process = self.process(id, exec_id)?;
            if process.is_alive() || process.starting || process.untold.is_some() {
                return Err(Failure::precondition("cannot delete a running process"));
            }
            let response = deletion(process);
            let dropped = self.drop_streams(id, exec_id);
            if let Some(mut exec) = self.container_mut(id)?.execs.remove(exec_id) {
                self.abandon_waiters(&mut exec.process);
                self.end_logger(exec.process.logger);
            }
            self.save(id);
            self.answer_deletion(dropped, Some(caller), response.encode_to_vec());
            return Ok(Reply::Later);
        }
        if let Some((exec_id, _)) =
            container.processes().find(|(exec, process)| !exec.is_empty() && process.starting)
        {
            return Err(Failure::precondition(format!("process {exec_id} is being started")));
        }
        match container.init.status {
            Status::Stopped | Status::Created => {}
            _ => return Err(Failure::precondition("cannot delete a running container")),
        }
        let subject = container.subject();
        // One that was never started is killed for it.
        self.container_mut(id)?.init.note_signal(SIGKILL);
        self.begin(id, Some(caller), Then::Deleted, move || work::delete(&subject))
    }

    pub(super) fn state(&mut self, request: &StateRequest) -> Result<Reply, Failure> {
        // Also of one that is being made: a daemon that comes back has to know that there will be something.
        let container = self.containers.get(&request.id);
        let container = container.ok_or_else(|| Failure::not_found("container", &request.id))?;
        let process = container.process(&request.exec_id);
        let process = process.ok_or_else(|| Failure::not_found("process", &request.exec_id))?;
        let stdio = &process.stdio;
        // As containerd's shim has it: what could not be started is what it was before.
        let refused = !request.exec_id.is_empty() && !process.refusal.is_empty();
        let status = if refused { Status::Created } else { process.status };
        Reply::message(&StateResponse {
            id: if request.exec_id.is_empty() { request.id.clone() } else { request.exec_id.clone() },
            bundle: container.bundle.to_string_lossy().into_owned(),
            pid: process.pid as u32,
            status: WireStatus::from(status).into(),
            stdin: stdio.stdin.clone(),
            stdout: stdio.stdout.clone(),
            stderr: stdio.stderr.clone(),
            terminal: stdio.terminal,
            exit_status: process.exit.map_or(0, |exit| exit.status),
            exited_at: stamp(process),
            exec_id: request.exec_id.clone(),
            cause: process.told_cause(),
        })
    }

    pub(super) fn pids(&mut self, caller: Caller, request: &PidsRequest) -> Result<Reply, Failure> {
        let subject = self.container(&request.id)?.subject();
        self.begin(&request.id, Some(caller), Then::Listed, move || work::pids(&subject))
    }

    pub(super) fn stats(&mut self, caller: Caller, request: &StatsRequest) -> Result<Reply, Failure> {
        let subject = self.container(&request.id)?.subject();
        self.begin(&request.id, Some(caller), Then::Measured, move || work::stats(&subject))
    }

    pub(super) fn pause(&mut self, caller: Caller, request: &PauseRequest) -> Result<Reply, Failure> {
        let container = self.container(&request.id)?;
        if container.init.status != Status::Running {
            return Err(Failure::precondition("cannot pause a container that is not running"));
        }
        let subject = container.subject();
        self.begin(&request.id, Some(caller), Then::Frozen, move || work::freeze(&subject))
    }

    pub(super) fn resume(&mut self, caller: Caller, request: &ResumeRequest) -> Result<Reply, Failure> {
        let container = self.container(&request.id)?;
        if container.init.status != Status::Paused {
            return Err(Failure::precondition("cannot resume a container that is not paused"));
        }
        let subject = container.subject();
        self.begin(&request.id, Some(caller), Then::Thawed, move || work::thaw(&subject))
    }

    pub(super) fn kill(&mut self, caller: Caller, request: &KillRequest) -> Result<Reply, Failure> {
        let container = self.container(&request.id)?;
        let process = self.process(&request.id, &request.exec_id)?;
        if request.signal > MAX_SIGNAL {
            return Err(Failure::invalid(format!("{} is no signal", request.signal)));
        }
        let finished = || Failure::new(ErrorKind::NotFound, "process already finished");
        if !process.is_alive() {
            return Err(if process.exit.is_some() || process.untold.is_some() {
                finished()
            } else {
                Failure::precondition("process not created")
            });
        }
        let signal = request.signal as i32;
        let init = request.exec_id.is_empty();
        // Without a pid namespace the death of the first process ends nobody else, and a frozen one does not die.
        let wide = init && (request.all || request.signal == SIGKILL && !container.own_pids)
            || request.signal == SIGKILL && container.init.status == Status::Paused;
        let linked = container.options.binary_name.is_empty();
        let (wide, subject) = (wide || init && !linked, container.subject());
        self.note_signal(request);
        if wide {
            let scope = if request.all { Scope::All } else { Scope::Process };
            return self.begin(&request.id, Some(caller), Then::Signalled, move || {
                work::kill(&subject, signal, scope)
            });
        }
        let process = self.process(&request.id, &request.exec_id)?;
        let sent = match &process.pidfd {
            Some(pidfd) => gantry_sys::process::pidfd_kill(pidfd.as_fd(), signal),
            None => gantry_sys::process::kill(process.pid, signal),
        };
        match sent {
            Ok(()) => Reply::empty(),
            Err(gantry_sys::Errno::SRCH) => Err(finished()),
            Err(errno) => Err(Failure::call("kill")(errno)),
        }
    }

    /// Remembers that a signal was asked for, before anybody can end by it.
    fn note_signal(&mut self, request: &KillRequest) {
        let Ok(container) = self.container_mut(&request.id) else { return };
        if request.all {
            container.execs.values_mut().for_each(|exec| exec.process.note_signal(request.signal));
            container.init.note_signal(request.signal);
        } else if let Some(process) = container.process_mut(&request.exec_id) {
            process.note_signal(request.signal);
        }
    }

    pub(super) fn checkpoint(
        &mut self,
        caller: Caller,
        request: CheckpointTaskRequest,
    ) -> Result<Reply, Failure> {
        let container = self.container(&request.id)?;
        if !matches!(container.init.status, Status::Running | Status::Paused) {
            return Err(Failure::precondition("cannot checkpoint a container that is not running"));
        }
        let (subject, terminal) = (container.subject(), container.init.stdio.terminal);
        let CheckpointTaskRequest { id, path, options } = request;
        self.begin(&id, Some(caller), Then::Checkpointed, move || {
            let options: CheckpointOptions = match options.filter(|any: &Any| !any.type_url.is_empty()) {
                Some(any) => any.unpack().map_err(|error| Failure::invalid(error.to_string()))?,
                None => CheckpointOptions::default(),
            };
            work::checkpoint(&subject, &path, &options, terminal)
        })
    }

    pub(super) fn update(&mut self, caller: Caller, request: UpdateTaskRequest) -> Result<Reply, Failure> {
        let container = self.container(&request.id)?;
        if container.init.status == Status::Stopped {
            return Err(Failure::precondition("cannot update a stopped container"));
        }
        let resources = request
            .resources
            .map(|any| any.value)
            .ok_or_else(|| Failure::invalid("an update needs resources"))?;
        let subject = container.subject();
        self.begin(&request.id, Some(caller), Then::Updated, move || work::update(&subject, &resources))
    }

    pub(super) fn resize(&mut self, request: &ResizePtyRequest) -> Result<Reply, Failure> {
        let process = self.process(&request.id, &request.exec_id)?;
        let Some(console) = &process.console else {
            // Before its start an exec has no terminal yet, and after its end none any more.
            return if process.stdio.terminal {
                Reply::empty()
            } else {
                Err(Failure::precondition("no terminal"))
            };
        };
        let dimension = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        let size = Winsize {
            ws_row: dimension(request.height),
            ws_col: dimension(request.width),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(console, size).map_err(Failure::call("TIOCSWINSZ"))?;
        Reply::empty()
    }

    pub(super) fn close_io(&mut self, request: &CloseIORequest) -> Result<Reply, Failure> {
        if request.stdin {
            self.close_input(&request.id, &request.exec_id)?;
        } else {
            self.process_mut(&request.id, &request.exec_id)?;
        }
        Reply::empty()
    }

    /// Lets a process see the end of its input when its client has closed his.
    pub(super) fn close_input(&mut self, id: &str, exec_id: &str) -> Result<(), Failure> {
        let process = self.process_mut(id, exec_id)?;
        process.close_input();
        if process.streamed {
            self.close_streamed_input(id, exec_id);
        }
        Ok(())
    }

    pub(super) fn wait(&mut self, caller: Caller, request: &WaitRequest) -> Result<Reply, Failure> {
        let process = self.process_mut(&request.id, &request.exec_id)?;
        if let Some(exit) = process.exit {
            let (exit_status, exited_at) = (exit.status, Some(exit.at.into()));
            return Reply::message(&WaitResponse { exit_status, exited_at, cause: process.told_cause() });
        }
        if process.waiters.len() >= MAX_WAITERS {
            let text = format!("more than {MAX_WAITERS} calls wait for one process");
            return Err(Failure::new(ErrorKind::ResourceExhausted, text));
        }
        process.waiters.push(caller);
        Ok(Reply::Later)
    }

    pub(super) fn connect(&mut self, request: &ConnectRequest) -> Result<Reply, Failure> {
        // A daemon that comes back asks for a container that may be gone; the shim is there nonetheless.
        let task_pid = self.container(&request.id).map_or(0, |container| container.init.pid as u32);
        Reply::message(&ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

/// How a process had ended, for whoever deletes it.
pub(super) fn deletion(process: &Process) -> DeleteResponse {
    DeleteResponse {
        pid: process.pid as u32,
        exit_status: process.exit.map_or(0, |exit| exit.status),
        exited_at: stamp(process),
        cause: process.told_cause(),
    }
}
