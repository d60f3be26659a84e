//! The pod's state on disk: written before an answer, read by whoever takes the pod over.
//!
//! docs/design/0004-shim.md, State (version 1).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use gantry_cgroup::CgroupRecord;
use gantry_types::ContainerId;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::Pod;
use super::cause::Cause;
use super::container::{Container, Exec};
use super::epoll::{EventFlags, Source};
use super::process::{Exit, Process, Status};
use crate::failure::Failure;
use crate::options::RuntimeOptions;
use crate::stdio::Stdio;
use crate::work::{self, Subject};

/// The version of the records that this shim writes and reads.
const VERSION: u32 = 1;
/// The directory of the containers' records.
pub(crate) const CONTAINERS: &str = "containers";
/// The largest record that is read, in bytes.
const MAX_RECORD_BYTES: u64 = 4 << 20;
/// How many records are read.
const MAX_RECORDS: usize = 1024;
/// How long the end of an adopted process may go unreaped before its status is given up.
const REAP_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, Deserialize)]
struct ContainerRecord {
    version: u32,
    id: String,
    bundle: PathBuf,
    options: RuntimeOptions,
    cgroup: Option<CgroupRecord>,
    root_on_host: bool,
    own_pids: bool,
    poststart: bool,
    #[serde(default)]
    oom_kills: u64,
    init: ProcessRecord,
    execs: BTreeMap<String, ProcessRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ProcessRecord {
    pid: i32,
    start_time: u64,
    /// The number of the pidfd's inode, which on 64 bits names one process of the boot: Linux 6.9.
    pidfd_inode: u64,
    status: Status,
    exit: Option<Exit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<Box<Cause>>,
    stdio: Stdio,
    logger: Option<i32>,
    streamed: bool,
    #[serde(default)]
    input_closed: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    spec: String,
}

impl ProcessRecord {
    fn of(process: &Process, spec: &[u8]) -> Self {
        ProcessRecord {
            pid: process.pid,
            start_time: process.start_time,
            pidfd_inode: process.pidfd.as_ref().map_or(0, inode),
            status: process.status,
            exit: process.exit,
            cause: process.cause.clone(),
            stdio: process.stdio.clone(),
            logger: process.logger,
            streamed: process.streamed,
            input_closed: process.input_closed,
            spec: String::from_utf8_lossy(spec).into_owned(),
        }
    }

    /// The process's descriptor, if it is still the one that was recorded.
    fn alive(&self) -> Option<OwnedFd> {
        let same = |pidfd: &OwnedFd| self.pidfd_inode == 0 || inode(pidfd) == self.pidfd_inode;
        alive(self.pid, self.start_time).filter(same)
    }
}

/// The descriptor of a process that lives. It is opened before the process is looked at, so that it is of that one.
pub(super) fn alive(pid: i32, start_time: u64) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let same = gantry_runtime::start_time(pid).is_ok_and(|time| time == start_time);
    (same && !super::exit::has_ended(&pidfd)).then_some(pidfd)
}

fn inode(pidfd: &OwnedFd) -> u64 {
    rustix::fs::fstat(pidfd).map_or(0, |stat| stat.st_ino)
}

fn path_of(directory: &Path, id: &str) -> PathBuf {
    directory.join(CONTAINERS).join(format!("{id}.json"))
}

impl Pod {
    /// Writes a container's record.
    pub(super) fn save(&self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let execs = container.execs.iter();
        let record = ContainerRecord {
            version: VERSION,
            id: container.id.to_string(),
            bundle: container.bundle.clone(),
            options: container.options.clone(),
            cgroup: container.cgroup.clone(),
            root_on_host: container.root_on_host,
            own_pids: container.own_pids,
            poststart: container.poststart,
            oom_kills: container.oom_kills,
            init: ProcessRecord::of(&container.init, &[]),
            execs: execs
                .map(|(id, exec)| (id.clone(), ProcessRecord::of(&exec.process, &exec.spec)))
                .collect(),
        };
        let path = path_of(&self.identity.directory, id);
        let written = serde_json::to_vec(&record)
            .map_err(|error| Failure::invalid(error.to_string()))
            .and_then(|text| replace(&path, &text));
        if let Err(failure) = written {
            // The container goes on; only a successor of ours would miss it.
            self.log.error(&format!("record of {id}: {failure}"));
        }
    }

    /// Removes the record of a container that is gone.
    pub(super) fn forget(&self, id: &str) {
        let path = path_of(&self.identity.directory, id);
        if let Err(errno) = rustix::fs::unlink(&path)
            && errno != gantry_sys::Errno::NOENT
        {
            self.log.warn(&format!("unlink {}: {errno}", path.display()));
        }
    }

