//! start.

use std::os::fd::AsFd;
use std::path::Path;

use gantry_types::ContainerId;

use crate::container::Container;
use crate::delete::Force;
use crate::error::Error;
use crate::gate::{self, Opened};
use crate::host::Host;
use crate::init::{self, Fault, Step};
use crate::notify::Listener;
use crate::state::Status;

/// Lets a created container's process execute its program, and waits until it has.
///
/// With `notify_socket`, the socket of the caller's service manager, also until the container's service is ready, if the
/// container was made with one.
///
/// # Errors
/// NotFound; FailedPrecondition unless the container is created; what the program's execve(2) or a hook gives.
pub fn start(host: &Host, id: &ContainerId, notify_socket: Option<&Path>) -> Result<(), Error> {
    let container = Container::open(host, id)?;
    match container.status()? {
        Status::Created => {}
        status => return Err(refuse(status)),
    }
    let directory = crate::notify::directory(host, id);
    let notify = notify_socket.filter(|_| directory.is_dir());
    let listener = notify.map(|_| Listener::bind(&directory)).transpose()?;
    match gate::open(&container.dir)? {
        Opened::Running => {}
        Opened::Lost => return Err(refuse(Status::Running)),
        Opened::Dead => return Err(refuse(Status::Stopped)),
        Opened::Failed(message) => {
            let step = Step::from_number(message.step).unwrap_or(Step::Sync);
            let fault = Fault { step, index: message.index, errno: message.errno() };
            return Err(init::words::error(fault, None, String::new()));
        }
    }
    let record = &container.record;
    if let Err(cause) = crate::hook::run_all(&record.poststart, "poststart", record, Status::Running) {
        // runtime.md, Lifecycle: the container is stopped, and the life cycle goes on where it is destroyed.
        return Err(match crate::delete::delete(host, id, Force::Yes) {
            Ok(()) => cause,
            Err(cleanup) => Error::Cleanup { cause: Box::new(cause), cleanup: Box::new(cleanup) },
        });
    }
    if let (Some(manager), Some(listener)) = (notify, &listener) {
        match container.process()? {
            Some(pidfd) => listener.forward_until_ready(manager, record.pid, pidfd.as_fd())?,
            // It has ended already, and may have been ready before.
            None => drop(listener.forward(manager, record.pid)?),
        }
    }
    Ok(())
}

fn refuse(status: Status) -> Error {
    let reason = match status {
        Status::Stopped => "cannot start a container that has stopped".to_owned(),
        Status::Running => "cannot start an already running container".to_owned(),
        status => format!("cannot start a container in the {status} state"),
    };
    Error::State { status, reason }
}
