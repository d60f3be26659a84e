//! The clone child: from the clone to the payload's execve(2).
//!
//! It runs on a copy of the parent's memory and follows the plan ([`crate::plan`]) by system calls, without
//! allocating, locking or unwinding on the ordinary path; rare features that need memory may take it, since the process
//! is single-threaded. A step that fails is reported by number, and the parent finds the words
//! ([`crate::plan::rootfs`], [`words`]).

pub(crate) mod attach;
mod dev;
mod enter;
mod exec;
pub(crate) mod hooks;
mod mask;
mod rootfs;
pub(crate) mod words;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use gantry_sys::clone::{CLONE_PARENT, CloneArgs, spawn};
use gantry_sys::{Errno, signal};

use crate::plan::{Gate, Plan};
use crate::sync::{Kind, Message, receive, send};

/// The steps of the child, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Step {
    Sync = 1,
    Clone,
    Session,
    Root,
    Join,
    Unshare,
    TimeOffsets,
    Loopback,
    CgroupNamespace,
    Keyring,
    Propagation,
    RootfsMount,
    Mount,
    Device,
    DevLink,
    CreateContainerHook,
    Pivot,
    Console,
    Terminal,
    ReadonlyRoot,
    Hostname,
    Domainname,
    Sysctl,
    ReadonlyPath,
    MaskedPath,
    RootPropagation,
    Label,
    Scheduler,
    IoPriority,
    Personality,
    MemoryPolicy,
    Affinity,
    Rlimit,
    Stdio,
    BoundingSet,
    Groups,
    Gid,
    Uid,
    Capabilities,
    Ambient,
    NoNewPrivileges,
    Cwd,
    CwdOutside,
    LookPath,
    Home,
    StartContainerHook,
    Descriptors,
    Seccomp,
    Exec,
    ProcHandle,
    CwdCreate,
    LeaveBinary,
    Cgroup,
}

pub(crate) const STEPS: u32 = Step::Cgroup as u32;

impl Step {
    /// The step of a number.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        words::ALL_STEPS.get((number as usize).checked_sub(1)?).copied()
    }
}

/// A step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) step: Step,
    /// Which of its kind, such as the mount's index.
    pub(crate) index: u32,
    pub(crate) errno: Errno,
}

/// Names the step of a system call that failed.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Result<T, Fault>;
    fn at_index(self, step: Step, index: usize) -> Result<T, Fault>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> Result<T, Fault> {
        self.at_index(step, 0)
    }

    fn at_index(self, step: Step, index: usize) -> Result<T, Fault> {
        self.map_err(|errno| Fault { step, index: index as u32, errno })
    }
}

/// The child's side of the conversation and of the plan.
pub(crate) struct Init<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) socket: BorrowedFd<'a>,
    /// The states for hooks of the container, as memory files: before and after it is created.
    pub(crate) hook_states: [Option<OwnedFd>; 2],
}

