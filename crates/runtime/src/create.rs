//! create and run.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use gantry_cgroup::{Cgroup, CgroupSpec, Driver, Features, Hierarchy, Joined, Mode, Phase, Request};
use gantry_sys::clone::Child;
use gantry_sys::fdpass;
use gantry_sys::features::{Feature, has};
use gantry_types::ContainerId;
use gantry_types::oci::{Resources, Spec};
use rustix::process::Pid;

use crate::build::{self, Built, Choices, Listener};
use crate::config::Bundle;
use crate::error::Error;
use crate::foreground::Foreground;
use crate::host::{CgroupDriver, Host};
use crate::notice::step;
use crate::parent::{Answers, Conversation};
use crate::plan::{Gate, Plan};
use crate::rare::Rare;
use crate::state::{Record, StateDir, Status};
use crate::sync::Kind;

/// Who gets the master of a process's terminal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Console {
    /// Whoever waits for the process in the foreground.
    #[default]
    Foreground,
    /// A unix socket, by SCM_RIGHTS.
    Socket(PathBuf),
    /// The caller, from [`Created::console`].
    Caller,
}

/// What a container is made from.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// A configuration in the place of the bundle's `config.json`.
    pub config: Option<PathBuf>,
    /// Who gets the terminal's master.
    pub console: Console,
    /// The unix socket that gets the process's pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// The file that gets the process's id.
    pub pid_file: Option<PathBuf>,
    /// Enter the root by moving it instead of pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Descriptors from 3 on that the process inherits.
    pub preserve_fds: u32,
    /// Sockets of systemd's activation, which follow those to preserve.
    pub listen_fds: u32,
    /// The socket of the caller's service manager (sd_notify(3)), which the container's readiness is told to.
    pub notify_socket: Option<PathBuf>,
}

/// A container whose process waits for start or runs.
#[derive(Debug)]
pub struct Created {
    /// Its process.
    pub child: Child,
    /// The master of its terminal, where no socket took it.
    pub console: Option<OwnedFd>,
    /// What is kept of it.
    pub record: Record,
    /// Where it tells its readiness.
    pub(crate) notify: Option<crate::notify::Listener>,
}

/// What the container's process waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// A start command.
    Started,
    /// Nothing.
    Now,
    /// Nothing, and the caller waits for its end.
    Attended,
}

/// Makes a container; its process waits for [`crate::start()`].
///
/// # Errors
/// AlreadyExists; InvalidArgument for a configuration that cannot be; what the kernel refuses. Nothing stays behind.
///
/// # Privilege
/// Root, or an ordinary user with a configuration for a user namespace. The process must be single-threaded.
pub fn create(host: &Host, id: &ContainerId, request: &CreateRequest) -> Result<Created, Error> {
    let bundle = Bundle::load(&request.bundle, request.config.as_deref())?;
    make(host, id, request, Until::Started, (bundle, None))
}

/// [`create()`] for a bundle that was read already. With `root`, a mount that is attached nowhere
/// ([`crate::rootfs::tree`]), that is the root, and exists in the container's mount namespace alone.
///
/// # Errors
/// As [`create()`].
pub fn create_loaded(
    host: &Host,
    id: &ContainerId,
    request: &CreateRequest,
    bundle: Bundle,
    root: Option<OwnedFd>,
) -> Result<Created, Error> {
    make(host, id, request, Until::Started, (bundle, root))
}

/// Makes a container and starts it. In the `foreground` it is waited for.
///
/// # Errors
/// As [`create()`].
pub fn run(
    host: &Host,
    id: &ContainerId,
    request: &CreateRequest,
    foreground: Option<&Foreground>,
) -> Result<i32, Error> {
    let Some(foreground) = foreground else {
        let bundle = Bundle::load(&request.bundle, request.config.as_deref())?;
        let created = make(host, id, request, Until::Now, (bundle, None))?;
        if let (Some(notify), Some(listener)) = (&request.notify_socket, &created.notify) {
            listener.forward_until_ready(notify, created.child.pid, created.child.pidfd.as_fd())?;
        }
        return Ok(0);
    };
    let waiting = foreground.prepare()?;
    let bundle = Bundle::load(&request.bundle, request.config.as_deref())?;
    let created = make(host, id, request, Until::Attended, (bundle, None))?;
    let notify = request.notify_socket.as_deref().zip(created.notify.as_ref());
    let status = waiting.wait(created.child, created.console, notify);
    if !foreground.keep {
        crate::delete::delete(host, id, crate::delete::Force::Yes)?;
    }
    status
}

