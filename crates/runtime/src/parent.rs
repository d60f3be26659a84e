//! The parent's side of a clone: makes the child, answers it, and undoes it when something fails.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::clone::{CLONE_PARENT, Child, CloneArgs, spawn};
use gantry_sys::process::{self, Wait};
use gantry_sys::{Errno, ns};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::Error;
use crate::host::Parent;
use crate::init::{self, Fault, Step};
use crate::plan::Plan;
use crate::plan::namespaces::NEWUSER;
use crate::sync::{Kind, Message, receive, send};

/// How much of a failed hook's output is told, in bytes.
const MAX_HOOK_OUTPUT: usize = 4096;

/// A child on its way to its gate.
#[derive(Debug)]
pub(crate) struct Conversation<'a> {
    pub(crate) child: Child,
    socket: OwnedFd,
    plan: &'a Plan,
    parent: Parent,
    armed: bool,
}

/// What the child asks for, once it is made.
pub(crate) trait Answers {
    /// The mounts are made: hooks of the runtime may run.
    fn mounts_made(&mut self, pid: i32) -> Result<(), Error>;
    /// The terminal's master.
    fn console(&mut self, master: OwnedFd) -> Result<(), Error>;
    /// The seccomp listener, taken from the child.
    fn listener(&mut self, pid: i32, listener: OwnedFd) -> Result<(), Error>;
}

impl<'a> Conversation<'a> {
    /// Clones the child. `cgroup` is where it is born, on cgroup v2.
    pub(crate) fn begin(
        plan: &'a Plan,
        cgroup: Option<BorrowedFd<'_>>,
        parent: Parent,
    ) -> Result<Self, Error> {
        let (socket, theirs) = crate::sync::pair().map_err(Error::io("socketpair"))?;
        let sibling = if parent == Parent::CallersParent { CLONE_PARENT } else { 0 };
        let args = CloneArgs { flags: plan.namespaces.clone_flags | sibling, cgroup };
        let child = if plan.namespaces.intermediate {
            clone_by_intermediate(plan, &args, &socket, theirs, parent)?
        } else {
            clone_directly(plan, &args, &socket, &theirs)?
        };
        Ok(Conversation { child, socket, plan, parent, armed: true })
    }

    /// Writes the maps of a new user namespace, and lets the child on.
    pub(crate) fn write_maps(&self, rootless: bool) -> Result<(), Error> {
        if self.plan.namespaces.new & NEWUSER == 0 {
            return Ok(());
        }
        let (uid, gid) = (&self.plan.namespaces.uid_map, &self.plan.namespaces.gid_map);
        crate::idmap::write_maps(self.child.pid, uid, gid, rootless)?;
        self.say(Kind::Maps)
    }

    /// Sets what the child may lack the privileges for.
    pub(crate) fn set_oom_score(&self) -> Result<(), Error> {
        let Some(score) = self.plan.process.oom_score_adj else { return Ok(()) };
        let path = format!("/proc/{}/oom_score_adj", self.child.pid);
        match write_file(&path, score.to_string().as_bytes()) {
            // Without CAP_SYS_RESOURCE the score can only rise; the container keeps what it has, as engines arrange
            // for their user namespaces.
            Err(Errno::ACCESS | Errno::PERM) if !has_capability(24) => Ok(()),
            result => result.map_err(Error::io(format!("write {path}"))),
        }
    }

    /// Lets the child go on after what it waits for.
    pub(crate) fn say(&self, kind: Kind) -> Result<(), Error> {
        match send(self.socket.as_fd(), Message::new(kind), None) {
            Ok(()) => Ok(()),
            // It has ended: what it said before tells why.
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => self.fault_or_death(),
            Err(errno) => Err(Error::io("send to the container's process")(errno)),
        }
    }

    /// Gives the child the states for its hooks.
    pub(crate) fn send_hook_states(&self, states: &[OwnedFd]) -> Result<(), Error> {
        for state in states {
            send(self.socket.as_fd(), Message::new(Kind::HookState), Some(state.as_fd()))
                .map_err(Error::io("send to the container's process"))?;
        }
        Ok(())
    }

