//! The shim's own end, and what it tells of itself.

use std::path::Path;
use std::time::{Duration, Instant};

use gantry_proto_shim::own::{ContainerReport, ExecReport, ReportResponse};
use gantry_proto_shim::process::Status as WireStatus;

use super::Pod;
use super::connection::Caller;
use super::dispatch::Reply;
use crate::failure::Failure;

/// How long the last events may take to be acknowledged.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A shim that ends when its events are delivered.
#[derive(Debug)]
pub(super) struct Ending {
    caller: Option<Caller>,
    pub(super) deadline: Instant,
}

impl Pod {
    /// Ends the shim if it has no containers, as containerd expects of the call.
    pub(super) fn shutdown(&mut self, caller: Caller) -> Result<Reply, Failure> {
        if !self.containers.is_empty() || self.sandbox.is_alive() {
            return Reply::empty();
        }
        self.end(Some(caller));
        Ok(Reply::Later)
    }

    /// Ends the shim once the daemon has its events.
    pub(super) fn end(&mut self, caller: Option<Caller>) {
        if self.ending.is_some() {
            return self.answer_to(caller, Ok(Vec::new()));
        }
        // While we still listen, for whoever finds nobody may put another socket there; and never that other one. Its inode's
        // number is nobody else's as long as the socket is open.
        if self.socket.is_some() && self.socket == inode_of(&self.identity.socket) {
            let _ = rustix::fs::unlink(&self.identity.socket);
        }
        // From now on a new shim may have the address.
        self.listener = None;
        self.ending = Some(Ending { caller, deadline: Instant::now() + FLUSH_TIMEOUT });
    }

    /// Whether everything is done; then the caller is told, and nothing of the pod stays.
    pub(super) fn is_over(&mut self) -> bool {
        let Some(ending) = &self.ending else { return false };
        let flushed = self.events.is_idle();
        if !flushed && Instant::now() < ending.deadline {
            return false;
        }
        if !flushed {
            self.log.warn("events are left behind: the daemon does not take them");
        }
        let caller = ending.caller;
        self.streams.quit();
        let old = crate::place::set_aside(&self.identity.directory);
        self.answer_to(caller, Ok(Vec::new()));
        if let Err(failure) = old.and_then(|old| crate::place::remove(&old)) {
            self.log.warn(&failure.message);
        }
        true
    }

    pub(super) fn report(&mut self) -> Result<Reply, Failure> {
        let containers = self.containers.iter().map(|(id, container)| ContainerReport {
            id: id.clone(),
            pid: container.init.pid as u32,
            status: WireStatus::from(container.init.status).into(),
            execs: container
                .execs
                .iter()
                .map(|(id, exec)| ExecReport {
                    id: id.clone(),
                    pid: exec.process.pid as u32,
                    status: WireStatus::from(exec.process.status).into(),
                    dropped_log_bytes: 0,
                })
                .collect(),
            dropped_log_bytes: 0,
            attached: 0,
        });
        let report = ReportResponse {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            containers: containers.collect(),
            workers_started: self.workers_started,
            events_waiting: self.events.waiting() as u64,
            events_dropped: self.events.dropped(),
            streams_pid: self.streams.pid(),
            private_bytes: private_bytes(),
            connections: self.clients.len() as u32,
        };
        Reply::message(&report)
    }
}

/// The device and the inode of a path.
pub(super) fn inode_of(path: &Path) -> Option<(u64, u64)> {
    rustix::fs::lstat(path).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// The memory that is this process's alone: proc_pid_smaps_rollup(5).
fn private_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let kib = |line: &str| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok();
    text.lines().filter(|line| line.starts_with("Private_")).filter_map(kib).sum::<u64>() * 1024
}
