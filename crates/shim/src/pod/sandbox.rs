//! The Sandbox service: a pod whose namespaces a pause of our own holds.

use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use gantry_proto_shim::Message;
use gantry_proto_shim::any::Any;
use gantry_proto_shim::cri::PodSandboxConfig;
use gantry_proto_shim::sandbox::{
    CreateSandboxRequest, Metric, Platform, PlatformResponse, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, StartSandboxResponse, WaitSandboxResponse, method,
};
use gantry_ttrpc::server::Call;
use gantry_types::{ContainerId, ErrorKind};
use serde::{Deserialize, Serialize};

use super::Pod;
use super::complete::Then;
use super::connection::Caller;
use super::dispatch::{Reply, decode};
use super::epoll::{EventFlags, Source};
use super::process::Exit;
use crate::failure::Failure;
use crate::options::RuntimeOptions;
use crate::work::{self, Made, Pausing, Subject};
use crate::worker::Done;

const SIGKILL: i32 = 9;
/// How many calls may wait for the sandbox's end.
const MAX_WAITERS: usize = 1024;

/// The version of the record.
const VERSION: u32 = 1;
/// The record's file, and the directory of the pause's bundle.
const RECORD: &str = "sandbox.json";
const BUNDLE: &str = "pause";

/// The states, in the words of CRI.
const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

/// The pod's sandbox, if it has one.
#[derive(Debug, Default)]
pub(super) struct Sandbox(Option<Box<Pause>>);

/// A sandbox that was created.
#[derive(Debug)]
struct Pause {
    pausing: Pausing,
    /// 0 until it was started.
    pid: i32,
    pidfd: Option<OwnedFd>,
    cgroup: Option<gantry_cgroup::CgroupRecord>,
    created_at: SystemTime,
    exit: Option<Exit>,
    /// Whether a worker is making or removing the pause.
    busy: bool,
    /// Whether nothing of it is left.
    removed: bool,
    waiters: Vec<Caller>,
    /// Who waits for the pause's removal.
    stoppers: Vec<Caller>,
}

impl Pause {
    fn new(pausing: Pausing) -> Self {
        Pause {
            pausing,
            pid: 0,
            pidfd: None,
            cgroup: None,
            created_at: SystemTime::now(),
            exit: None,
            busy: false,
            removed: false,
            waiters: Vec::new(),
            stoppers: Vec::new(),
        }
    }
}

/// What is kept of a sandbox: docs/design/0004-shim.md, State (version 1).
#[derive(Debug, Serialize, Deserialize)]
struct SandboxRecord {
    version: u32,
    id: String,
    pid: i32,
    start_time: u64,
    cgroup: Option<gantry_cgroup::CgroupRecord>,
    netns: String,
    options: RuntimeOptions,
    created_at: SystemTime,
    exit: Option<Exit>,
}

impl Sandbox {
    /// Whether the pause runs or is being made.
    pub(super) fn is_alive(&self) -> bool {
        self.0.as_ref().is_some_and(|pause| pause.busy || pause.pid != 0 && pause.exit.is_none())
    }

    /// Nobody waits on a connection that is gone.
    pub(super) fn forget_callers(&mut self, connection: u32) {
        if let Some(pause) = &mut self.0 {
            pause.waiters.retain(|caller| caller.connection != connection);
            pause.stoppers.retain(|caller| caller.connection != connection);
        }
    }

    /// Who waits for the pause's end; nothing while a worker is at it, or somebody waits for that.
    pub(super) fn suspend(&self) -> Option<Vec<Caller>> {
        let Some(pause) = &self.0 else { return Some(Vec::new()) };
        (!pause.busy && pause.stoppers.is_empty()).then(|| pause.waiters.clone())
    }

    /// Goes on for those who wait.
    pub(super) fn resume(&mut self, waiters: Vec<Caller>) {
        if let Some(pause) = &mut self.0 {
            pause.waiters = waiters;
        }
    }

