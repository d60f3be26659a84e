//! What a fault of the child is called: the child tells numbers, the parent has the plan and finds the words.
//!
//! The texts are those of runc where dockerd, containerd and podman read them: "executable file not found",
//! "no such file or directory", "permission denied", "is a directory".

use std::ffi::CStr;

use gantry_sys::Errno;

use super::{Fault, Step};
use crate::error::{Error, Failure};
use crate::plan::Plan;

/// Every step, by number.
pub(crate) const ALL_STEPS: [Step; super::STEPS as usize] = [
    Step::Sync,
    Step::Clone,
    Step::Session,
    Step::Root,
    Step::Join,
    Step::Unshare,
    Step::TimeOffsets,
    Step::Loopback,
    Step::CgroupNamespace,
    Step::Keyring,
    Step::Propagation,
    Step::RootfsMount,
    Step::Mount,
    Step::Device,
    Step::DevLink,
    Step::CreateContainerHook,
    Step::Pivot,
    Step::Console,
    Step::Terminal,
    Step::ReadonlyRoot,
    Step::Hostname,
    Step::Domainname,
    Step::Sysctl,
    Step::ReadonlyPath,
    Step::MaskedPath,
    Step::RootPropagation,
    Step::Label,
    Step::Scheduler,
    Step::IoPriority,
    Step::Personality,
    Step::MemoryPolicy,
    Step::Affinity,
    Step::Rlimit,
    Step::Stdio,
    Step::BoundingSet,
    Step::Groups,
    Step::Gid,
    Step::Uid,
    Step::Capabilities,
    Step::Ambient,
    Step::NoNewPrivileges,
    Step::Cwd,
    Step::CwdOutside,
    Step::LookPath,
    Step::Home,
    Step::StartContainerHook,
    Step::Descriptors,
    Step::Seccomp,
    Step::Exec,
    Step::ProcHandle,
    Step::CwdCreate,
    Step::LeaveBinary,
    Step::Cgroup,
];

/// The error of a fault. `plan` is missing for a start command, which was not there when it was made.
pub(crate) fn error(fault: Fault, plan: Option<&Plan>, hook_output: String) -> Error {
    if let Some(hook) = hook_error(fault, hook_output) {
        return hook;
    }
    let first = plan.is_some_and(|plan| plan.rootfs.is_some());
    let during = if first { DURING_INIT } else { "" };
    Error::Init { message: format!("{during}{}", message(fault, plan)), errno: fault.errno }
}

/// What runc says before the faults of a container's first process, and not of those that are executed in it.
pub(crate) const DURING_INIT: &str = "error during container init: ";

fn hook_error(fault: Fault, output: String) -> Option<Error> {
    let kind = match fault.step {
        Step::CreateContainerHook => "createContainer",
        Step::StartContainerHook => "startContainer",
        _ => return None,
    };
    let reason = match super::hooks::reported_status(fault.errno) {
        // SIGSYS: the container's seccomp filter holds for it, too.
        Some(159) => "exit status 159 (bad system call)".to_owned(),
        Some(status) => format!("exit status {status}"),
        None if fault.errno == Errno::TIMEDOUT => "timed out".to_owned(),
        None => Failure(fault.errno).to_string(),
    };
    Some(Error::Hook { kind, index: fault.index as usize, reason, output })
}

fn message(fault: Fault, plan: Option<&Plan>) -> String {
    let why = Failure(fault.errno);
    let index = fault.index as usize;
    let rootfs = plan.and_then(|plan| plan.rootfs.as_ref());
    let text = |text: &CStr| text.to_string_lossy().into_owned();
    let program = plan.map_or_else(String::new, |plan| {
        plan.process.args.strings().first().map(|s| text(s)).unwrap_or_default()
    });
    match fault.step {
        Step::Mount => {
            let Some(mount) = rootfs.and_then(|rootfs| rootfs.mounts.get(index)) else {
                return format!("error mounting mounts[{index}]: {why}");
            };
            if mount.strict_target && matches!(fault.errno, Errno::LOOP | Errno::NOTDIR) {
                return format!("error mounting {:?} to rootfs at {:?}: it must be mounted on ordinary directory", mount.source, text(&mount.target));
            }
            format!("error mounting {:?} to rootfs at {:?}: mount {}: {why}", mount.source, text(&mount.target), mount.source)
        }
        Step::Device => {
            let path = rootfs.and_then(|rootfs| rootfs.devices.get(index)).map(|device| text(&device.path));
            format!("error creating device nodes: mknod {}: {why}", path.unwrap_or_default())
        }
        Step::Sysctl => {
            let path = rootfs.and_then(|rootfs| rootfs.sysctls.get(index)).map(|sysctl| text(&sysctl.path));
            format!("open /proc/sys/{}: {why}", path.unwrap_or_default())
        }
        Step::ReadonlyPath | Step::MaskedPath => {
            let (word, list) = if fault.step == Step::MaskedPath {
                ("mask path", rootfs.map(|rootfs| &rootfs.masked))
            } else {
                ("make read-only path", rootfs.map(|rootfs| &rootfs.readonly_paths))
            };
            let path = list.and_then(|list| list.get(index)).map(|path| text(path)).unwrap_or_default();
            format!("can't {word} {path:?}: {why}")
        }
        Step::Join => {
            let join = plan.and_then(|plan| plan.namespaces.join.get(index).or(plan.namespaces.join_pid.as_ref()));
            format!("failed to setns into {}: {why}", join.map_or("a namespace", |join| join.path.as_str()))
        }
        Step::Rlimit => {
            let limit = plan.and_then(|plan| plan.process.rlimits.get(index));
            format!("error setting rlimit type {}: {why}", limit.map_or(0, |limit| limit.resource))
        }
        Step::RootfsMount => {
            let path = rootfs.map(|rootfs| text(&rootfs.path)).unwrap_or_default();
            format!("error mounting rootfs {path:?}: {why}")
        }
        Step::Label if index == 0 => {
            let profile = plan.and_then(|plan| plan.process.apparmor.as_deref()).map(text).unwrap_or_default();
            format!("unable to apply apparmor profile {profile:?}: {why}")
        }
        Step::Label => format!("unable to set the selinux label: {why}"),
        Step::LookPath => look_path(&program, fault.errno),
        Step::Exec => format!("exec {program}: {why}"),
        Step::Cwd | Step::CwdCreate => {
            let cwd = plan.map(|plan| text(&plan.process.cwd)).unwrap_or_default();
            format!("chdir to cwd ({cwd:?}) set in config.json failed: {why}")
        }
        Step::CwdOutside => "current working directory is outside of container mount namespace root -- possible container breakout detected".to_owned(),
        Step::Uid | Step::Gid if fault.errno == Errno::INVAL => {
            format!("{}: {why} (no such id in the user namespace)", phrase(fault.step))
        }
        step => format!("{}: {why}", phrase(step)),
    }
}

