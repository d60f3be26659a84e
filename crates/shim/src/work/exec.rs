//! Exec.

use gantry_runtime::{Console, ExecRequest, ExecTarget};
use gantry_types::oci::Process;

use super::{Made, Subject};
use crate::failure::Failure;
use crate::stdio::{Context, Role, Stdio};
use crate::worker::Done;

/// A process to execute.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) exec_id: String,
    /// An OCI process in JSON.
    pub(crate) process: Vec<u8>,
    pub(crate) stdio: Stdio,
}

/// Executes a process in a container.
pub(crate) fn exec(subject: &Subject, execution: &Execution) -> Result<Done, Failure> {
    let mut process: Process = gantry_types::oci::from_json(&execution.process)
        .map_err(|error| Failure::invalid(format!("the exec's process: {error}")))?;
    process.terminal = execution.stdio.terminal;
    let mut opened = execution.stdio.open(Context {
        id: subject.id.as_str(),
        namespace: &subject.namespace,
        owner: (subject.options.io_uid, subject.options.io_gid),
        confined: !process.selinux_label.is_empty(),
    })?;
    opened.install()?;
    if let Some(external) = subject.external() {
        let (made, fds) = external.exec(&execution.exec_id, &execution.process, process.terminal)?;
        return made.into_done(opened, fds);
    }
    let host = subject.host();
    let request = ExecRequest {
        console: if process.terminal { Console::Caller } else { Console::Foreground },
        process,
        ..ExecRequest::default()
    };
    let spawned = ExecTarget::open(&host, &subject.id)?.spawn(&host, &request);
    // If the container has ended meanwhile, that is why, whatever the step that found out.
    let (child, console) = spawned.or_else(|error| ExecTarget::open(&host, &subject.id).and(Err(error)))?;
    let made = Made { pid: child.pid, start_time: start_time(child.pid), ..Made::default() };
    let mut fds = vec![(Role::Pidfd, child.pidfd)];
    fds.extend(console.map(|master| (Role::Console, master)));
    made.into_done(opened, fds)
}

/// When a process started; 0 if it has been reaped already.
pub(super) fn start_time(pid: i32) -> u64 {
    gantry_runtime::start_time(pid).unwrap_or(0)
}