    /// The sandbox of an id; containerd asks for none other.
    fn get(&mut self, id: &str) -> Result<&mut Pause, Failure> {
        let pause = self.0.as_deref_mut().filter(|pause| id.is_empty() || pause.pausing.id.as_str() == id);
        pause.ok_or_else(|| Failure::not_found("sandbox", id))
    }
}

/// Every request of the service has the sandbox's id as its first field.
fn id_of(call: &Call) -> Result<String, Failure> {
    decode::<gantry_proto_shim::sandbox::PingRequest>(call).map(|request| request.sandbox_id)
}

impl Pod {
    pub(super) fn sandbox_call(&mut self, caller: Caller, call: &Call) -> Result<Reply, Failure> {
        let id = id_of(call)?;
        match call.method.as_str() {
            method::CREATE_SANDBOX => self.create_sandbox(decode(call)?),
            method::START_SANDBOX => self.start_sandbox(caller, &id),
            method::STOP_SANDBOX => self.stop_sandbox(caller, &id),
            method::WAIT_SANDBOX => self.wait_sandbox(caller, &id),
            method::SANDBOX_STATUS => self.sandbox_status(&decode(call)?),
            method::SANDBOX_METRICS => self.sandbox_metrics(caller, &id),
            method::PLATFORM => Reply::message(&PlatformResponse { platform: Some(platform()) }),
            method::PING_SANDBOX => self.sandbox.get(&id).and_then(|_| Reply::empty()),
            method::SHUTDOWN_SANDBOX => self.shutdown(caller),
            name => Err(Failure::new(ErrorKind::Unimplemented, format!("method {name} is not served"))),
        }
    }

    fn create_sandbox(&mut self, request: CreateSandboxRequest) -> Result<Reply, Failure> {
        if self.sandbox.0.is_some() {
            return Err(Failure::new(ErrorKind::AlreadyExists, "the pod has a sandbox already"));
        }
        let id: ContainerId = request
            .sandbox_id
            .parse()
            .map_err(|error: gantry_types::InvalidId| Failure::invalid(error.to_string()))?;
        let config = match request.options.filter(Any::is::<PodSandboxConfig>) {
            Some(any) => any.unpack().map_err(|error| Failure::invalid(error.to_string()))?,
            None => PodSandboxConfig::default(),
        };
        let pausing = Pausing {
            id,
            namespace: self.identity.namespace.clone(),
            bundle: self.identity.directory.join(BUNDLE),
            netns: request.netns_path,
            config,
            options: self.identity.options.clone(),
        };
        self.sandbox.0 = Some(Box::new(Pause::new(pausing)));
        self.save_sandbox();
        Reply::empty()
    }

    /// Writes the sandbox's record.
    fn save_sandbox(&self) {
        let Some(pause) = &self.sandbox.0 else { return };
        let Pausing { id, netns, options, .. } = &pause.pausing;
        let record = SandboxRecord {
            version: VERSION,
            id: id.to_string(),
            pid: pause.pid,
            start_time: gantry_runtime::start_time(pause.pid).unwrap_or(0),
            cgroup: pause.cgroup.clone(),
            netns: netns.clone(),
            options: options.clone(),
            created_at: pause.created_at,
            exit: pause.exit,
        };
        let written = serde_json::to_vec(&record)
            .map_err(|error| Failure::invalid(error.to_string()))
            .and_then(|text| super::replace(&self.identity.directory.join(RECORD), &text));
        if let Err(failure) = written {
            self.log.error(&format!("record of the sandbox: {failure}"));
        }
    }

