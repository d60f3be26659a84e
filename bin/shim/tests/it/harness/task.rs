use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use gantry_proto_shim::any::{Any, Empty, PROCESS, RESOURCES};
use gantry_proto_shim::mount::Mount;
use gantry_proto_shim::options::Options;
use gantry_proto_shim::process::Status;
use gantry_proto_shim::task::{
    CloseIORequest, CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, ExecProcessRequest,
    KillRequest, PauseRequest, PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, SERVICE_V2,
    StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse, UpdateTaskRequest,
    WaitRequest, WaitResponse, method,
};
use gantry_testkit::Bundle;
use gantry_ttrpc::CallError;
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::events::Seen;
use super::shim::{Expect, Shim};

/// Where the streams of a process go: paths or addresses, empty for nowhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Io {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

impl Io {
    /// Both outputs in one place: the reference takes both or none.
    pub(crate) fn stdout(path: &std::path::Path) -> Self {
        let path = path.display().to_string();
        Self { stdout: path.clone(), stderr: path, ..Self::default() }
    }

    pub(crate) fn with_input(self, path: &std::path::Path) -> Self {
        Self { stdin: path.display().to_string(), ..self }
    }
}

/// A container of a shim. It is removed when it is dropped, whatever state it is in.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub(crate) daemon: &'a Daemon,
    pub(crate) shim: Arc<Shim>,
    pub(crate) bundle: Bundle,
    pub(crate) id: String,
    /// What is mounted as the root.
    pub(crate) rootfs: Vec<Mount>,
    /// How the runtime is run; the root of its state is the daemon's.
    pub(crate) options: Options,
    exists: bool,
}

impl<'a> Task<'a> {
    pub(crate) fn new(daemon: &'a Daemon, shim: Arc<Shim>, bundle: Bundle, id: String) -> Self {
        let root = daemon.runtime_root().display().to_string();
        let options = Options { root, ..Options::default() };
        Self { daemon, shim, bundle, id, rootfs: Vec::new(), options, exists: false }
    }

