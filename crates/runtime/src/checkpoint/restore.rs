//! restore.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use gantry_cgroup::{Cgroup, CgroupSpec, Hierarchy, Joined, Phase};
use gantry_sys::clone::Child;
use gantry_types::ContainerId;
use gantry_types::oci::{Resources, Spec};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::criu::{Criu, Notice, Streams, explain};
use super::dump::{config_file, external_name};
use super::options::RestoreOptions;
use super::request::{Kind, Options, Places, Request};
use super::{DESCRIPTORS_FILE, mounts};
use crate::build::{self, Built, Choices};
use crate::config::Bundle;
use crate::create::{
    CreateRequest, Created, cgroup_features, check_console, deliver_console, resolve, write_pid_file,
};
use crate::error::Error;
use crate::foreground::Foreground;
use crate::host::Host;
use crate::plan::namespaces::NEWTIME;
use crate::plan::rootfs::RootfsPlan;
use crate::state::{Record, StateDir, Status};

const LOG_FILE: &str = "restore.log";
/// The largest list of descriptors that is read, in bytes.
const MAX_DESCRIPTORS_BYTES: u64 = 64 << 10;

/// Makes a container from images, running. In the `foreground` it is waited for.
///
/// # Errors
/// As [`crate::create()`]; Unimplemented without criu; Internal for what criu cannot do. Nothing stays behind.
pub fn restore(
    host: &Host,
    id: &ContainerId,
    request: &CreateRequest,
    options: &RestoreOptions,
    foreground: Option<&Foreground>,
) -> Result<i32, Error> {
    let created = make(host, id, request, options, foreground.is_some())?;
    // Only now: criu would inherit the blocked signals.
    let Some(foreground) = foreground else { return Ok(0) };
    let status = foreground.prepare()?.wait(created.child, created.console, None);
    if !foreground.keep {
        crate::delete::delete(host, id, crate::delete::Force::Yes)?;
    }
    status
}

/// Makes a container from images, running, and gives it back. Its process is a child of the caller's.
///
/// # Errors
/// As [`restore`].
pub fn respawn(
    host: &Host,
    id: &ContainerId,
    request: &CreateRequest,
    options: &RestoreOptions,
) -> Result<Created, Error> {
    make(host, id, request, options, false)
}

fn make(
    host: &Host,
    id: &ContainerId,
    request: &CreateRequest,
    options: &RestoreOptions,
    attended: bool,
) -> Result<Created, Error> {
    let bundle = Bundle::load(&request.bundle, request.config.as_deref())?;
    let terminal = bundle.spec.process.as_ref().is_some_and(|process| process.terminal);
    check_console(terminal, &request.console, attended)?;
    let hierarchy = Hierarchy::detect().map_err(gantry_cgroup::Error::from)?;
    let cgroup_spec = resolve(host, id, &bundle.spec, &hierarchy)?;
    let choices = Choices { no_pivot: request.no_pivot, ..Choices::default() };
    let built = build::container(host, id.as_str(), &bundle, choices, (&hierarchy, &cgroup_spec))?;
    let dir = StateDir::create(host, id)?;
    let restoring = Restoring { host, id, request, options, bundle: &bundle, dir: &dir };
    match restoring.run(&built, &cgroup_spec) {
        Ok(restored) => Ok(restored),
        Err(cause) => Err(match dir.remove() {
            Ok(()) => cause,
            Err(cleanup) => Error::Cleanup { cause: Box::new(cause), cleanup: Box::new(cleanup) },
        }),
    }
}

struct Restoring<'a> {
    host: &'a Host,
    id: &'a ContainerId,
    request: &'a CreateRequest,
    options: &'a RestoreOptions,
    bundle: &'a Bundle,
    dir: &'a StateDir,
}