    /// Takes over the sandbox of a former shim.
    pub(super) fn adopt_sandbox(&mut self) {
        let Ok(text) = std::fs::read(self.identity.directory.join(RECORD)) else { return };
        let record = serde_json::from_slice::<SandboxRecord>(&text).ok().filter(|it| it.version == VERSION);
        let Some((record, id)) = record.and_then(|record| record.id.parse().ok().map(|id| (record, id)))
        else {
            return self.log.error("the sandbox's record is damaged or of another version");
        };
        let pausing = Pausing {
            id,
            namespace: self.identity.namespace.clone(),
            bundle: self.identity.directory.join(BUNDLE),
            netns: record.netns,
            config: PodSandboxConfig::default(),
            options: record.options,
        };
        let mut pause = Pause::new(pausing);
        pause.pid = record.pid;
        pause.cgroup = record.cgroup;
        pause.created_at = record.created_at;
        pause.exit = record.exit;
        let pidfd = super::record::alive(record.pid, record.start_time);
        let lost = record.pid != 0 && record.exit.is_none() && pidfd.is_none() && !self.handed_over;
        if let Some(pidfd) = pidfd {
            if let Err(failure) = self.epoll.add(&pidfd, Source::Pause, EventFlags::IN) {
                self.log.error(&failure.message);
            }
            pause.pidfd = Some(pidfd);
        }
        self.sandbox.0 = Some(Box::new(pause));
        if lost {
            self.sandbox_reaped(record.pid, Exit::lost());
        }
    }

    /// The pause that was adopted has ended.
    pub(super) fn adopted_pause_ended(&mut self) {
        // After an upgrade it is our child all the same.
        self.reap();
        let Some(pause) = self.sandbox.0.as_deref() else { return };
        let known =
            pause.pidfd.as_ref().and_then(|it| gantry_sys::process::exit_of(it.as_fd()).ok().flatten());
        self.sandbox_reaped(pause.pid, known.map_or_else(Exit::lost, Exit::of));
    }

    fn start_sandbox(&mut self, caller: Caller, id: &str) -> Result<Reply, Failure> {
        let pause = self.sandbox.get(id)?;
        if pause.busy || pause.pid != 0 {
            return Err(Failure::precondition("the sandbox was started already"));
        }
        pause.busy = true;
        let pausing = pause.pausing.clone();
        self.begin(id, Some(caller), Then::SandboxStarted, move || work::pause(&pausing))
    }

    pub(super) fn sandbox_started(&mut self, caller: Option<Caller>, verdict: Result<Done, Failure>) {
        let Some(pause) = self.sandbox.0.as_deref_mut() else { return };
        pause.busy = false;
        let answer = verdict.and_then(|done| {
            let made: Made = serde_json::from_slice(&done.body)
                .map_err(|error| Failure::new(ErrorKind::Internal, format!("a worker's answer: {error}")))?;
            pause.pid = made.pid;
            pause.cgroup = made.cgroup;
            pause.pidfd = done.fds.into_iter().next();
            let created_at = Some(pause.created_at.into());
            Ok(StartSandboxResponse { pid: made.pid as u32, created_at, spec: None }.encode_to_vec())
        });
        let pid = pause.pid;
        self.save_sandbox();
        self.answer_to(caller, answer);
        if let Some(ended) = self.ended.iter().find(|ended| ended.pid == pid).copied() {
            self.sandbox_reaped(pid, ended.exit);
        }
    }

    fn stop_sandbox(&mut self, caller: Caller, id: &str) -> Result<Reply, Failure> {
        let pause = self.sandbox.get(id)?;
        if pause.pid == 0 && !pause.busy {
            return Reply::empty();
        }
        if pause.removed {
            return Reply::empty();
        }
        pause.stoppers.push(caller);
        match &pause.pidfd {
            Some(pidfd) if pause.exit.is_none() => {
                // What the pause holds is gone with it; there is nothing that it could do before.
                let _ = gantry_sys::process::pidfd_kill(pidfd.as_fd(), SIGKILL);
                Ok(Reply::Later)
            }
            _ => self.remove_pause().map(|()| Reply::Later),
        }
    }

    fn remove_pause(&mut self) -> Result<(), Failure> {
        let Some(pause) = self.sandbox.0.as_deref_mut().filter(|pause| !pause.busy) else { return Ok(()) };
        pause.busy = true;
        let (id, pausing) = (pause.pausing.id.to_string(), pause.pausing.clone());
        self.begin(&id, None, Then::SandboxStopped, move || work::unpause(&pausing)).map(drop)
    }

