//! The live shim: one thread, one epoll, a pod's containers.
//!
//! ```text
//!   clients ──calls──► dispatch ──► a few system calls ──────────────► answer
//!                          │                                            ▲
//!                          └─► worker ──verdict──► completion ──────────┤
//!   kernel ──SIGCHLD, memory events──► exits ──► events, waiters ───────┘
//! ```
//! Nothing here waits for a disk, an RCU grace period, D-Bus or a child; what might is done by a worker
//! ([`crate::worker`]). Changes are written to the pod's directory before they are answered.

mod cause;
mod complete;
mod connection;
mod container;
mod dispatch;
mod epoll;
mod exit;
mod oom;
mod process;
mod publish;
mod record;
mod sandbox;
mod shutdown;
mod streams;
mod task;
mod upgrade;

pub(crate) use record::{CONTAINERS, Remains, has_lived, recorded_socket, replace};
pub(crate) use streams::forget as forget_streams;
pub(crate) use upgrade::take_over;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gantry_sys::signal;
use serde::{Deserialize, Serialize};

use crate::events::Events;
use crate::failure::Failure;
use crate::log::Log;
use crate::options::RuntimeOptions;
use complete::Operation;
use connection::Client;
use container::Container;
use epoll::{Epoll, EventFlags, Source};
use exit::Ended;

/// Who a shim is: what it was started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) namespace: String,
    /// The socket's path.
    pub(crate) socket: PathBuf,
    /// The pod's directory.
    pub(crate) directory: PathBuf,
    /// Where events go: the daemon's ttrpc socket; empty for nowhere.
    pub(crate) events: String,
    /// The bundle whose `log` is ours.
    pub(crate) bundle: PathBuf,
    /// The options that `start` was given.
    pub(crate) options: RuntimeOptions,
    pub(crate) debug: bool,
}

/// A pod.
#[derive(Debug)]
pub(crate) struct Pod {
    identity: Identity,
    log: Log,
    epoll: Epoll,
    /// Absent once nobody may connect any more.
    listener: Option<OwnedFd>,
    /// The device and inode of its path.
    socket: Option<(u64, u64)>,
    signals: OwnedFd,
    clients: BTreeMap<u32, Client>,
    operations: BTreeMap<u32, Operation>,
    /// Processes whose programs are being executed, by their numbers.
    opening: Vec<(u32, gantry_runtime::Starting, connection::Caller)>,
    containers: BTreeMap<String, Box<Container>>,
    sandbox: sandbox::Sandbox,
    events: Events,
    streams: streams::Streams,
    /// Children that ended before an operation could say whose they are.
    ended: Vec<Ended>,
    /// Adopted processes that have ended and were not reaped, since when.
    unreaped: Vec<(u32, Instant)>,
    /// Loggers of containers that are gone, and when they are killed.
    loggers: Vec<(i32, Instant)>,
    /// Until when no client is let in.
    deaf_until: Option<Instant>,
    /// When the shim will have been idle for long enough to give memory back.
    idle_at: Option<Instant>,
    last_serial: u32,
    workers_started: u64,
    /// What remains to be done before the shim ends.
    ending: Option<shutdown::Ending>,
    /// Keeps others from taking the pod over while we live.
    lock: OwnedFd,
    /// The file that workers lock.
    workers: OwnedFd,
    /// Whether the containers are children of ours that another program has made.
    handed_over: bool,
}

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
const SIGPIPE: i32 = 13;

/// How long nothing may have happened before memory is given back, once.
const IDLE: Duration = Duration::from_secs(1);

/// The signals that are read from a descriptor.
const SIGNALS: u64 = 1 << (SIGINT - 1) | 1 << (SIGTERM - 1) | 1 << (SIGCHLD - 1);