fn make(
    host: &Host,
    id: &ContainerId,
    request: &CreateRequest,
    until: Until,
    (mut bundle, root): (Bundle, Option<OwnedFd>),
) -> Result<Created, Error> {
    pass_sockets(&mut bundle.spec, request.listen_fds);
    let terminal = bundle.spec.process.as_ref().is_some_and(|process| process.terminal);
    check_console(terminal, &request.console, until == Until::Attended)?;
    if let (Some(process), Some(_)) = (&mut bundle.spec.process, &request.notify_socket) {
        crate::notify::add_to(process);
    }
    let hierarchy = Hierarchy::detect().map_err(gantry_cgroup::Error::from)?;
    let cgroup_spec = resolve(host, id, &bundle.spec, &hierarchy)?;
    let choices = Choices {
        root,
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        preserve_fds: request.preserve_fds + request.listen_fds,
    };
    let built = build::container(host, id.as_str(), &bundle, choices, (&hierarchy, &cgroup_spec))?;
    let leaves_binary = crate::protect::protect(&built.plan)?;
    let dir = StateDir::create(host, id)?;
    let mut making = Making {
        host,
        id,
        request,
        bundle: &bundle,
        dir,
        until,
        failpoint: crate::failpoint::Failpoint::from_environment(),
    };
    match making.make(built, leaves_binary, &cgroup_spec) {
        Ok(created) => Ok(created),
        Err(cause) => Err(match making.dir.remove() {
            Ok(()) => cause,
            Err(cleanup) => Error::Cleanup { cause: Box::new(cause), cleanup: Box::new(cleanup) },
        }),
    }
}

/// systemd's protocol of sd_listen_fds(3), for a process that is the first of its namespace.
fn pass_sockets(spec: &mut Spec, listen_fds: u32) {
    if listen_fds > 0
        && let Some(process) = &mut spec.process
    {
        process.env.push(format!("LISTEN_FDS={listen_fds}"));
        process.env.push("LISTEN_PID=1".to_owned());
    }
}

/// A terminal needs somebody at its other end, and a socket for one needs nobody here.
pub(crate) fn check_console(terminal: bool, console: &Console, attended: bool) -> Result<(), Error> {
    let socket = matches!(console, Console::Socket(_));
    match (terminal, socket, attended) {
        _ if *console == Console::Caller => Ok(()),
        (true, false, false) => Err(Error::config(
            "process.terminal",
            "cannot allocate tty if runc will detach without setting console socket",
        )),
        (false, true, _) | (true, true, true) => Err(Error::config(
            "--console-socket",
            "cannot use console socket if runc will not detach or allocate tty",
        )),
        _ => Ok(()),
    }
}

/// Where the container's cgroup is to be.
pub(crate) fn resolve(
    host: &Host,
    id: &ContainerId,
    spec: &Spec,
    hierarchy: &Hierarchy,
) -> Result<CgroupSpec, Error> {
    let path = spec.linux.as_ref().map_or("", |linux| linux.cgroups_path.as_str());
    let driver = match host.cgroup_driver {
        CgroupDriver::Fs => Driver::Fs,
        CgroupDriver::Systemd => Driver::Systemd { user: host.rootless },
        CgroupDriver::Disabled => Driver::Disabled,
    };
    let request = Request { path, id: id.as_str(), driver, rootless: host.rootless };
    let mut resolved = CgroupSpec::resolve(hierarchy, &request).map_err(gantry_cgroup::Error::from)?;
    if host.cgroup_driver == CgroupDriver::Systemd {
        let properties = gantry_cgroup::systemd::Property::from_annotations(&spec.annotations);
        resolved.properties = properties.map_err(gantry_cgroup::Error::from)?;
    }
    Ok(resolved)
}