    pub(super) fn sandbox_stopped(&mut self, _caller: Option<Caller>, verdict: Result<Done, Failure>) {
        let Some(pause) = self.sandbox.0.as_deref_mut() else { return };
        pause.busy = false;
        pause.removed = verdict.is_ok();
        let answer = verdict.map(|_| Vec::new());
        for caller in std::mem::take(&mut pause.stoppers) {
            self.answer(caller, answer.clone());
        }
    }

    /// A child that is no container's has ended: the pause, or somebody else.
    pub(super) fn sandbox_reaped(&mut self, pid: i32, exit: Exit) {
        let Some(pause) = self.sandbox.0.as_deref_mut() else { return };
        if pause.pid != pid || pause.exit.is_some() {
            return;
        }
        pause.exit = Some(exit);
        if let Some(pidfd) = pause.pidfd.take() {
            // It is not waited for unless it was adopted.
            self.epoll.remove(&pidfd);
        }
        let waiters = std::mem::take(&mut pause.waiters);
        let answer =
            WaitSandboxResponse { exit_status: exit.status, exited_at: Some(exit.at.into()) }.encode_to_vec();
        for caller in waiters {
            self.answer(caller, Ok(answer.clone()));
        }
        if let Err(failure) = self.remove_pause() {
            self.log.error(&failure.message);
        }
    }

    fn wait_sandbox(&mut self, caller: Caller, id: &str) -> Result<Reply, Failure> {
        let pause = self.sandbox.get(id)?;
        if let Some(exit) = pause.exit {
            let exited_at = Some(exit.at.into());
            return Reply::message(&WaitSandboxResponse { exit_status: exit.status, exited_at });
        }
        if pause.waiters.len() >= MAX_WAITERS {
            let text = format!("more than {MAX_WAITERS} calls wait for the sandbox");
            return Err(Failure::new(ErrorKind::ResourceExhausted, text));
        }
        pause.waiters.push(caller);
        Ok(Reply::Later)
    }

    fn sandbox_status(&mut self, request: &SandboxStatusRequest) -> Result<Reply, Failure> {
        let ready = self.sandbox.is_alive();
        let pause = self.sandbox.get(&request.sandbox_id)?;
        let mut info = std::collections::BTreeMap::new();
        if request.verbose {
            info.insert("pid".to_owned(), pause.pid.to_string());
            info.insert("netns".to_owned(), pause.pausing.netns.clone());
        }
        Reply::message(&SandboxStatusResponse {
            sandbox_id: pause.pausing.id.to_string(),
            pid: pause.pid as u32,
            state: if ready { READY } else { NOT_READY }.to_owned(),
            info,
            created_at: Some(pause.created_at.into()),
            exited_at: pause.exit.map(|exit| exit.at.into()),
            extra: None,
        })
    }

    fn sandbox_metrics(&mut self, caller: Caller, id: &str) -> Result<Reply, Failure> {
        let pause = self.sandbox.get(id)?;
        let subject = Subject {
            id: pause.pausing.id.clone(),
            namespace: pause.pausing.namespace.clone(),
            bundle: pause.pausing.bundle.clone(),
            options: pause.pausing.options.clone(),
            root_on_host: false,
            cgroup: pause.cgroup.clone(),
        };
        self.begin(id, Some(caller), Then::SandboxMeasured, move || work::stats(&subject))
    }

    pub(super) fn sandbox_measured(
        &mut self,
        id: &str,
        caller: Option<Caller>,
        verdict: Result<Done, Failure>,
    ) {
        let answer = verdict.and_then(|done| {
            let data = Any::decode(&*done.body).map_err(|error| {
                Failure::new(ErrorKind::Internal, format!("a worker's counters: {error}"))
            })?;
            let timestamp = Some(SystemTime::now().into());
            let metrics = Some(Metric { timestamp, id: id.to_owned(), data: Some(data) });
            Ok(SandboxMetricsResponse { metrics }.encode_to_vec())
        });
        self.answer_to(caller, answer);
    }
}

/// What containers of the pod can be.
fn platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Platform { os: "linux".to_owned(), architecture: architecture.to_owned(), ..Platform::default() }
}
