//! Ends of processes: reaped, put in order, told.
//!
//! Order is a contract: the end of an exec is told before the end of the container's first process, and a start before the
//! end of what was started. So an end may have to wait, as `untold`.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use gantry_proto_shim::Message;
use gantry_proto_shim::events;
use gantry_proto_shim::task::WaitResponse;
use gantry_runtime::Scope;
use gantry_sys::process::{self, Wait};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Pod;
use super::complete::Then;
use super::connection::Caller;
use super::epoll::{EventFlags, Source};
use super::process::{Exit, Status};
use crate::work;

/// How many ends of strangers are kept while operations are at work.
const MAX_ENDED: usize = 1024;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
/// How long a logger may take for the rest of its input: containerd's time.
const LOGGER_TIMEOUT: Duration = Duration::from_secs(12);

/// The end of a child that nobody has claimed yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) pid: i32,
    pub(super) exit: Exit,
}

impl Pod {
    /// Reaps all children that have ended.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, how))) = process::wait(Wait::AnyEnded) {
            let exit = Exit::of(how);
            match self.owner(pid) {
                Some((id, exec_id)) => self.process_ended(&id, &exec_id, exit),
                // A worker, a logger, the sandbox's pause, or an orphan of a container's; or whom an operation has made.
                None => {
                    let claimable = !self.operations.is_empty();
                    self.logger_reaped(pid);
                    self.sandbox_reaped(pid, exit);
                    if claimable {
                        if self.ended.len() >= MAX_ENDED {
                            self.ended.remove(0);
                        }
                        self.ended.push(Ended { pid, exit });
                    }
                }
            }
        }
    }

    /// A logger that has ended has no number any more.
    fn logger_reaped(&mut self, pid: i32) {
        self.loggers.retain(|(logger, _)| *logger != pid);
        for container in self.containers.values_mut() {
            let execs = container.execs.values_mut().map(|exec| &mut exec.process);
            for process in execs.chain([&mut container.init]) {
                process.logger = process.logger.filter(|logger| *logger != pid);
            }
        }
    }

    /// Asks the logger of a process that is gone to end; it has the end of its input to tell it.
    pub(super) fn end_logger(&mut self, logger: Option<i32>) {
        let Some(pid) = logger else { return };
        // Nobody else can have its number: it is our child and was not reaped.
        let _ = process::kill(pid, SIGTERM);
        self.loggers.push((pid, Instant::now() + LOGGER_TIMEOUT));
    }

    /// Kills loggers that do not end.
    pub(super) fn kill_loggers(&mut self) {
        let now = Instant::now();
        self.loggers.retain(|(pid, until)| {
            if now >= *until {
                let _ = process::kill(*pid, SIGKILL);
            }
            now < *until
        });
    }

    /// Whose process a child was.
    fn owner(&self, pid: i32) -> Option<(String, String)> {
        self.containers.iter().find_map(|(id, container)| {
            let mut processes = container.processes();
            let found = processes.find(|(_, process)| process.pid == pid && process.is_alive());
            found.map(|(exec_id, _)| (id.clone(), exec_id.to_owned()))
        })
    }

    /// A process that is not our child has ended. Its status is there once its parent has reaped it.
    pub(super) fn adopted_ended(&mut self, serial: u32) {
        // After an upgrade it is our child all the same, and its status is ours whatever the kernel tells others.
        self.reap();
        let Some((id, exec_id)) = self.find(serial) else { return };
        let process = self.containers.get_mut(&id).and_then(|container| container.process_mut(&exec_id));
        let Some(process) = process else { return };
        if !process.is_alive() {
            if let Some(pidfd) = process.pidfd.take() {
                self.epoll.remove(&pidfd);
            }
            return;
        }
        let Some(pidfd) = process.pidfd.as_ref() else { return };
        match process::exit_of(pidfd.as_fd()) {
            Ok(Some(how)) => self.adopted_told(serial, Exit::of(how)),
            // The end of the wait is a hang-up, which is always told.
            Ok(None) if !self.unreaped.iter().any(|(number, _)| *number == serial) => {
                let quiet = self.epoll.modify(pidfd, Source::Adopted(serial), EventFlags::empty());
                match quiet {
                    Ok(()) => self.unreaped.push((serial, Instant::now())),
                    Err(_) => self.adopted_lost(serial),
                }
            }
            // The kernel does not tell.
            _ => self.adopted_lost(serial),
        }
    }

    /// The status of an adopted process cannot be known.
    pub(super) fn adopted_lost(&mut self, serial: u32) {
        self.log.warn("the status of a process is unknown: supervisor lost");
        self.adopted_told(serial, Exit::lost());
    }

    fn adopted_told(&mut self, serial: u32, exit: Exit) {
        self.unreaped.retain(|(number, _)| *number != serial);
        let Some((id, exec_id)) = self.find(serial) else { return };
        if let Ok(process) = self.process_mut(&id, &exec_id)
            && let Some(pidfd) = process.pidfd.take()
        {
            self.epoll.remove(&pidfd);
        }
        self.process_ended(&id, &exec_id, exit);
    }

    pub(super) fn process_ended(&mut self, id: &str, exec_id: &str, exit: Exit) {
        let Ok(process) = self.process_mut(id, exec_id) else { return };
        process.untold = Some(exit);
        self.settle(id);
    }

    /// Tells the ends that may be told.
    pub(super) fn settle(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.init.status == Status::Creating {
            return;
        }
        let due: Vec<String> = container
            .execs
            .iter()
            .filter(|(_, exec)| exec.process.untold.is_some() && !exec.process.starting)
            .map(|(exec_id, _)| exec_id.clone())
            .collect();
        for exec_id in due {
            self.tell(id, &exec_id);
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.init.untold.is_none() || container.init.starting {
            return;
        }
        let running = container.execs.values().any(|exec| exec.process.is_alive() || exec.process.starting);
        if !container.own_pids && !container.swept {
            // Without a pid namespace the others live on: they go with their container.
            container.swept = true;
            let subject = container.subject();
            let begun = self.begin(id, None, Then::Swept, move || work::kill(&subject, SIGKILL, Scope::All));
            if let Err(failure) = begun {
                self.log.warn(&format!("processes of {id} outlive it: {failure}"));
            }
        }
        if !running {
            self.tell(id, "");
        }
    }

    fn tell(&mut self, id: &str, exec_id: &str) {
        let Ok(process) = self.process_mut(id, exec_id) else { return };
        let Some(exit) = process.untold.take() else { return };
        let cause = Box::new(self.cause_of(id, exec_id, exit));
        let Ok(process) = self.process_mut(id, exec_id) else { return };
        process.exit = Some(exit);
        process.status = Status::Stopped;
        process.cause = Some(cause);
        process.pidfd = None;
        process.console = None;
        process.close_input();
        let waiters = std::mem::take(&mut process.waiters);
        let event = events::TaskExit {
            container_id: id.to_owned(),
            id: if exec_id.is_empty() { id.to_owned() } else { exec_id.to_owned() },
            pid: process.pid as u32,
            exit_status: exit.status,
            exited_at: Some(exit.at.into()),
            cause: process.told_cause(),
        };
        let streamed = process.streamed;
        if exec_id.is_empty()
            && let Some(oom) = self.containers.get_mut(id).and_then(|container| container.oom.take())
        {
            self.last_memory_event(id, oom);
        }
        if streamed {
            self.ended_streams(id, exec_id, exit);
        }
        self.save(id);
        self.publish(&event);
        self.tell_waiters(id, exec_id, waiters);
    }

    /// Answers those who wait for a process that has ended.
    pub(super) fn tell_waiters(&mut self, id: &str, exec_id: &str, waiters: Vec<Caller>) {
        let process = self.container(id).ok().and_then(|it| it.process(exec_id));
        let Some((process, exit)) = process.and_then(|process| Some((process, process.exit?))) else {
            return;
        };
        let (exit_status, exited_at) = (exit.status, Some(exit.at.into()));
        let answer = WaitResponse { exit_status, exited_at, cause: process.told_cause() }.encode_to_vec();
        for caller in waiters {
            self.answer(caller, Ok(answer.clone()));
        }
    }
}

/// Whether the process of a pidfd has ended.
pub(super) fn has_ended(pidfd: impl AsFd) -> bool {
    let fd = pidfd.as_fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}
