//! exec: another process in a container that runs.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use gantry_cgroup::{Mode, SubCgroups};
use gantry_sys::clone::Child;
use gantry_types::ContainerId;
use gantry_types::oci::{Linux, Process, Spec};
use rustix::process::Pid;

use crate::build::{self, Listener};
use crate::config::{CONFIG_FILE, MAX_CONFIG_BYTES, read_limited};
use crate::container::Container;
use crate::create::{Console, deliver_console, send_pidfd, write_pid_file};
use crate::error::Error;
use crate::foreground::{Foreground, Waiting};
use crate::host::Host;
use crate::notice::step;
use crate::parent::{Answers, Conversation};
use crate::plan::identity::ProcessPlan;
use crate::plan::namespaces::{Join, NEWPID, NEWUSER, NamespacePlan, group_map, is_single};
use crate::plan::{Gate, Plan, c_string};
use crate::state::{Record, Status};
use crate::sync::Kind;

/// Why there is no exec.
const STOPPED: &str = "cannot exec in a stopped container";

/// What to execute in a container.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// The process. What it leaves out (capabilities, labels, limits) is as in the container's configuration.
    pub process: Process,
    /// Who gets the terminal's master.
    pub console: Console,
    /// The unix socket that gets the process's pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// The file that gets the process's id.
    pub pid_file: Option<PathBuf>,
    /// Descriptors from 3 on that the process inherits.
    pub preserve_fds: u32,
    /// Cgroups below the container's, as `[controller[,controller]:]path`.
    pub cgroups: Vec<String>,
    /// Execute although the container is paused; the process starts to run when it is resumed.
    pub ignore_paused: bool,
}

/// Executes a process in a container; in the `foreground` it is waited for, and its exit status given back.
///
/// # Errors
/// NotFound; FailedPrecondition unless the container runs; what setting the process up gives.
pub fn exec(
    host: &Host,
    id: &ContainerId,
    request: &ExecRequest,
    foreground: Option<&Foreground>,
) -> Result<i32, Error> {
    ExecTarget::open(host, id)?.exec(host, request, foreground)
}

/// A container in which a process is to be executed.
#[derive(Debug)]
pub struct ExecTarget {
    container: Container,
    status: Status,
    /// The configuration that it was made with.
    text: Vec<u8>,
    spec: Spec,
}

impl ExecTarget {
    /// Reads the container's state and configuration.
    ///
    /// # Errors
    /// NotFound; FailedPrecondition for one that has ended; InvalidArgument for a damaged configuration.
    pub fn open(host: &Host, id: &ContainerId) -> Result<Self, Error> {
        let container = Container::open(host, id)?;
        let status = container.status()?;
        if !matches!(status, Status::Running | Status::Created | Status::Paused) {
            return Err(Error::State { status, reason: STOPPED.into() });
        }
        let text = container.dir.config_text()?;
        let spec = crate::config::parse(&text)?;
        Ok(ExecTarget { container, status, text, spec })
    }

    /// The container's first process, by the configuration that its bundle has now, as runc takes it.
    ///
    /// # Errors
    /// As reading the bundle's configuration.
    pub fn process(&self) -> Result<Option<Process>, Error> {
        let path = self.container.record.bundle.join(CONFIG_FILE);
        let now = read_limited(&path, MAX_CONFIG_BYTES)?;
        // What takes time is to understand it.
        let changed = (now != self.text).then(|| crate::config::parse(&now)).transpose()?;
        Ok(changed.map_or_else(|| self.spec.process.clone(), |spec| spec.process))
    }

    /// Executes a process; in the `foreground` it is waited for, and its exit status given back.
    ///
    /// # Errors
    /// FailedPrecondition unless the container runs; what setting the process up gives.
    pub fn exec(
        &self,
        host: &Host,
        request: &ExecRequest,
        foreground: Option<&Foreground>,
    ) -> Result<i32, Error> {
        let (child, console, waiting) = self.make(host, request, foreground)?;
        match waiting {
            Some(waiting) => waiting.wait(child, console, None),
            None => Ok(0),
        }
    }

    /// Executes a process, and gives it back with the master of its terminal where no socket took that.
    ///
    /// # Errors
    /// As [`ExecTarget::exec`].
    pub fn spawn(&self, host: &Host, request: &ExecRequest) -> Result<(Child, Option<OwnedFd>), Error> {
        let (child, console, _) = self.make(host, request, None)?;
        Ok((child, console))
    }

