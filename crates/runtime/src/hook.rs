//! Hooks that run in the runtime's namespaces: prestart, createRuntime, poststart, poststop.

use std::os::fd::{AsFd, OwnedFd};

use gantry_types::oci::Hook;

use crate::error::{Error, Failure};
use crate::init::hooks::{HookEnd, run_hook};
use crate::parent::memory_file;
use crate::plan::{HookOutput, HookPlan};
use crate::state::{Record, Status};

/// Runs hooks of one kind in their order, with the container's state on their standard input.
///
/// # Errors
/// Internal for the first that cannot be executed, ends with another status than 0, or takes too long.
pub(crate) fn run_all(
    hooks: &[Hook],
    kind: &'static str,
    record: &Record,
    status: Status,
) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let plans = HookPlan::prepare(hooks, kind, None)?;
    let state = state_file(record, status)?;
    plans.iter().enumerate().try_for_each(|(index, plan)| run_one(plan, kind, index, &state, record))
}

/// Runs hooks that can fail without consequences, and gives back what failed.
pub(crate) fn run_each(hooks: &[Hook], kind: &'static str, record: &Record, status: Status) -> Vec<Error> {
    if hooks.is_empty() {
        return Vec::new();
    }
    let state = match state_file(record, status) {
        Ok(state) => state,
        Err(error) => return vec![error],
    };
    let run = |(index, hook): (usize, &Hook)| -> Result<(), Error> {
        let plans = HookPlan::prepare(std::slice::from_ref(hook), kind, None)?;
        plans.iter().try_for_each(|plan| run_one(plan, kind, index, &state, record))
    };
    hooks.iter().enumerate().filter_map(|hook| run(hook).err()).collect()
}

fn run_one(
    plan: &HookPlan,
    kind: &'static str,
    index: usize,
    state: &OwnedFd,
    record: &Record,
) -> Result<(), Error> {
    let output = HookOutput::prepare(&record.annotations)?;
    let failed = |reason: String| Error::Hook { kind, index, reason, output: output.text() };
    if let Err(errno) = rustix::fs::stat(&plan.path) {
        return Err(failed(format!("fork/exec {}: {}", plan.path.to_string_lossy(), Failure(errno))));
    }
    let end = run_hook(plan, &plan.env, Some(state.as_fd()), Some(output.streams()), None);
    match end.map_err(|errno| failed(Failure(errno).to_string()))? {
        HookEnd::Exit(exit) if exit.status() == 0 => Ok(()),
        HookEnd::Exit(exit) => Err(failed(format!("exit status {}", exit.status()))),
        HookEnd::TimedOut => Err(failed("timed out".into())),
    }
}

/// The state as JSON in a memory file.
pub(crate) fn state_file(record: &Record, status: Status) -> Result<OwnedFd, Error> {
    let text = serde_json::to_vec(&record.oci_state(status))
        .map_err(|error| Error::config("annotations", format!("cannot be written as JSON: {error}")))?;
    memory_file("container-state", &text)
}