    /// Takes over the containers whose records lie in the pod's directory.
    pub(super) fn adopt(&mut self) {
        let directory = self.identity.directory.join(CONTAINERS);
        let Ok(entries) = std::fs::read_dir(&directory) else { return };
        let mut ended = Vec::new();
        for entry in entries.flatten().take(MAX_RECORDS) {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read_record(&path) {
                Ok(record) => ended.extend(self.adopt_one(record)),
                Err(failure) => self.log.error(&failure.message),
            }
        }
        for (id, exec_id) in ended {
            let exit = Exit::lost();
            self.log.warn(&format!("the end of {id} {exec_id} was missed: supervisor lost"));
            self.process_ended(&id, &exec_id, exit);
        }
        let ids: Vec<String> = self.containers.keys().cloned().collect();
        for id in ids {
            self.save(&id);
            self.watch_memory(&id);
        }
    }

    /// Takes over one container; gives back its processes whose ends nobody saw.
    fn adopt_one(&mut self, record: ContainerRecord) -> Vec<(String, String)> {
        let id = record.id.clone();
        let container_id: ContainerId = match id.parse() {
            Ok(id) => id,
            Err(error) => {
                self.log.error(&format!("record of {id:?}: {error}"));
                return Vec::new();
            }
        };
        let subject = Subject {
            id: container_id.clone(),
            namespace: self.identity.namespace.clone(),
            bundle: record.bundle.clone(),
            options: record.options.clone(),
            root_on_host: record.root_on_host,
            cgroup: record.cgroup.clone(),
        };
        if record.init.status == Status::Creating {
            // Nobody was told of it; what there is of it goes.
            self.log.warn(&format!("container {id} was being created when its shim ended"));
            // Before anybody is served: the name must be free, or not, and nothing in between.
            if let Err(failure) = work::delete_forced(&subject) {
                self.log.error(&format!("what was made of {id} stays behind: {failure}"));
            }
            self.forget(&id);
            return Vec::new();
        }
        let mut missed = Vec::new();
        let init = self.adopt_process(&record.init, || missed.push((id.clone(), String::new())));
        let mut execs = BTreeMap::new();
        for (exec_id, exec) in &record.execs {
            let process = self.adopt_process(exec, || missed.push((id.clone(), exec_id.clone())));
            let spec = exec.spec.clone().into_bytes();
            execs.insert(exec_id.clone(), Box::new(Exec { process, spec }));
        }
        let container = Container {
            id: container_id,
            namespace: self.identity.namespace.clone(),
            bundle: record.bundle,
            options: record.options,
            init,
            execs,
            cgroup: record.cgroup,
            root_on_host: record.root_on_host,
            own_pids: record.own_pids,
            poststart: record.poststart,
            restore: None,
            rootfs: Vec::new(),
            oom: None,
            oom_kills: record.oom_kills,
            watched: None,
            exhausted: None,
            busy: false,
            queue: Default::default(),
            swept: false,
        };
        self.containers.insert(id, Box::new(container));
        // The ends of execs are told first.
        missed.reverse();
        missed
    }

    fn adopt_process(&mut self, record: &ProcessRecord, missed: impl FnOnce()) -> Process {
        let mut process = Process::new(self.serial(), record.stdio.clone());
        process.pid = record.pid;
        process.start_time = record.start_time;
        process.status = record.status;
        process.exit = record.exit;
        process.cause.clone_from(&record.cause);
        process.logger = record.logger;
        process.streamed = record.streamed;
        if record.exit.is_some() || record.pid == 0 {
            return process;
        }
        let Some(pidfd) = record.alive() else {
            // A child is reaped, and tells more.
            if !self.handed_over {
                missed();
            }
            return process;
        };
        if let Err(failure) = self.epoll.add(&pidfd, Source::Adopted(process.serial), EventFlags::IN) {
            self.log.error(&failure.message);
        }
        process.pidfd = Some(pidfd);
        process.input_closed = record.input_closed;
        if self.handed_over {
            return process;
        }
        match record.stdio.hold() {
            Ok(held) => process.held = held,
            // Its client has removed the FIFOs, then.
            Err(failure) => self.log.warn(&failure.message),
        }
        if process.input_closed {
            process.close_input();
        }
        process
    }

    /// When to give up waiting for others to reap.
    pub(super) fn unreaped_deadline(&self) -> Option<Instant> {
        self.unreaped.iter().map(|(_, since)| *since + REAP_TIMEOUT).min()
    }

