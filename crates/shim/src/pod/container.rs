//! A container of the pod.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use gantry_cgroup::{CgroupRecord, MemoryLevel, OomEvents};
use gantry_proto_shim::mount::Mount;
use gantry_ttrpc::server::Call;
use gantry_types::ContainerId;

use super::connection::Caller;
use super::process::Process;
use crate::options::RuntimeOptions;
use crate::work::{Creation, Subject};

/// How many calls may wait for an operation to end.
pub(crate) const MAX_QUEUED: usize = 64;
/// How many execs a container may have at once.
pub(crate) const MAX_EXECS: usize = 4096;

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) namespace: String,
    pub(crate) bundle: PathBuf,
    pub(crate) options: RuntimeOptions,
    pub(crate) init: Process,
    pub(crate) execs: BTreeMap<String, Box<Exec>>,
    pub(crate) cgroup: Option<CgroupRecord>,
    pub(crate) root_on_host: bool,
    /// Whether it has a pid namespace of its own, whose end is the end of all its processes.
    pub(crate) own_pids: bool,
    /// Whether hooks follow its start.
    pub(crate) poststart: bool,
    /// What it is to be restored from, and how.
    pub(crate) restore: Option<Box<(PathBuf, Creation)>>,
    /// Its root's mounts, until they are told.
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) oom: Option<OomEvents>,
    /// How many processes of its cgroup the kernel had killed for want of memory when somebody was last told that it was that.
    pub(crate) oom_kills: u64,
    /// Since when its memory is watched, by CLOCK_MONOTONIC.
    pub(crate) watched: Option<Duration>,
    /// Where memory ran out when it was told last: systemd removes a scope with its last process, so that nobody can look
    /// afterwards.
    pub(crate) exhausted: Option<MemoryLevel>,
    /// Whether an operation that changes it is at work.
    pub(crate) busy: bool,
    /// Calls that wait for the operation.
    pub(crate) queue: VecDeque<(Caller, Call)>,
    /// Whether those who outlived the first process were killed.
    pub(crate) swept: bool,
}

/// Another process of a container.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) process: Process,
    /// What is to be executed, in JSON, until it is.
    pub(crate) spec: Vec<u8>,
}

impl Container {
    /// What operations are told of it.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            id: self.id.clone(),
            namespace: self.namespace.clone(),
            bundle: self.bundle.clone(),
            options: self.options.clone(),
            root_on_host: self.root_on_host,
            cgroup: self.cgroup.clone(),
        }
    }

    /// The process of an exec's id, or the first one for an empty id.
    pub(crate) fn process(&self, exec_id: &str) -> Option<&Process> {
        if exec_id.is_empty() {
            return Some(&self.init);
        }
        self.execs.get(exec_id).map(|exec| &exec.process)
    }

    pub(crate) fn process_mut(&mut self, exec_id: &str) -> Option<&mut Process> {
        if exec_id.is_empty() {
            return Some(&mut self.init);
        }
        self.execs.get_mut(exec_id).map(|exec| &mut exec.process)
    }

    /// Its processes with their exec ids; the first one's is empty and comes last, as its end does.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (&str, &Process)> {
        let execs = self.execs.iter().map(|(id, exec)| (id.as_str(), &exec.process));
        execs.chain([("", &self.init)])
    }
}