    fn make(
        &self,
        host: &Host,
        request: &ExecRequest,
        foreground: Option<&Foreground>,
    ) -> Result<(Child, Option<OwnedFd>, Option<Waiting>), Error> {
        if self.status == Status::Paused && !request.ignore_paused {
            let reason = "cannot exec in a paused container (use --ignore-paused to override)".into();
            return Err(Error::State { status: self.status, reason });
        }
        let container = &self.container;
        let ended = || Error::State { status: Status::Stopped, reason: STOPPED.into() };
        let pidfd = container.process()?.ok_or_else(ended)?;
        let none = Linux::default();
        let linux = self.spec.linux.as_ref().unwrap_or(&none);
        let process = with_defaults(&request.process, self.spec.process.as_ref());
        crate::create::check_console(process.terminal, &request.console, foreground.is_some())?;
        let (mut plan, listener) = plan(host, &container.record, &pidfd, linux, &process, request)?;
        plan.leaves_binary = crate::protect::protect(&plan)?;
        // Only now: a binary that is executed anew would inherit the blocked signals.
        let waiting = foreground.map(Foreground::prepare).transpose()?;
        let (child, console) = start(host, container, &plan, listener, request, (&process, linux))?;
        Ok((child, console, waiting))
    }
}

/// The process with what it leaves out, from the container's own.
fn with_defaults(process: &Process, base: Option<&Process>) -> Process {
    let mut process = process.clone();
    let Some(base) = base else { return process };
    if process.capabilities.is_none() {
        process.capabilities.clone_from(&base.capabilities);
    }
    if process.rlimits.is_empty() {
        process.rlimits.clone_from(&base.rlimits);
    }
    if process.apparmor_profile.is_empty() {
        process.apparmor_profile.clone_from(&base.apparmor_profile);
    }
    if process.selinux_label.is_empty() {
        process.selinux_label.clone_from(&base.selinux_label);
    }
    process.oom_score_adj = process.oom_score_adj.or(base.oom_score_adj);
    process.scheduler = process.scheduler.or_else(|| base.scheduler.clone());
    process.io_priority = process.io_priority.or_else(|| base.io_priority.clone());
    process.exec_cpu_affinity = process.exec_cpu_affinity.or_else(|| base.exec_cpu_affinity.clone());
    process
}

fn plan(
    host: &Host,
    record: &Record,
    pidfd: &OwnedFd,
    linux: &Linux,
    process: &Process,
    request: &ExecRequest,
) -> Result<(Plan, Option<Listener>), Error> {
    let mut identity = ProcessPlan::prepare(process)?;
    identity.tell(&host.notices);
    let (seccomp, listener) = build::seccomp(host, linux, &record.annotations)?;
    identity.seccomp = seccomp;
    identity.preserve_fds = request.preserve_fds;
    identity.relayed = request.console == Console::Foreground;
    identity.personality = record.exec.personality;
    identity.memory_policy = linux.memory_policy.as_ref().map(crate::sched::memory_policy).transpose()?;
    identity.keyring =
        record.exec.new_keyring.then(|| c_string(&format!("_ses.{}", record.id), "id")).transpose()?;
    identity.final_affinity = affinity(process, |affinity| &affinity.final_)?;
    if host.rootless && record.exec.user_namespace && is_single(&group_map(linux)) {
        identity.groups = None;
    }
    let plan = Plan {
        namespaces: namespaces(host, record, pidfd)?,
        rootfs: None,
        hostname: None,
        domainname: None,
        process: identity,
        create_container_hooks: Vec::new(),
        start_container_hooks: Vec::new(),
        runtime_hooks: false,
        gate: Gate::Open,
        await_cgroup: true,
        entrances: Vec::new(),
        traceable: record.exec.traceable || !record.exec.user_namespace && build::may_trace(Some(process)),
        leaves_binary: false,
        hook_output: None,
        failpoint: crate::failpoint::Failpoint::from_environment(),
    };
    Ok((plan, listener))
}

fn affinity(
    process: &Process,
    which: impl Fn(&gantry_types::oci::CpuAffinity) -> &String,
) -> Result<Option<Vec<u64>>, Error> {
    let Some(list) = process.exec_cpu_affinity.as_ref().map(which).filter(|list| !list.is_empty()) else {
        return Ok(None);
    };
    let mask = crate::sched::number_list(list, "process.execCPUAffinity")?;
    Ok(Some(mask).filter(|mask| !mask.is_empty()))
}