impl Pod {
    /// Sets a pod up on the socket that it is served on. Later failures are logged, and answered to whom they concern.
    ///
    /// # Errors
    /// What setting up gives.
    pub(crate) fn open(identity: Identity, listener: OwnedFd, lock: OwnedFd) -> Result<Self, Failure> {
        signal::set_blocked(SIGNALS).map_err(Failure::call("sigprocmask"))?;
        signal::ignore(SIGPIPE);
        gantry_sys::process::set_child_subreaper().map_err(Failure::call("prctl"))?;
        let signals = signal::signalfd(SIGNALS).map_err(Failure::call("signalfd"))?;
        let epoll = Epoll::new()?;
        epoll.add(&signals, Source::Signals, EventFlags::IN)?;
        rustix::io::ioctl_fionbio(&listener, true).map_err(Failure::call("fcntl"))?;
        epoll.add(&listener, Source::Listener, EventFlags::IN)?;
        let workers = crate::place::workers_file(&identity.directory)?;
        let log = Log::open(&identity.bundle, identity.debug);
        let events = publish::open(&identity, &epoll, &log)?;
        let streams = streams::Streams::new(identity.directory.clone());
        let socket = shutdown::inode_of(&identity.socket);
        Ok(Pod {
            identity,
            log,
            epoll,
            listener: Some(listener),
            socket,
            signals,
            clients: BTreeMap::new(),
            operations: BTreeMap::new(),
            opening: Vec::new(),
            containers: BTreeMap::new(),
            sandbox: sandbox::Sandbox::default(),
            events,
            streams,
            ended: Vec::new(),
            unreaped: Vec::new(),
            loggers: Vec::new(),
            deaf_until: None,
            idle_at: None,
            last_serial: 0,
            workers_started: 0,
            ending: None,
            handed_over: false,
            workers,
            lock,
        })
    }

    /// Serves the pod until it is shut down.
    pub(crate) fn live(mut self) {
        let inherited = has_lived(&self.identity.directory);
        self.save_pod();
        if inherited {
            self.adopt_sandbox();
            self.adopt();
            self.rejoin_streams();
        }
        self.run();
    }
}

impl Pod {
    fn run(&mut self) {
        loop {
            // First, because an acknowledgement may be what the end waits for.
            self.drive_publisher();
            self.give_up_unreaped();
            self.kill_loggers();
            self.end_overdue();
            self.listen_again();
            if self.is_over() {
                return;
            }
            let deadline = self.deadline();
            let mut events = match self.epoll.wait(deadline) {
                Ok(events) => events,
                Err(failure) => {
                    self.log.error(&failure.message);
                    return;
                }
            };
            if !events.is_empty() {
                self.idle_at = Some(Instant::now() + IDLE);
            } else if self.idle_at.is_some_and(|at| Instant::now() >= at) {
                self.idle_at = None;
                self.epoll.sleep_released(self.deadline());
            }
            // What the kernel told of memory comes before the ends that it caused.
            events.sort_by_key(|(source, _)| !matches!(source, Source::Oom(_)));
            for (source, flags) in events {
                self.happened(source, flags);
            }
        }
    }

    /// When to look again without an event.
    fn deadline(&self) -> Option<Instant> {
        let ending = self.ending.as_ref().map(|ending| ending.deadline);
        let logger = self.loggers.iter().map(|(_, until)| *until).min();
        let own = [ending, logger, self.deaf_until, self.idle_at, self.operations_deadline()];
        [self.events.deadline(), self.unreaped_deadline()].into_iter().chain(own).flatten().min()
    }

    fn happened(&mut self, source: Source, flags: EventFlags) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Listener => self.accept(),
            Source::Connection(number) => self.converse(number, flags),
            Source::Operation(number) => self.hear(number),
            Source::Starting(serial) => self.started(serial),
            Source::Oom(serial) => self.memory_event(serial),
            Source::Adopted(serial) => self.adopted_ended(serial),
            Source::Publisher => self.events.ready(),
            Source::Streams => self.streams_event(),
            Source::Pause => self.adopted_pause_ended(),
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(number)) = signal::read_signal(self.signals.as_fd()) {
            match number {
                SIGCHLD => self.reap(),
                // Whoever ends the machine ends the containers himself.
                _ if !self.containers.is_empty() => {
                    self.log.warn(&format!("signal {number} is ignored: there are containers"));
                }
                _ => self.end(None),
            }
        }
    }

    /// A number that was never given before.
    fn serial(&mut self) -> u32 {
        self.last_serial = self.last_serial.wrapping_add(1);
        self.last_serial
    }

    /// The container and exec of a process's number.
    fn find(&self, serial: u32) -> Option<(String, String)> {
        self.containers.iter().find_map(|(id, container)| {
            let mut processes = container.processes();
            processes
                .find(|(_, process)| process.serial == serial)
                .map(|(exec, _)| (id.clone(), exec.to_owned()))
        })
    }
}