    pub(crate) fn create_request(&self, io: Io) -> CreateTaskRequest {
        CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle.path().display().to_string(),
            rootfs: self.rootfs.clone(),
            terminal: io.terminal,
            stdin: io.stdin,
            stdout: io.stdout,
            stderr: io.stderr,
            options: Some(Any::pack(&self.options)),
            ..CreateTaskRequest::default()
        }
    }

    /// Creates it without streams, and gives its process.
    #[track_caller]
    pub(crate) fn create(&mut self) -> u32 {
        self.create_with(Io::default()).good().pid
    }

    pub(crate) fn create_with(&mut self, io: Io) -> Result<CreateTaskResponse, CallError> {
        let created = self.shim.call(method::CREATE, &self.create_request(io));
        if created.is_ok() {
            self.exists = true;
            // The daemon of the tests has to know whose end it waits for.
            let _ = self.shim.ask(&self.id);
        }
        created
    }

    #[track_caller]
    pub(crate) fn start(&self) -> u32 {
        self.start_process("").good().pid
    }

    pub(crate) fn start_process(&self, exec_id: &str) -> Result<StartResponse, CallError> {
        self.shim.call(method::START, &StartRequest { id: self.id.clone(), exec_id: exec_id.into() })
    }

    /// Waits for its end, and gives the exit status.
    #[track_caller]
    pub(crate) fn wait(&self) -> u32 {
        self.wait_process("").good().exit_status
    }

    pub(crate) fn wait_process(&self, exec_id: &str) -> Result<WaitResponse, CallError> {
        self.shim.call(method::WAIT, &WaitRequest { id: self.id.clone(), exec_id: exec_id.into() })
    }

    /// Waits in a thread, as a daemon does from the start on.
    pub(crate) fn wait_aside(&self, exec_id: &str) -> JoinHandle<Result<WaitResponse, CallError>> {
        let (client, id, exec_id) = (self.shim.client(), self.id.clone(), exec_id.to_owned());
        thread::spawn(move || client.call(SERVICE_V2, method::WAIT, &WaitRequest { id, exec_id }))
    }

    #[track_caller]
    pub(crate) fn delete(&mut self) -> DeleteResponse {
        let deleted = self.delete_process("").good();
        self.exists = false;
        deleted
    }

    pub(crate) fn delete_process(&self, exec_id: &str) -> Result<DeleteResponse, CallError> {
        self.shim.call(method::DELETE, &DeleteRequest { id: self.id.clone(), exec_id: exec_id.into() })
    }

    /// Says that something else has deleted it.
    pub(crate) fn forget(&mut self) {
        self.exists = false;
    }

    #[track_caller]
    pub(crate) fn kill(&self, signal: u32) {
        self.kill_process("", signal).good();
    }

    pub(crate) fn kill_process(&self, exec_id: &str, signal: u32) -> Result<Empty, CallError> {
        let request = KillRequest { id: self.id.clone(), exec_id: exec_id.into(), signal, all: false };
        self.shim.call(method::KILL, &request)
    }

    pub(crate) fn kill_all(&self, signal: u32) -> Result<Empty, CallError> {
        let request = KillRequest { id: self.id.clone(), exec_id: String::new(), signal, all: true };
        self.shim.call(method::KILL, &request)
    }

    #[track_caller]
    pub(crate) fn state(&self) -> StateResponse {
        self.state_of("").good()
    }

    pub(crate) fn state_of(&self, exec_id: &str) -> Result<StateResponse, CallError> {
        self.shim.call(method::STATE, &StateRequest { id: self.id.clone(), exec_id: exec_id.into() })
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Status {
        Status::try_from(self.state().status).expect("a status with a name")
    }

    pub(crate) fn pids(&self) -> Result<PidsResponse, CallError> {
        self.shim.call(method::PIDS, &PidsRequest { id: self.id.clone() })
    }

    pub(crate) fn pause(&self) -> Result<Empty, CallError> {
        self.shim.call(method::PAUSE, &PauseRequest { id: self.id.clone() })
    }

    pub(crate) fn resume(&self) -> Result<Empty, CallError> {
        self.shim.call(method::RESUME, &ResumeRequest { id: self.id.clone() })
    }

    pub(crate) fn stats(&self) -> Result<StatsResponse, CallError> {
        self.shim.call(method::STATS, &StatsRequest { id: self.id.clone() })
    }

    pub(crate) fn resize(&self, exec_id: &str, width: u32, height: u32) -> Result<Empty, CallError> {
        let request = ResizePtyRequest { id: self.id.clone(), exec_id: exec_id.into(), width, height };
        self.shim.call(method::RESIZE_PTY, &request)
    }

    pub(crate) fn close_stdin(&self, exec_id: &str) -> Result<Empty, CallError> {
        let request = CloseIORequest { id: self.id.clone(), exec_id: exec_id.into(), stdin: true };
        self.shim.call(method::CLOSE_IO, &request)
    }

    pub(crate) fn update(&self, resources: &Value) -> Result<Empty, CallError> {
        let resources = Some(Any::json(RESOURCES, resources.to_string().into_bytes()));
        let request = UpdateTaskRequest { id: self.id.clone(), resources, ..UpdateTaskRequest::default() };
        self.shim.call(method::UPDATE, &request)
    }

    /// Registers an exec.
    pub(crate) fn exec(&self, exec_id: &str, process: &Value, io: Io) -> Result<Empty, CallError> {
        let request = ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            terminal: io.terminal,
            stdin: io.stdin,
            stdout: io.stdout,
            stderr: io.stderr,
            spec: Some(Any::json(PROCESS, process.to_string().into_bytes())),
        };
        self.shim.call(method::EXEC, &request)
    }

    /// Runs a shell script as an exec up to its end, and gives its status.
    #[track_caller]
    pub(crate) fn sh(&self, exec_id: &str, script: &str) -> u32 {
        self.exec(exec_id, &process_spec(&["/bin/sh", "-c", script]), Io::default()).good();
        self.start_process(exec_id).good();
        let status = self.wait_process(exec_id).good().exit_status;
        self.delete_process(exec_id).good();
        status
    }

    /// Its events so far.
    pub(crate) fn events(&self) -> Vec<Seen> {
        self.daemon.events().of(&self.id)
    }

    /// The file of a cgroup of it.
    pub(crate) fn cgroup_file(&self, controller: &str, name: &str) -> PathBuf {
        gantry_testkit::Cgroups::detect().file(controller, &self.bundle.cgroup(), name)
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if !self.exists || self.shim.was_killed() {
            return;
        }
        let _ = self.resume();
        let _ = self.kill_all(9);
        let _ = self.kill_process("", 9);
        let _ = self.wait_process("");
        let deleted = self.delete_process("");
        if !std::thread::panicking() {
            deleted.good();
        }
    }
}

/// A process for `Exec`, as root with the capabilities of `runc spec`.
pub(crate) fn process_spec(args: &[&str]) -> Value {
    json!({
        "args": args,
        "cwd": "/",
        "env": ["PATH=/bin:/sbin:/usr/bin"],
        "user": { "uid": 0, "gid": 0 },
        "capabilities": {
            "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]
        },
    })
}
