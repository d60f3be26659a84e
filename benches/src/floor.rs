//! The floor: a program that makes the system calls of a default container and nothing else: no configuration, no
//! state, no checks, no errors but panics.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gantry_sys::caps::{CapSets, bound, capset};
use gantry_sys::clone::{CloneArgs, spawn};
use gantry_sys::exec::{StringArray, execve};
use gantry_sys::mount::{
    ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, MountAttr, Scope, device_number, mount_setattr,
};
use gantry_sys::process::{self, Wait, wait};
use gantry_sys::{Errno, keyring, ns, seccomp};
use gantry_testkit::Bundle;
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};

const NEWNS: u64 = 0x0002_0000;
const NEWCGROUP: u64 = 0x0200_0000;
const NEWUTS: u64 = 0x0400_0000;
const NEWIPC: u64 = 0x0800_0000;
const NEWPID: u64 = 0x2000_0000;
const NEWNET: u64 = 0x4000_0000;

/// A network namespace that was made before.
pub(crate) struct NetworkNamespace {
    path: PathBuf,
}

impl NetworkNamespace {
    /// Makes one that lasts as long as this value, held by a bind mount.
    pub(crate) fn make() -> Self {
        let path = PathBuf::from(format!("/run/gantry-bench-netns-{}", std::process::id()));
        std::fs::write(&path, "").expect("a file in /run");
        let child = spawn(&CloneArgs { flags: NEWNET, cgroup: None }, || {
            loop {
                std::thread::park();
            }
        })
        .expect("clone3 with a network namespace");
        let source = format!("/proc/{}/ns/net", child.pid);
        rustix::mount::mount_bind(&source, &path).expect("bind the network namespace");
        process::pidfd_kill(child.pidfd.as_fd(), 9).expect("kill our own child");
        wait(Wait::Child(child.pidfd.as_fd())).expect("the child is ours");
        NetworkNamespace { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        let _ = unmount(&self.path, UnmountFlags::DETACH);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What the floor's container is made of.
pub(crate) struct Floor {
    rootfs: CString,
    network: OwnedFd,
    cgroup: PathBuf,
    filter: Vec<seccomp::Instruction>,
    argv: StringArray,
    envp: StringArray,
}

impl Floor {
    pub(crate) fn new(bundle: &Bundle, network: &NetworkNamespace) -> Self {
        let profile = bundle.config()["linux"]["seccomp"].to_string();
        let filter = serde_json::from_str(&profile).ok().and_then(|profile| {
            let arch = gantry_runtime::seccomp::Arch::native()?;
            gantry_runtime::seccomp::compile(&profile, arch).ok()
        });
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Floor {
            rootfs: CString::new(bundle.rootfs().to_string_lossy().into_owned()).expect("no NUL"),
            network: openat(CWD, network.path(), flags, Mode::empty()).expect("the namespace opens"),
            cgroup: PathBuf::from(format!("/sys/fs/cgroup/gantry-bench-floor-{}", std::process::id())),
            filter: filter.map(|program| program.instructions).unwrap_or_default(),
            argv: StringArray::new(vec![c"/bin/true".to_owned()]),
            envp: StringArray::new(vec![c"PATH=/bin".to_owned()]),
        }
    }

    /// Makes one container, until its program runs.
    pub(crate) fn once(&self) -> Duration {
        let begin = Instant::now();
        let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let cgroup = unified.then(|| {
            rustix::fs::mkdir(&self.cgroup, Mode::from_raw_mode(0o755)).expect("a cgroup");
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(CWD, &self.cgroup, flags, Mode::empty()).expect("the cgroup opens")
        });
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let args =
            CloneArgs { flags: NEWNS | NEWPID | NEWIPC | NEWUTS, cgroup: cgroup.as_ref().map(AsFd::as_fd) };
        let child = spawn(&args, || match self.child() {
            Ok(()) => 0,
            Err(errno) => errno.raw_os_error(),
        })
        .expect("clone3");
        drop(writer);
        // The end of file is the execve, which closes the child's end.
        let mut byte = [0];
        let _ = rustix::io::read(&reader, &mut byte);
        let elapsed = begin.elapsed();
        let ended = wait(Wait::Child(child.pidfd.as_fd())).expect("the child is ours");
        assert!(matches!(ended, Some((_, process::Exit::Code(0)))), "the floor's child failed: {ended:?}");
        if cgroup.is_some() {
            rustix::fs::rmdir(&self.cgroup).expect("the cgroup is empty");
        }
        elapsed
    }

    fn child(&self) -> Result<(), Errno> {
        process::set_dumpable(false)?;
        rustix::process::setsid()?;
        ns::setns(self.network.as_fd(), NEWNET)?;
        ns::unshare(NEWCGROUP)?;
        keyring::join_session(c"_ses.floor")?;
        mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
        let root =
            open_tree(CWD, &self.rootfs, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
        move_mount(&root, c"", CWD, &self.rootfs, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        rustix::process::umask(Mode::empty());
        mounts(&root)?;
        rustix::process::fchdir(&root)?;
        rustix::process::pivot_root(c".", c".")?;
        unmount(c".", UnmountFlags::DETACH)?;
        rustix::process::chdir(c"/")?;
        rustix::system::sethostname(b"floor")?;
        confine()?;
        let keep = 0xa80c_25fb;
        bound(keep, 40)?;
        process::set_groups(&[])?;
        process::set_gid(0)?;
        process::set_uid(0)?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        process::cloexec_from(3)?;
        if !self.filter.is_empty() {
            seccomp::load(&self.filter, 0)?;
        }
        capset(&CapSets { effective: keep, permitted: keep, inheritable: 0 })?;
        Err(execve(c"/bin/true", &self.argv, &self.envp))
    }
}

fn attach(
    root: &OwnedFd,
    fstype: &CStr,
    target: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: u64,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    let mount = fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::from_bits_retain(attributes as u32),
    )?;
    move_mount(&mount, c"", root, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(mount)
}

fn mounts(root: &OwnedFd) -> Result<(), Errno> {
    let safe = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    let directory = Mode::from_raw_mode(0o755);
    attach(root, c"proc", c"proc", &[], safe)?;
    let dev = attach(root, c"tmpfs", c"dev", &[(c"mode", c"755"), (c"size", c"65536k")], ATTR_NOSUID)?;
    for name in [c"pts", c"shm", c"mqueue"] {
        mkdirat(&dev, name, directory)?;
    }
    let pts = [(c"mode", c"0620"), (c"ptmxmode", c"0666"), (c"gid", c"5")];
    attach(&dev, c"devpts", c"pts", &pts, ATTR_NOSUID | ATTR_NOEXEC)?;
    attach(&dev, c"tmpfs", c"shm", &[(c"mode", c"1777"), (c"size", c"65536k")], safe)?;
    attach(&dev, c"mqueue", c"mqueue", &[], safe)?;
    attach(root, c"sysfs", c"sys", &[], safe | ATTR_RDONLY)?;
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        attach(root, c"cgroup2", c"sys/fs/cgroup", &[], safe | ATTR_RDONLY)?;
    }
    for (name, major, minor) in [
        (c"null", 1, 3),
        (c"zero", 1, 5),
        (c"full", 1, 7),
        (c"random", 1, 8),
        (c"urandom", 1, 9),
        (c"tty", 5, 0),
    ] {
        mknodat(
            &dev,
            name,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            device_number(major, minor),
        )?;
    }
    for (target, name) in [
        (c"/proc/self/fd", c"fd"),
        (c"/proc/self/fd/0", c"stdin"),
        (c"/proc/self/fd/1", c"stdout"),
        (c"/proc/self/fd/2", c"stderr"),
        (c"pts/ptmx", c"ptmx"),
    ] {
        symlinkat(target, &dev, name)?;
    }
    Ok(())
}

/// The read-only and the masked paths of docker's default.
fn confine() -> Result<(), Errno> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    for path in [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"] {
        let Ok(tree) = open_tree(CWD, path, clone) else { continue };
        mount_setattr(
            tree.as_fd(),
            &MountAttr { attr_set: ATTR_RDONLY, ..MountAttr::default() },
            Scope::Mount,
        )?;
        move_mount(&tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    for path in [
        c"/proc/asound",
        c"/proc/kcore",
        c"/proc/keys",
        c"/proc/latency_stats",
        c"/proc/timer_list",
        c"/proc/sched_debug",
    ] {
        let Ok(tree) = open_tree(CWD, c"/dev/null", clone) else { continue };
        match move_mount(&tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let root = openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let empty = attach(&root, c"tmpfs", c"sys/firmware", &[], ATTR_RDONLY)?;
    for path in [c"/proc/acpi", c"/proc/scsi", c"/sys/devices/virtual/powercap"] {
        if rustix::fs::stat(path).is_err() {
            continue;
        }
        let copy = open_tree(&empty, c"", clone | OpenTreeFlags::AT_EMPTY_PATH)?;
        move_mount(&copy, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    Ok(())
}