impl Init<'_> {
    /// Waits for the parent's word.
    fn wait_for(&self, kind: Kind) -> Result<Option<OwnedFd>, Fault> {
        match receive(self.socket).at(Step::Sync)? {
            Some((message, fd)) if message.kind == kind => Ok(fd),
            Some(_) => Err(Errno::PROTO).at(Step::Sync),
            // The parent is gone: nobody wants this container any more.
            None => Err(Errno::PIPE).at(Step::Sync),
        }
    }

    fn tell(&self, kind: Kind) -> Result<(), Fault> {
        send(self.socket, Message::new(kind), None).at(Step::Sync)
    }

    /// A place where a test may make the child fail or die.
    fn failpoint(&self, step: Step) -> Result<(), Fault> {
        match &self.plan.failpoint {
            Some(failpoint) => failpoint.hit(format_args!("child.{}", step as u32)).at(step),
            None => Ok(()),
        }
    }

    /// Closes what came along with the copy of the parent and is not needed from here on.
    fn close_others(&self, cgroup: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
        const MAX_KEPT: usize = 512;
        let plan = self.plan;
        let mut keep = [-1; MAX_KEPT];
        let namespaces = plan.namespaces.join.iter().map(|join| join.fd.as_raw_fd());
        let gate = match &plan.gate {
            Gate::Fifo { start, result } => [start.as_raw_fd(), result.as_raw_fd()],
            _ => [-1, -1],
        };
        let output = plan.hook_output.iter().flat_map(crate::plan::HookOutput::files);
        let hooks = self.hook_states.iter().flatten().chain(output).map(AsRawFd::as_raw_fd);
        let joined = plan.namespaces.join_pid.iter().map(|join| join.fd.as_raw_fd());
        let cgroup = cgroup.map(|fd| fd.as_raw_fd());
        let needed = [self.socket.as_raw_fd()]
            .into_iter()
            .chain(cgroup)
            .chain(joined)
            .chain(gate)
            .chain(namespaces)
            .chain(hooks);
        let inherited = (3..).take(plan.process.preserve_fds as usize);
        let mut count = 0;
        for (fd, place) in needed.chain(inherited).zip(&mut keep) {
            *place = fd;
            count += 1;
        }
        if count == MAX_KEPT {
            // More than the list takes are to be kept: execve(2) closes the others.
            return Ok(());
        }
        gantry_sys::process::close_others(&mut keep[..count]).at(Step::Descriptors)
    }

    /// Everything; returns only what went wrong.
    fn run(&mut self) -> Result<std::convert::Infallible, Fault> {
        self.failpoint(Step::Clone)?;
        signal::default_all();
        let _ = signal::set_blocked(0);
        if self.plan.rootfs.is_none() {
            // A process of exec is in the container's pid namespace already: whoever may trace it there must find nothing
            // of the host's in it (CVE-2016-9962).
            self.close_others(None)?;
        }
        self.enter_namespaces()?;
        if let Some(rootfs) = &self.plan.rootfs {
            self.make_root(rootfs)?;
        } else {
            self.exec_terminal()?;
        }
        self.execute()
    }
}

/// Runs the child and gives back its exit status, which matters to nobody: the report is what counts.
pub(crate) fn run(plan: &Plan, socket: BorrowedFd<'_>) -> i32 {
    let mut init = Init { plan, socket, hook_states: [None, None] };
    let Err(fault) = init.run();
    init.report(fault);
    1
}

impl Init<'_> {
    /// Tells the parent; and whoever opened the gate, when the parent is gone.
    fn report(&self, fault: Fault) {
        let message = Message {
            kind: Kind::Fault,
            step: fault.step as u32,
            index: fault.index,
            errno: fault.errno.raw_os_error(),
        };
        let _ = send(self.socket, message, None);
        if let Gate::Fifo { result, .. } = &self.plan.gate {
            let _ = rustix::io::write(result, &message.encode());
        }
    }
}

/// The intermediate process: joins namespaces that the child must be made in, makes it as a sibling, and ends.
pub(crate) fn run_intermediate(plan: &Plan, socket: BorrowedFd<'_>, args: &CloneArgs<'_>) -> i32 {
    let init = Init { plan, socket, hook_states: [None, None] };
    match init.intermediate(args) {
        Ok(()) => 0,
        Err(fault) => {
            init.report(fault);
            1
        }
    }
}

impl Init<'_> {
    fn intermediate(&self, args: &CloneArgs<'_>) -> Result<(), Fault> {
        self.failpoint(Step::Join)?;
        if self.plan.rootfs.is_none() {
            self.close_others(args.cgroup)?;
        }
        self.join()?;
        let args = CloneArgs { flags: args.flags | CLONE_PARENT, cgroup: args.cgroup };
        let child = spawn(&args, || run(self.plan, self.socket)).at(Step::Clone)?;
        let message = Message { index: child.pid as u32, ..Message::new(Kind::Spawned) };
        send(self.socket, message, Some(child.pidfd.as_fd())).at(Step::Sync)
    }
}