/// What the kernel and the caller can do with cgroups.
pub(crate) fn cgroup_features(host: &Host) -> Features {
    Features {
        cgroup_kill: has(Feature::CgroupKill),
        clone_into: true,
        in_user_namespace: host.in_user_namespace,
    }
}

struct Making<'a> {
    host: &'a Host,
    id: &'a ContainerId,
    request: &'a CreateRequest,
    bundle: &'a Bundle,
    dir: StateDir,
    until: Until,
    failpoint: Option<crate::failpoint::Failpoint>,
}

impl Making<'_> {
    fn failpoint(&self, name: &str) -> Result<(), Error> {
        match &self.failpoint {
            Some(failpoint) => failpoint.hit(format_args!("parent.{name}")).map_err(Error::io(name)),
            None => Ok(()),
        }
    }

    fn make(
        &mut self,
        built: Built,
        leaves_binary: bool,
        cgroup_spec: &CgroupSpec,
    ) -> Result<Created, Error> {
        let Built { mut plan, listener, rootfs, exec, net_devices } = built;
        plan.leaves_binary = leaves_binary;
        plan.process.relayed = self.request.console == Console::Foreground;
        self.failpoint("state")?;
        let mut record = Record::new(self.id, self.bundle, rootfs, exec);
        // Whoever kills us from here on leaves a record of the cgroup, by which it can be removed.
        record.cgroup = Some(cgroup_spec.record());
        let linux = self.bundle.spec.linux.as_ref();
        let rare = Rare::prepare(&plan, &record.rootfs.clone(), linux, &mut record)?;
        self.dir.write(&record)?;
        let notify = self.listen_for_readiness(&mut plan)?;
        self.failpoint("record")?;
        if self.until == Until::Started {
            let (start, result) = crate::gate::create(&self.dir)?;
            plan.gate = Gate::Fifo { start, result };
        }
        let none = Resources::default();
        let resources = linux.and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
        let mut cgroup = Cgroup::create(cgroup_spec, resources, cgroup_features(self.host))?;
        self.failpoint("cgroup")?;
        let confine =
            |cgroup: &Cgroup, phase| cgroup.apply(resources, phase).map_err(gantry_cgroup::Error::from);
        confine(&cgroup, Phase::BeforeClone)?;
        let by_clone = cgroup.mode() == Mode::V2 && cgroup.clone_target().is_some();
        // Nobody may see the child's descriptors: a neighbour in its pid namespace might (CVE-2016-9962).
        if !plan.namespaces.intermediate && plan.namespaces.join_pid.is_none() {
            plan.entrances = cgroup.entrances().unwrap_or_default();
        }
        // What an intermediate process says of the child must come before what the child says.
        plan.await_cgroup = plan.namespaces.intermediate
            || !by_clone && !cgroup_spec.targets.is_empty() && plan.entrances.is_empty();
        let (mut conversation, joined) = self.clone_into(&plan, &cgroup)?;
        self.failpoint("clone")?;
        self.host.notices.debug(format_args!("{}", step::CLONED));
        // Early, because the first move after a pause may take the kernel 5 to 18 ms, in which the child does the rest.
        let pid = Pid::from_raw(conversation.child.pid).ok_or_else(|| Error::Unsupported("pid 0".into()))?;
        conversation.write_maps(self.host.rootless)?;
        let is_there = by_clone && joined == Joined::Unified;
        if !is_there && plan.entrances.is_empty() {
            cgroup.attach(pid, joined)?;
        }
        crate::delegate::descend(&self.bundle.spec, &mut cgroup, pid)?;
        crate::delegate::delegate(self.host, &self.bundle.spec, &cgroup)?;
        if plan.await_cgroup {
            conversation.say(Kind::Cgroup)?;
        }
        self.failpoint("attach")?;
        self.host.notices.debug(format_args!("{}", step::INSIDE));
        // The runtime may be pinned, such as to the CPUs that a node sets aside for its engine. Not every host allows
        // the change, and none needs it.
        let _ = gantry_sys::sched::reset_affinity(conversation.child.pid);
        record.maker = None;
        record.pid = conversation.child.pid;
        record.start_time =
            crate::container::start_time(record.pid).map_err(Error::io("read the process's start time"))?;
        record.cgroup = Some(cgroup.record());
        conversation.set_oom_score()?;
        rare.give(&plan, &net_devices, record.pid)?;
        // From here to its answer the child is busy with its mounts: what need not be there before is done meanwhile. Hooks
        // in the child wait for their states.
        confine(&cgroup, Phase::DuringSetup)?;
        self.dir.keep_config(&self.bundle.text)?;
        self.dir.prepare(&record)?;
        self.send_hook_states(&conversation, &plan, &record)?;
        let mut answers = Answering {
            request: self.request,
            bundle: self.bundle,
            record: &record,
            listener: listener.as_ref(),
            cgroup: &cgroup,
            resources,
            console: None,
        };
        conversation.answer(&mut answers)?;
        let console = answers.console;
        self.failpoint("ready")?;
        self.host.notices.debug(format_args!("{}", step::READY));
        confine(&cgroup, Phase::BeforeStart)?;
        crate::delegate::give_below(&self.bundle.spec, &cgroup, pid)?;
        let child = self.finish(cgroup, conversation, &record)?;
        rare.keep();
        Ok(Created { child, console, record, notify })
    }

    /// The state is written before the process can run, and the process runs before anybody is told its id.
    ///
    /// Of the parameters the last is dropped first: the process before the cgroup that it is in.
    fn finish(
        &self,
        cgroup: gantry_cgroup::Created,
        mut conversation: Conversation<'_>,
        record: &Record,
    ) -> Result<Child, Error> {
        self.dir.publish()?;
        self.failpoint("written")?;
        // crun's annotation, for engines that know no flag for it.
        let annotated = || record.annotations.get("run.oci.pidfd_receiver").map(std::path::Path::new);
        if let Some(path) = self.request.pidfd_socket.as_deref().or_else(annotated) {
            send_pidfd(path, &conversation.child)?;
        }
        if self.until != Until::Started {
            conversation.start()?;
            crate::hook::run_all(&record.poststart, "poststart", record, Status::Running)?;
        }
        if let Some(path) = &self.request.pid_file {
            write_pid_file(path, record.pid)?;
        }
        self.failpoint("finish")?;
        let child = conversation.finish()?;
        let _ = cgroup.keep();
        Ok(child)
    }

    /// The socket for the container's readiness: the directory for its mount, and the socket itself unless start makes it.
    fn listen_for_readiness(&self, plan: &mut Plan) -> Result<Option<crate::notify::Listener>, Error> {
        if self.request.notify_socket.is_none() {
            return Ok(None);
        }
        let directory = crate::notify::directory(self.host, self.id);
        crate::notify::make_directory(&directory)?;
        build::add_bind(plan, &crate::notify::mount(&directory))?;
        (self.until != Until::Started).then(|| crate::notify::Listener::bind(&directory)).transpose()
    }

    /// Clones into the cgroup where the kernel does that, and beside it where it refuses.
    fn clone_into<'p>(&self, plan: &'p Plan, cgroup: &Cgroup) -> Result<(Conversation<'p>, Joined), Error> {
        if let Some(target) = cgroup.clone_target() {
            return Ok((Conversation::begin(plan, Some(target), self.host.parent)?, Joined::Unified));
        }
        Ok((Conversation::begin(plan, None, self.host.parent)?, Joined::Nothing))
    }

    fn send_hook_states(
        &self,
        conversation: &Conversation<'_>,
        plan: &Plan,
        record: &Record,
    ) -> Result<(), Error> {
        if plan.create_container_hooks.is_empty() && plan.start_container_hooks.is_empty() {
            return Ok(());
        }
        let states = [
            crate::hook::state_file(record, Status::Creating)?,
            crate::hook::state_file(record, Status::Created)?,
        ];
        conversation.send_hook_states(&states)
    }
}

