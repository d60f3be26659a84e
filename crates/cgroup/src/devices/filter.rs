//! Device programs on a cgroup of v2.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::bpf;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::policy::Policy;
use super::program::compile;
use crate::cgroup::Cgroup;
use crate::error::LimitError;

/// The kernel attaches no more programs of one kind to a cgroup.
const MAX_PROGRAMS: usize = 64;

/// How often a signal may interrupt the verifier.
const LOAD_TRIES: u32 = 30;

const NAME: &std::ffi::CStr = c"gantry_devices";

/// Installs the program of a policy in the place of what is attached to the cgroup itself; programs of ancestors stay
/// and can only take more away. An only program (ours, or systemd's) is replaced at once, so that there is no moment
/// without rules nor with both; several are detached after the new one is in force.
pub(super) fn apply(cgroup: &Cgroup, policy: &Policy) -> Result<(), LimitError> {
    let failed = |action| move |errno| LimitError::DeviceFilter { action, errno };
    let Some(node) = cgroup.unified() else {
        return Err(LimitError::NoController {
            field: "linux.resources.devices".into(),
            controller: "devices".into(),
            reason: "container could not join or create cgroup",
        });
    };
    let dir = node.dir().map_err(failed("opening the cgroup"))?;
    let target = dir.as_fd();
    let old = match node.is_new.take() {
        true => Vec::new(),
        false => attached(target).map_err(failed("listing the device programs of the cgroup"))?,
    };
    if policy.allows_everything() && old.is_empty() {
        return Ok(());
    }
    let program = load(policy).map_err(failed("loading the device program"))?;
    let replace = match old.as_slice() {
        [only] => Some(only.as_fd()),
        _ => None,
    };
    bpf::attach_device_program(target, program.as_fd(), replace)
        .map_err(failed("attaching the device program"))?;
    if replace.is_none() {
        for program in &old {
            match bpf::detach_device_program(target, program.as_fd()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed("detaching an old device program")(errno)),
            }
        }
    }
    Ok(())
}

/// The programs of the cgroup itself. Those that a security module hides from us are left: they only restrict.
fn attached(target: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Errno> {
    let mut ids = [0; MAX_PROGRAMS];
    let count = bpf::query_device_programs(target, &mut ids)?;
    let mut programs = Vec::with_capacity(count);
    for id in &ids[..count] {
        match bpf::program_by_id(*id) {
            Ok(program) => programs.push(program),
            Err(Errno::NOENT | Errno::ACCESS | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(programs)
}

fn load(policy: &Policy) -> Result<OwnedFd, Errno> {
    let program = compile(policy);
    let mut tries = LOAD_TRIES;
    let mut load = || loop {
        match bpf::load_device_program(&program, NAME) {
            Err(Errno::AGAIN) if tries > 0 => tries -= 1,
            result => return result,
        }
    };
    match load() {
        // Until Linux 5.11 programs count as locked memory, of which a process may have 64 KiB.
        Err(Errno::PERM) => {
            let before = getrlimit(Resource::Memlock);
            setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).map_err(|_| Errno::PERM)?;
            let result = load();
            let _ = setrlimit(Resource::Memlock, before);
            result
        }
        result => result,
    }
}
