//! Hooks that run in the container's namespaces: createContainer and startContainer.

use std::os::fd::{AsFd, BorrowedFd};

use gantry_sys::clone::{CloneArgs, spawn};
use gantry_sys::exec::StringArray;
use gantry_sys::process::{self, Exit, Wait};
use gantry_sys::{Errno, exec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{SeekFrom, seek};

use super::{Fault, Init, Step};
use crate::plan::HookPlan;
use crate::seccomp::Program;

/// The status of a hook's process that could not execute it.
const NOT_EXECUTED: i32 = 127;

impl Init<'_> {
    pub(super) fn run_create_container_hooks(&self) -> Result<(), Fault> {
        self.run_hooks(&self.plan.create_container_hooks, 0, None, None, Step::CreateContainerHook)
    }

    /// `env` is the process's environment, if it is not that of the configuration.
    pub(super) fn run_start_container_hooks(&self, env: Option<&StringArray>) -> Result<(), Fault> {
        // A filter with a listener is in force already.
        let filter = self.plan.process.seccomp.as_ref().filter(|program| !program.listener);
        self.run_hooks(&self.plan.start_container_hooks, 1, env, filter, Step::StartContainerHook)
    }

    fn run_hooks(
        &self,
        hooks: &[HookPlan],
        state: usize,
        process_env: Option<&StringArray>,
        filter: Option<&Program>,
        step: Step,
    ) -> Result<(), Fault> {
        for (index, hook) in hooks.iter().enumerate() {
            let state = self.hook_states[state].as_ref().map(AsFd::as_fd);
            let output = self.plan.hook_output.as_ref().map(crate::plan::HookOutput::streams);
            let failed = |errno| Fault { step, index: index as u32, errno };
            let env = process_env.filter(|_| hook.env_of_process).unwrap_or(&hook.env);
            match run_hook(hook, env, state, output, filter).map_err(failed)? {
                HookEnd::Exit(Exit::Code(0)) => {}
                HookEnd::TimedOut => return Err(failed(Errno::TIMEDOUT)),
                // The status is told in the place of an errno, above all of those.
                HookEnd::Exit(exit) => return Err(failed(Errno::from_raw_os_error(status_errno(exit)))),
            }
        }
        Ok(())
    }
}

/// Statuses are reported as errnos from here on.
const STATUS_BASE: i32 = 1000;

fn status_errno(exit: Exit) -> i32 {
    STATUS_BASE + exit.status()
}

/// The exit status that a fault of a hook's step carries; `None` when it carries an errno.
pub(crate) fn reported_status(errno: Errno) -> Option<i32> {
    errno.raw_os_error().checked_sub(STATUS_BASE).filter(|status| *status >= 0)
}

/// How a hook ended.
pub(crate) enum HookEnd {
    Exit(Exit),
    TimedOut,
}

/// Runs one hook with the state on its standard input, under the container's filter if there is one, and waits for it.
pub(crate) fn run_hook(
    hook: &HookPlan,
    env: &StringArray,
    state: Option<BorrowedFd<'_>>,
    output: Option<[BorrowedFd<'_>; 2]>,
    filter: Option<&Program>,
) -> Result<HookEnd, Errno> {
    if let Some(state) = state {
        seek(state, SeekFrom::Start(0))?;
    }
    let child = spawn(&CloneArgs::default(), || {
        let _ = gantry_sys::signal::set_blocked(0);
        gantry_sys::signal::default_all();
        let streams = [(state, 0), (output.map(|o| o[0]), 1), (output.map(|o| o[1]), 2)];
        for (fd, number) in streams {
            if let Some(fd) = fd
                && process::dup_onto(fd, number).is_err()
            {
                return NOT_EXECUTED;
            }
        }
        let _ = process::cloexec_from(3);
        let load = |program: &Program| gantry_sys::seccomp::load(&program.instructions, program.flags);
        if filter.is_some_and(|program| load(program).is_err()) {
            return NOT_EXECUTED;
        }
        let _ = exec::execve(&hook.path, &hook.args, env);
        NOT_EXECUTED
    })?;
    if let Some(timeout) = hook.timeout_ms {
        let limit =
            Timespec { tv_sec: (timeout / 1000) as i64, tv_nsec: (timeout % 1000 * 1_000_000) as i64 };
        let mut fds = [PollFd::new(&child.pidfd, PollFlags::IN)];
        if rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit)))? == 0 {
            process::pidfd_kill(child.pidfd.as_fd(), 9)?;
            process::wait(Wait::Child(child.pidfd.as_fd()))?;
            return Ok(HookEnd::TimedOut);
        }
    }
    let ended = process::wait(Wait::Child(child.pidfd.as_fd()))?;
    ended.map(|(_, exit)| HookEnd::Exit(exit)).ok_or(Errno::CHILD)
}