struct Answering<'a> {
    request: &'a CreateRequest,
    bundle: &'a Bundle,
    record: &'a Record,
    listener: Option<&'a Listener>,
    cgroup: &'a Cgroup,
    resources: &'a Resources,
    console: Option<OwnedFd>,
}

impl Answers for Answering<'_> {
    fn mounts_made(&mut self, _pid: i32) -> Result<(), Error> {
        let Some(hooks) = &self.bundle.spec.hooks else { return Ok(()) };
        // Hooks may expect the limits in place, and may change them.
        self.cgroup.apply(self.resources, Phase::BeforeStart).map_err(gantry_cgroup::Error::from)?;
        crate::hook::run_all(&hooks.prestart, "prestart", self.record, Status::Creating)?;
        crate::hook::run_all(&hooks.create_runtime, "createRuntime", self.record, Status::Creating)
    }

    fn console(&mut self, master: OwnedFd) -> Result<(), Error> {
        self.console = deliver_console(&self.request.console, master)?;
        Ok(())
    }

    fn listener(&mut self, pid: i32, fd: OwnedFd) -> Result<(), Error> {
        match self.listener {
            Some(listener) => crate::listener::hand_over(listener, &fd, pid, self.record, Status::Creating),
            None => Ok(()),
        }
    }
}