/// As Go's os/exec has it.
fn look_path(program: &str, errno: Errno) -> String {
    let why = Failure(errno);
    match (program.contains('/'), errno) {
        (false, Errno::NOENT) => format!("exec: {program:?}: executable file not found in $PATH"),
        (_, Errno::ACCESS) => format!("exec: {program:?}: permission denied"),
        (_, Errno::ISDIR) => format!("exec: {program:?}: is a directory"),
        _ => format!("exec: {program:?}: stat {program}: {why}"),
    }
}

fn phrase(step: Step) -> &'static str {
    match step {
        Step::Sync => "the conversation with the runtime broke off",
        Step::Clone => "clone3",
        Step::Session => "setsid",
        Step::Root => "becoming root in the user namespace",
        Step::Unshare => "unshare",
        Step::TimeOffsets => "entering the time namespace",
        Step::Loopback => "bringing the loopback interface up",
        Step::CgroupNamespace => "unshare cgroup namespace",
        Step::Keyring => "unable to join session keyring",
        Step::Propagation => "changing the propagation of the host's mounts",
        Step::DevLink => "error setting up /dev",
        Step::Pivot => "error jailing process inside rootfs: pivot_root",
        Step::Console => "error mounting /dev/console",
        Step::Terminal => "unable to set up the console",
        Step::ReadonlyRoot => "error setting rootfs as readonly",
        Step::Hostname => "sethostname",
        Step::Domainname => "setdomainname",
        Step::RootPropagation => "unable to apply root propagation flags",
        Step::Scheduler => "error setting scheduler",
        Step::IoPriority => "failed to set io priority",
        Step::Personality => "personality",
        Step::MemoryPolicy => "error setting memory policy",
        Step::Affinity => "error setting CPU affinity",
        Step::Stdio => "error reopening /dev/null inside container",
        Step::BoundingSet => "unable to apply bounding set",
        Step::Groups => "unable to setgroups",
        Step::Gid => "unable to setgid",
        Step::Uid => "unable to setuid",
        Step::Capabilities => "unable to apply caps",
        Step::Ambient => "unable to set ambient capabilities",
        Step::NoNewPrivileges => "setting no_new_privs",
        Step::Home => "finding the home directory",
        Step::Descriptors => "closing file descriptors",
        Step::Seccomp => "error loading seccomp filter into kernel",
        Step::LeaveBinary => "leaving the runtime's binary",
        Step::Cgroup => "joining the container's cgroups",
        Step::ProcHandle => "opening a trusted /proc",
        _ => "setting the process up",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_number() {
        for (index, step) in ALL_STEPS.iter().enumerate() {
            assert_eq!(*step as u32, index as u32 + 1);
            assert_eq!(Step::from_number(index as u32 + 1), Some(*step));
        }
        assert_eq!(Step::from_number(0), None);
        assert_eq!(Step::from_number(super::super::STEPS + 1), None);
    }

    #[test]
    fn missing_programs_read_as_engines_expect() {
        let cases = [
            ("foo", Errno::NOENT, "executable file not found"),
            ("/foo", Errno::NOENT, "no such file or directory"),
            ("/foo", Errno::ACCESS, "permission denied"),
            ("/", Errno::ISDIR, "is a directory"),
        ];
        for (program, errno, text) in cases {
            assert!(look_path(program, errno).contains(text));
        }
    }
}