    /// Answers the child until it is ready or, without a gate, until its program runs.
    pub(crate) fn answer(&mut self, answers: &mut dyn Answers) -> Result<(), Error> {
        loop {
            let received =
                receive(self.socket.as_fd()).map_err(Error::io("receive from the container's process"))?;
            let Some((message, fd)) = received else {
                return if matches!(self.plan.gate, crate::plan::Gate::Open) { Ok(()) } else { self.died() };
            };
            match message.kind {
                Kind::Ready => return Ok(()),
                Kind::Fault => return Err(self.fault(message)),
                Kind::NeedTimeOffsets => {
                    let path = format!("/proc/{}/timens_offsets", self.child.pid);
                    write_file(&path, self.plan.namespaces.time_offsets.as_bytes())
                        .map_err(Error::io(format!("write {path}")))?;
                    self.say(Kind::TimeOffsets)?;
                }
                Kind::MountsMade => {
                    answers.mounts_made(self.child.pid)?;
                    self.say(Kind::HooksRun)?;
                }
                Kind::Console => answers.console(fd.ok_or_else(protocol_error)?)?,
                Kind::NeedLimits => {
                    self.set_limits()?;
                    self.say(Kind::Limits)?;
                }
                Kind::Listener => {
                    let flags = rustix::process::PidfdGetfdFlags::empty();
                    let listener =
                        rustix::process::pidfd_getfd(&self.child.pidfd, message.index as i32, flags)
                            .map_err(Error::io("pidfd_getfd of the seccomp listener"))?;
                    answers.listener(self.child.pid, listener)?;
                    self.say(Kind::ListenerTaken)?;
                }
                _ => return Err(protocol_error()),
            }
        }
    }

    fn set_limits(&self) -> Result<(), Error> {
        for limit in &self.plan.process.rlimits {
            process::set_rlimit(self.child.pid, limit.resource, limit.soft, limit.hard)
                .map_err(Error::io(format!("error setting rlimit {}", limit.resource)))?;
        }
        Ok(())
    }

    /// Opens the gate of a child that waits for the parent's word, and waits until its program runs.
    pub(crate) fn start(&mut self) -> Result<(), Error> {
        self.say(Kind::Start)?;
        match receive(self.socket.as_fd()).map_err(Error::io("receive from the container's process"))? {
            None => Ok(()),
            Some((message, _)) if message.kind == Kind::Fault => Err(self.fault(message)),
            Some(_) => Err(protocol_error()),
        }
    }

    /// Lets the child live on without this value.
    pub(crate) fn finish(mut self) -> Result<Child, Error> {
        let pidfd = self.child.pidfd.try_clone().map_err(|error| Error::Io {
            what: "duplicate the pidfd".into(),
            failure: crate::error::Failure(crate::config::errno(&error)),
        })?;
        self.armed = false;
        Ok(Child { pid: self.child.pid, pidfd })
    }

    fn fault(&self, message: Message) -> Error {
        let Some(step) = Step::from_number(message.step) else { return protocol_error() };
        let fault = Fault { step, index: message.index, errno: message.errno() };
        init::words::error(fault, Some(self.plan), self.hook_output())
    }

    fn hook_output(&self) -> String {
        self.plan.hook_output.as_ref().map(crate::plan::HookOutput::text).unwrap_or_default()
    }

    fn fault_or_death(&self) -> Result<(), Error> {
        match receive(self.socket.as_fd()) {
            Ok(Some((message, _))) if message.kind == Kind::Fault => Err(self.fault(message)),
            _ => self.died(),
        }
    }

    fn died(&self) -> Result<(), Error> {
        let how = match await_end(self.child.pidfd.as_fd(), self.parent) {
            Ok(Some(process::Exit::Signal(9))) => {
                "killed; perhaps it ran out of memory: check the container's memory limit".to_owned()
            }
            Ok(Some(exit)) => format!("ended with status {}", exit.status()),
            _ => "ended".to_owned(),
        };
        Err(Error::Init { message: format!("container init {how}"), errno: Errno::CHILD })
    }
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        if self.armed {
            let _ = process::pidfd_kill(self.child.pidfd.as_fd(), 9);
            let _ = await_end(self.child.pidfd.as_fd(), self.parent);
        }
    }
}