/// The container's namespaces, all at once by its process's descriptor: setns(2), Linux 5.8.
fn namespaces(host: &Host, record: &Record, pidfd: &OwnedFd) -> Result<NamespacePlan, Error> {
    let own = record.exec.namespaces;
    let dup =
        || pidfd.try_clone().map_err(|error| Error::io("duplicate the pidfd")(crate::config::errno(&error)));
    let join = |flag: u64| -> Result<Join, Error> {
        Ok(Join { flag, fd: dup()?, path: format!("the namespaces of process {}", record.pid) })
    };
    // Root of a user namespace cannot come back from another pid namespace: its own belongs to the host.
    // Who may be traced from inside enters without what it needs outside: the intermediate process drops that before.
    let outside = host.in_user_namespace || record.exec.traceable;
    let intermediate = own & NEWUSER != 0 || own & NEWPID != 0 && outside;
    let mut plan = NamespacePlan { joined: own, intermediate, ..NamespacePlan::default() };
    if plan.intermediate {
        plan.join.push(join(own)?);
        return Ok(plan);
    }
    if own & NEWPID != 0 {
        plan.join_pid = Some(join(NEWPID)?);
    }
    if own & !NEWPID != 0 {
        plan.join.push(join(own & !NEWPID)?);
    }
    Ok(plan)
}

fn start(
    host: &Host,
    container: &Container,
    plan: &Plan,
    listener: Option<Listener>,
    request: &ExecRequest,
    (process, linux): (&Process, &Linux),
) -> Result<(Child, Option<OwnedFd>), Error> {
    let record = &container.record;
    let sub = SubCgroups::parse(&request.cgroups)?;
    let init = Pid::from_raw(record.pid).ok_or_else(|| Error::Unsupported("pid 0".into()))?;
    let initial = affinity(process, |affinity| &affinity.initial)?;
    let cgroup = container.cgroup.as_ref().filter(|cgroup| !cgroup.is_absent());
    let target = match cgroup {
        Some(cgroup) if cgroup.mode() == Mode::V2 && initial.is_none() => cgroup.exec_target(&sub)?,
        _ => None,
    };
    let mut by_clone = target.is_some();
    let begun = match &target {
        Some(target) => match Conversation::begin(plan, Some(target.as_fd()), host.parent) {
            // The container has made cgroups below its own and enabled controllers in them.
            Err(Error::Init { errno: gantry_sys::Errno::BUSY, .. }) if sub.is_empty() => {
                let leaf = cgroup.map(|cgroup| cgroup.init_target(init)).transpose()?;
                Conversation::begin(plan, leaf.as_ref().map(AsFd::as_fd), host.parent)
            }
            // Between cgroups that are no neighbours only systemd may move what an ordinary user has.
            Err(Error::Init { errno: gantry_sys::Errno::ACCESS | gantry_sys::Errno::PERM, .. })
                if host.rootless =>
            {
                by_clone = false;
                Conversation::begin(plan, None, host.parent)
            }
            begun => begun,
        },
        None => Conversation::begin(plan, None, host.parent),
    };
    let mut conversation = begun?;
    host.notices.debug(format_args!("{}", step::CLONED));
    let pid = Pid::from_raw(conversation.child.pid).ok_or_else(|| Error::Unsupported("pid 0".into()))?;
    if let Some(mask) = &initial {
        gantry_sys::sched::set_affinity(conversation.child.pid, mask)
            .map_err(Error::io("error setting initial CPU affinity"))?;
        host.notices.debug(format_args!("nsexec: affinity: {}", crate::sched::hexadecimal(mask)));
    }
    if let (false, Some(cgroup)) = (by_clone, cgroup) {
        cgroup.join_for_exec(pid, init, &sub)?;
    }
    if let Some(config) = &linux.intel_rdt {
        crate::resctrl::Resctrl::find()?.join(config, &record.id, conversation.child.pid)?;
    }
    if initial.is_none() {
        // As for the container's first process.
        let _ = gantry_sys::sched::reset_affinity(conversation.child.pid);
    }
    conversation.set_oom_score()?;
    conversation.say(Kind::Cgroup)?;
    let mut answers = Answering { record, request, listener, console: None };
    host.notices.debug(format_args!("{}", step::INSIDE));
    conversation.answer(&mut answers)?;
    host.notices.debug(format_args!("{}", step::EXEC));
    let console = answers.console;
    if let Some(path) = &request.pidfd_socket {
        send_pidfd(path, &conversation.child)?;
    }
    if let Some(path) = &request.pid_file {
        write_pid_file(path, conversation.child.pid)?;
    }
    Ok((conversation.finish()?, console))
}

struct Answering<'a> {
    record: &'a Record,
    request: &'a ExecRequest,
    listener: Option<Listener>,
    console: Option<OwnedFd>,
}

impl Answers for Answering<'_> {
    fn mounts_made(&mut self, _pid: i32) -> Result<(), Error> {
        Ok(())
    }

    fn console(&mut self, master: OwnedFd) -> Result<(), Error> {
        self.console = deliver_console(&self.request.console, master)?;
        Ok(())
    }

    fn listener(&mut self, pid: i32, fd: OwnedFd) -> Result<(), Error> {
        match &self.listener {
            Some(listener) => crate::listener::hand_over(listener, &fd, pid, self.record, Status::Running),
            None => Ok(()),
        }
    }
}