/// Sends a terminal's master to a socket; without one the caller keeps it.
pub(crate) fn deliver_console(console: &Console, master: OwnedFd) -> Result<Option<OwnedFd>, Error> {
    let Console::Socket(path) = console else { return Ok(Some(master)) };
    let named = |call: &str| Error::io(format!("console socket: {call} {}", path.display()));
    let socket = crate::listener::connect_unix(path).map_err(named("connect"))?;
    // The payload is the terminal's name, as runc has it.
    fdpass::send(socket.as_fd(), b"/dev/ptmx", &[master.as_fd()]).map_err(named("send"))?;
    Ok(None)
}

/// Sends a process's descriptor to a socket.
pub(crate) fn send_pidfd(path: &std::path::Path, child: &Child) -> Result<(), Error> {
    let named = |call: &str| Error::io(format!("pidfd socket: {call} {}", path.display()));
    let socket = crate::listener::connect_unix(path).map_err(named("connect"))?;
    fdpass::send(socket.as_fd(), b"pidfd", &[child.pidfd.as_fd()]).map_err(named("send"))
}

/// Writes a process id where others wait for the file: whole or not at all.
pub(crate) fn write_pid_file(path: &std::path::Path, pid: i32) -> Result<(), Error> {
    use rustix::fs::{CWD, Mode, OFlags, openat, renameat};
    let named = |call: &str| Error::io(format!("pid file: {call} {}", path.display()));
    let name = path
        .file_name()
        .ok_or_else(|| Error::config("--pid-file", format!("{} names no file", path.display())))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let temporary = path.with_file_name(hidden);
    let temporary = CString::new(temporary.into_os_string().into_encoded_bytes())
        .map_err(|_| Error::config("--pid-file", "contains a NUL byte"))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o666);
    let file = match openat(CWD, &temporary, flags, mode) {
        // Left by a runtime that was killed.
        Err(gantry_sys::Errno::EXIST) => {
            rustix::fs::unlink(&temporary).map_err(named("unlink"))?;
            openat(CWD, &temporary, flags, mode)
        }
        file => file,
    }
    .map_err(named("open"))?;
    rustix::io::write(&file, pid.to_string().as_bytes()).map_err(named("write"))?;
    renameat(CWD, &temporary, CWD, path).map_err(named("rename"))
}