/// Waits until a child has ended, and reaps it if it is ours; its status is known to whoever reaps it.
fn await_end(child: BorrowedFd<'_>, parent: Parent) -> Result<Option<process::Exit>, Errno> {
    match parent {
        Parent::Caller => Ok(process::wait(Wait::Child(child))?.map(|(_, exit)| exit)),
        Parent::CallersParent => {
            let mut fds = [PollFd::new(&child, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
            Ok(None)
        }
    }
}

fn protocol_error() -> Error {
    Error::Init { message: "the container's process broke the protocol".into(), errno: Errno::PROTO }
}

fn clone_directly(
    plan: &Plan,
    args: &CloneArgs<'_>,
    ours: &OwnedFd,
    theirs: &OwnedFd,
) -> Result<Child, Error> {
    let Some(join) = &plan.namespaces.join_pid else {
        return clone_child(plan, args, ours, theirs);
    };
    // Joining a pid namespace takes effect for children: hooks must not be among them, so we go back.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = openat(CWD, "/proc/self/ns/pid", flags, Mode::empty())
        .map_err(Error::io("open /proc/self/ns/pid"))?;
    ns::setns(join.fd.as_fd(), join.flag).map_err(Error::io(format!("setns {}", join.path)))?;
    let child = clone_child(plan, args, ours, theirs);
    ns::setns(own.as_fd(), join.flag).map_err(Error::io("setns back to the own pid namespace"))?;
    child
}

fn clone_child(plan: &Plan, args: &CloneArgs<'_>, ours: &OwnedFd, theirs: &OwnedFd) -> Result<Child, Error> {
    let child = || {
        // The child's copy would keep it from seeing the parent's end.
        process::abandon(ours.as_fd());
        init::run(plan, theirs.as_fd())
    };
    spawn(args, child).map_err(|errno| {
        let ordinary = errno == Errno::PERM && plan.namespaces.new & NEWUSER == 0 && !has_capability(21);
        let hint = if ordinary { " (without privileges a container needs a user namespace)" } else { "" };
        Error::Init { message: format!("clone3: {}{hint}", crate::error::Failure(errno)), errno }
    })
}

/// Has a process join the namespaces in which the child must be made, and make it as our own child.
fn clone_by_intermediate(
    plan: &Plan,
    args: &CloneArgs<'_>,
    socket: &OwnedFd,
    theirs: OwnedFd,
    parent: Parent,
) -> Result<Child, Error> {
    // The intermediate process of exec is born in the cgroup, and its child where that is: whoever may be traced from
    // inside must not even have the cgroup's directory (CVE-2016-9962), and from inside a user namespace there is no way
    // into a cgroup whose owner the runtime has changed.
    let (first, second) = if plan.rootfs.is_none() { (args.cgroup, None) } else { (None, args.cgroup) };
    let args = CloneArgs { flags: args.flags, cgroup: second };
    let child = || {
        process::abandon(socket.as_fd());
        init::run_intermediate(plan, theirs.as_fd(), &args)
    };
    let intermediate =
        spawn(&CloneArgs { flags: args.flags & CLONE_PARENT, cgroup: first }, child).map_err(|errno| {
            Error::Init { message: format!("clone3: {}", crate::error::Failure(errno)), errno }
        })?;
    drop(theirs);
    let received = receive(socket.as_fd()).map_err(Error::io("receive from the intermediate process"));
    await_end(intermediate.pidfd.as_fd(), parent).map_err(Error::io("waitid"))?;
    match received? {
        Some((message, Some(pidfd))) if message.kind == Kind::Spawned => {
            Ok(Child { pid: message.index as i32, pidfd })
        }
        Some((message, _)) if message.kind == Kind::Fault => {
            let step = Step::from_number(message.step).ok_or_else(protocol_error)?;
            let fault = Fault { step, index: message.index, errno: message.errno() };
            Err(init::words::error(fault, Some(plan), String::new()))
        }
        _ => Err(protocol_error()),
    }
}

/// Writes an existing file in one call.
pub(crate) fn write_file(path: &str, value: &[u8]) -> Result<(), Errno> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value).map(drop)
}

/// Whether the caller has a capability in force.
pub(crate) fn has_capability(number: u32) -> bool {
    gantry_sys::caps::capget().is_ok_and(|sets| sets.effective & 1 << number != 0)
}

/// What was written to a hook's output file, cut to a limit.
pub(crate) fn read_output(file: BorrowedFd<'_>) -> String {
    let mut bytes = vec![0; MAX_HOOK_OUTPUT];
    let len = rustix::io::pread(file, &mut bytes, 0).unwrap_or(0);
    bytes.truncate(len);
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

/// A file in memory with this content; closes on exec.
pub(crate) fn memory_file(name: &str, content: &[u8]) -> Result<OwnedFd, Error> {
    let file =
        rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).map_err(Error::io("memfd_create"))?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest).map_err(Error::io("write to a memory file"))?;
        rest = &rest[written..];
    }
    Ok(file)
}
