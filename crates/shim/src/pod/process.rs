//! A process of a container: its first one, or an exec.

use std::os::fd::OwnedFd;
use std::time::SystemTime;

use gantry_proto_shim::process::Status as WireStatus;
use serde::{Deserialize, Serialize};

use super::cause::Cause;
use super::connection::Caller;
use crate::stdio::{Role, Stdio};

/// Where a process is in its life.
///
/// ```text
///   Creating ──► Created ──► Running ◄──► Paused
///                   └───────────┴────────────┴──► Stopped
/// ```
/// Creating ends with the worker's answer; Stopped begins when the exit is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl From<Status> for WireStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Creating => WireStatus::Unknown,
            Status::Created => WireStatus::Created,
            Status::Running => WireStatus::Running,
            Status::Paused => WireStatus::Paused,
            Status::Stopped => WireStatus::Stopped,
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// The code, or 128 and the signal's number.
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
    /// The signal that ended it; 0 for none, or an unknown one.
    #[serde(default)]
    pub(crate) signal: u32,
    /// Whether nobody saw it, and the kernel does not tell.
    #[serde(default)]
    pub(crate) lost: bool,
}

/// The status of a process whose end nobody saw, or that never ran.
const UNKNOWN_STATUS: u32 = 255;

impl Exit {
    /// The end of now, as the kernel tells it.
    pub(crate) fn of(how: gantry_sys::process::Exit) -> Self {
        let signal = match how {
            gantry_sys::process::Exit::Signal(signal) => signal as u32,
            gantry_sys::process::Exit::Code(_) => 0,
        };
        Exit { status: how.status() as u32, at: SystemTime::now(), signal, lost: false }
    }

    /// The end of a process that nobody saw.
    pub(crate) fn lost() -> Self {
        Exit { lost: true, ..Self::never_ran() }
    }

    /// The end of a process that never ran its program.
    pub(crate) fn never_ran() -> Self {
        Exit { status: UNKNOWN_STATUS, at: SystemTime::now(), signal: 0, lost: false }
    }
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its number in this shim, for events.
    pub(crate) serial: u32,
    /// 0 until it exists.
    pub(crate) pid: i32,
    pub(crate) start_time: u64,
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) status: Status,
    /// Its end, once it was told.
    pub(crate) exit: Option<Exit>,
    /// Its end, while something else has to be told first.
    pub(crate) untold: Option<Exit>,
    /// Why it ended, once that was told.
    pub(crate) cause: Option<Box<Cause>>,
    /// The signals that calls had it sent, a bit each.
    pub(crate) requested: u64,
    /// Why it could not be started; empty if it was.
    pub(crate) refusal: String,
    pub(crate) stdio: Stdio,
    /// Its terminal's master.
    pub(crate) console: Option<OwnedFd>,
    /// The ends of its streams that are held for clients.
    pub(crate) held: Vec<(Role, OwnedFd)>,
    /// The descriptors that the streams process serves, beside the terminal.
    pub(crate) streams: Vec<(Role, OwnedFd)>,
    /// The process that takes its output.
    pub(crate) logger: Option<i32>,
    /// Whether the streams process moves its bytes.
    pub(crate) streamed: bool,
    /// Whether its input was closed.
    pub(crate) input_closed: bool,
    /// Who waits for its end.
    pub(crate) waiters: Vec<Caller>,
    /// Whether an answer about its start is due, before which its end is not told.
    pub(crate) starting: bool,
}

impl Process {
    pub(crate) fn new(serial: u32, stdio: Stdio) -> Self {
        Process {
            serial,
            pid: 0,
            start_time: 0,
            pidfd: None,
            status: Status::Creating,
            exit: None,
            untold: None,
            cause: None,
            requested: 0,
            refusal: String::new(),
            stdio,
            console: None,
            held: Vec::new(),
            streams: Vec::new(),
            logger: None,
            streamed: false,
            input_closed: false,
            waiters: Vec::new(),
            starting: false,
        }
    }

    /// Whether the kernel still has it running.
    pub(crate) fn is_alive(&self) -> bool {
        self.pid != 0 && self.exit.is_none() && self.untold.is_none()
    }

    /// Gives up the ends of the outputs that the streams process serves.
    pub(crate) fn drop_outputs(&mut self) {
        self.streams
            .retain(|(role, _)| matches!(role, Role::HeldInput | Role::PipeInput | Role::ClientInput));
    }

    /// Gives up the input's end, so that the process sees the end of its input when the client has closed his.
    pub(crate) fn close_input(&mut self) {
        self.input_closed = true;
        let input = |role: &Role| matches!(role, Role::HeldInput | Role::PipeInput);
        self.held.retain(|(role, _)| !input(role));
        self.streams.retain(|(role, _)| !input(role));
    }
}