    /// Tells the ends of adopted processes that nobody reaps.
    pub(super) fn give_up_unreaped(&mut self) {
        let now = Instant::now();
        let due: Vec<u32> =
            self.unreaped.iter().filter(|(_, since)| now >= *since + REAP_TIMEOUT).map(|it| it.0).collect();
        for serial in due {
            self.adopted_lost(serial);
        }
    }
}

fn read_record(path: &Path) -> Result<ContainerRecord, Failure> {
    use std::io::Read;
    let named = || format!("record {}", path.display());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(Failure::call(named()))?;
    let mut text = Vec::new();
    std::fs::File::from(file).take(MAX_RECORD_BYTES).read_to_end(&mut text).map_err(Failure::io(named()))?;
    let record: ContainerRecord =
        serde_json::from_slice(&text).map_err(|error| Failure::invalid(format!("{}: {error}", named())))?;
    if record.version != VERSION {
        let text = format!("{} has version {}; this shim knows {VERSION}", named(), record.version);
        return Err(Failure::invalid(text));
    }
    Ok(record)
}

/// Replaces a file, so that readers see the old or the new one. Nothing is synced: records describe processes.
pub(crate) fn replace(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let named = |call: &str| format!("{call} {}", path.display());
    let temporary = path.with_extension("new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file =
        openat(CWD, &temporary, flags, Mode::from_raw_mode(0o600)).map_err(Failure::call(named("open")))?;
    let mut rest = text;
    while !rest.is_empty() {
        let written = rustix::io::write(file.as_fd(), rest).map_err(Failure::call(named("write")))?;
        rest = &rest[written..];
    }
    rustix::fs::rename(&temporary, path).map_err(Failure::call(named("rename")))
}

/// The pod itself: docs/design/0004-shim.md, State (version 1).
#[derive(Debug, Serialize, Deserialize)]
struct PodRecord {
    version: u32,
    namespace: String,
    socket: PathBuf,
    events: String,
    pid: u32,
    start_time: u64,
}

const POD: &str = "pod.json";

/// Whether a shim has served the pod before, and may have left something: its record comes before everything else.
pub(crate) fn has_lived(directory: &Path) -> bool {
    rustix::fs::accessat(CWD, directory.join(POD), Access::EXISTS, AtFlags::empty()).is_ok()
}

impl Pod {
    /// Writes who serves the pod, and where.
    pub(super) fn save_pod(&self) {
        let pid = std::process::id();
        let record = PodRecord {
            version: VERSION,
            namespace: self.identity.namespace.clone(),
            socket: self.identity.socket.clone(),
            events: self.identity.events.clone(),
            pid,
            start_time: gantry_runtime::start_time(pid as i32).unwrap_or(0),
        };
        let written = serde_json::to_vec(&record)
            .map_err(|error| Failure::invalid(error.to_string()))
            .and_then(|text| replace(&self.identity.directory.join(POD), &text));
        if let Err(failure) = written {
            self.log.error(&format!("record of the pod: {failure}"));
        }
    }
}

/// The socket that a pod was last served on.
pub(crate) fn recorded_socket(directory: &Path) -> Option<PathBuf> {
    let text = std::fs::read(directory.join(POD)).ok()?;
    let record = serde_json::from_slice::<PodRecord>(&text).ok()?;
    (record.version == VERSION).then_some(record.socket)
}

/// What a record says to whoever removes a container without its shim.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) options: RuntimeOptions,
    pub(crate) pid: i32,
    /// How its first process ended, if that was seen.
    pub(crate) exit: Option<(u32, SystemTime)>,
    /// Why it ended, as clients are told.
    pub(crate) cause: Option<gantry_proto_shim::own::Cause>,
    /// Its processes whose streams are served, by their exec ids; the first one's is empty.
    pub(crate) streamed: Vec<String>,
    path: PathBuf,
}

impl Remains {
    /// Reads the record of a container, if there is one.
    pub(crate) fn read(directory: &Path, id: &str) -> Option<Self> {
        let path = path_of(directory, id);
        let record = read_record(&path).ok()?;
        let exit = record.init.exit.map(|exit| (exit.status, exit.at));
        let cause = record.init.cause.as_deref().map(Into::into);
        let init = [(String::new(), record.init.streamed)];
        let execs = record.execs.into_iter().map(|(exec_id, exec)| (exec_id, exec.streamed));
        let streamed =
            execs.chain(init).filter(|(_, streamed)| *streamed).map(|(exec_id, _)| exec_id).collect();
        Some(Remains { options: record.options, pid: record.init.pid, exit, cause, streamed, path })
    }

    /// Removes it.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