impl Restoring<'_> {
    fn run(&self, built: &Built, cgroup_spec: &CgroupSpec) -> Result<Created, Error> {
        let plan =
            built.plan.rootfs.as_ref().ok_or_else(|| Error::config("root", "a container needs a root"))?;
        let mut record = Record::new(self.id, self.bundle, built.rootfs.clone(), built.exec.clone());
        record.cgroup = Some(cgroup_spec.record());
        self.dir.write(&record)?;
        self.dir.keep_config(&self.bundle.text)?;
        let images = open_images(&self.options.image.images)?;
        let work = self.options.image.work.as_deref().map(mounts::open_directory).transpose()?;
        let mut root = mounts::Root::mount(self.dir, &plan.path)?;
        let root_path = root.path().to_string_lossy().into_owned();
        let places = Places {
            images: &images,
            work: work.as_ref(),
            log_file: LOG_FILE,
            root: &root_path,
            config_file: config_file(&record),
        };
        let mut options = Options::new(&self.options.image, &places);
        options.restore(self.options.tcp_close);
        let (profile, context) = (&self.options.lsm_profile, &self.options.lsm_mount_context);
        options.security(profile.as_deref(), context.as_deref());
        self.tell_mounts(&mut options, &mut root, plan, record.exec.namespaces)?;
        let inherited = join_namespaces(&mut options, &self.bundle.spec)?;
        self.tell_descriptors(&mut options)?;
        let (child, console) = self.restore(options, &inherited, &mut record, cgroup_spec)?;
        Ok(Created { child, console, record, notify: None })
    }

    fn tell_mounts(
        &self,
        options: &mut Options,
        root: &mut mounts::Root,
        plan: &RootfsPlan,
        own: u64,
    ) -> Result<(), Error> {
        root.make_places(plan)?;
        root.tell_restore(options, &mounts::external(plan, &self.bundle.path, own));
        root.tell_restore(options, &mounts::devices(plan).collect::<Vec<_>>());
        root.clear();
        if !plan.masked.is_empty() {
            options.external_mount("/dev/null", "/dev/null");
        }
        Ok(())
    }

    /// Pipes that led out of the container become the streams that criu has from us.
    fn tell_descriptors(&self, options: &mut Options) -> Result<(), Error> {
        let path = self.options.image.images.join(DESCRIPTORS_FILE);
        let text = crate::config::read_limited(&path, MAX_DESCRIPTORS_BYTES)?;
        let names: Vec<String> = crate::config::parse_json(&text, DESCRIPTORS_FILE)?;
        for (number, name) in names.iter().enumerate().take(3).filter(|(_, name)| mounts::is_pipe(name)) {
            options.inherit(name, number as i32);
        }
        Ok(())
    }

    fn restore(
        &self,
        mut options: Options,
        inherited: &[OwnedFd],
        record: &mut Record,
        cgroup_spec: &CgroupSpec,
    ) -> Result<(Child, Option<OwnedFd>), Error> {
        let none = Resources::default();
        let linux = self.bundle.spec.linux.as_ref();
        let resources = linux.and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
        let mut cgroup = Cgroup::create(cgroup_spec, resources, cgroup_features(self.host))?;
        for phase in [Phase::BeforeClone, Phase::DuringSetup] {
            cgroup.apply(resources, phase).map_err(gantry_cgroup::Error::from)?;
        }
        let criu = Criu::start(Streams::Inherited, inherited)?;
        let pid = Pid::from_raw(criu.pid()).ok_or_else(|| Error::Unsupported("pid 0".into()))?;
        cgroup.attach(pid, Joined::Nothing)?;
        cgroup.apply(resources, Phase::BeforeStart).map_err(gantry_cgroup::Error::from)?;
        record.cgroup = Some(cgroup.record());
        tell_cgroups(&mut options, criu.pid())?;
        let mut seen = Seen { restored: None, console: None };
        let done = criu
            .ask(&Request::new(Kind::Restore, options), &mut |notice| self.notice(notice, record, &mut seen));
        let logs = self.options.image.work.as_ref().unwrap_or(&self.options.image.images);
        done.map_err(|error| explain(error, &logs.join(LOG_FILE)))?;
        let child = seen.restored.ok_or_else(|| Error::Criu { reason: "it restored no process".into() })?;
        if let Some(path) = &self.request.pid_file {
            write_pid_file(path, record.pid)?;
        }
        let _ = cgroup.keep();
        Ok((child, seen.console))
    }

    fn notice(&self, notice: Notice, record: &mut Record, seen: &mut Seen) -> Result<(), Error> {
        match notice.script.as_str() {
            "setup-namespaces" => {
                let Some(hooks) = &self.bundle.spec.hooks else { return Ok(()) };
                record.pid = notice.pid;
                crate::hook::run_all(&hooks.prestart, "prestart", record, Status::Creating)?;
                crate::hook::run_all(&hooks.create_runtime, "createRuntime", record, Status::Creating)
            }
            "post-restore" => {
                seen.restored = Some(self.keep_record(notice.pid, record)?);
                Ok(())
            }
            "orphan-pts-master" => {
                let Some(master) = notice.fd else { return Ok(()) };
                seen.console = deliver_console(&self.request.console, master)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes the state while the processes still wait for criu's word.
    fn keep_record(&self, pid: i32, record: &mut Record) -> Result<Child, Error> {
        let pidfd = Pid::from_raw(pid).ok_or_else(|| Error::Criu { reason: "it restored pid 0".into() })?;
        let pidfd = pidfd_open(pidfd, PidfdFlags::empty()).map_err(Error::io(format!("pidfd_open {pid}")))?;
        record.pid = pid;
        record.maker = None;
        record.start_time =
            crate::container::start_time(pid).map_err(Error::io("read the process's start time"))?;
        // criu restores clocks by a time namespace, which exec has to join.
        if has_own(pid, "time") {
            record.exec.namespaces |= NEWTIME;
        }
        self.dir.write(record)?;
        Ok(Child { pid, pidfd })
    }
}

/// What criu has told of.
struct Seen {
    restored: Option<Child>,
    console: Option<OwnedFd>,
}

fn open_images(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(Error::io(format!("open {}", path.display())))
}

/// Whether a process is in another namespace than we.
fn has_own(pid: i32, name: &str) -> bool {
    let namespace = |process: &str| rustix::fs::stat(format!("/proc/{process}/ns/{name}"));
    match (namespace(&pid.to_string()), namespace("self")) {
        (Ok(theirs), Ok(ours)) => (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino),
        _ => false,
    }
}

/// Tells criu which namespaces to take: some as descriptors, which are given back, and some by path.
fn join_namespaces(options: &mut Options, spec: &Spec) -> Result<Vec<OwnedFd>, Error> {
    let mut inherited = Vec::new();
    let namespaces = spec.linux.as_ref().map(|linux| linux.namespaces.as_slice()).unwrap_or_default();
    for namespace in namespaces.iter().filter(|namespace| !namespace.path.is_empty()) {
        let path = &namespace.path;
        if let Some((_, key)) = external_name(&namespace.type_) {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let fd = openat(CWD, path, flags, Mode::empty()).map_err(Error::io(format!(
                "Requested {} namespace {path} does not exist",
                namespace.type_
            )))?;
            options.inherit(key, fd.as_raw_fd());
            inherited.push(fd);
            continue;
        }
        let name = match namespace.type_.as_str() {
            "mount" => "mnt",
            "cgroup" => {
                let reason = "do not know how to restore into a cgroup namespace";
                return Err(Error::config("linux.namespaces", reason));
            }
            name => name,
        };
        options.join(name, path);
    }
    Ok(inherited)
}

/// criu makes the container's cgroups below those that it is in itself.
fn tell_cgroups(options: &mut Options, pid: i32) -> Result<(), Error> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::io(format!("read {path}"))(crate::config::errno(&error)))?;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (parts.next(), parts.next()) {
            controllers.split(',').for_each(|controller| options.cgroup_root(controller, path));
        }
    }
    Ok(())
}
