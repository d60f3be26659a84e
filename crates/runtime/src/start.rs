//! start.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use gantry_types::ContainerId;

use crate::container::Container;
use crate::delete::Force;
use crate::error::Error;
use crate::gate::{self, Opened, Opening};
use crate::host::Host;
use crate::init::{self, Fault, Step};
use crate::notify::Listener;
use crate::state::{StateDir, Status};

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
    open_gate(&container.dir)?.finish()?;
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

/// A container's process on its way from the gate to its program.
#[derive(Debug)]
pub struct Starting(Opening);

impl Starting {
    /// The descriptor that becomes readable when the program runs or cannot.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }

    /// Waits until the program runs.
    ///
    /// # Errors
    /// What the program's execve(2) or a hook of the container's gives.
    pub fn finish(self) -> Result<(), Error> {
        match self.0.finish()? {
            None => Ok(()),
            Some(message) => {
                let step = Step::from_number(message.step).unwrap_or(Step::Sync);
                let fault = Fault { step, index: message.index, errno: message.errno() };
                Err(init::words::error(fault, None, String::new()))
            }
        }
    }
}

/// Lets a created container's process execute its program, without waiting, and without what the container's record says:
/// poststart hooks and its state are the caller's to know.
///
/// # Errors
/// NotFound; FailedPrecondition unless the container's process waits for it.
pub fn begin_start(host: &Host, id: &ContainerId) -> Result<Starting, Error> {
    open_gate(&StateDir::open(host, id)?)
}

fn open_gate(dir: &StateDir) -> Result<Starting, Error> {
    match gate::open(dir)? {
        Opened::Opening(opening) => Ok(Starting(opening)),
        Opened::Lost => Err(refuse(Status::Running)),
        Opened::Dead => Err(refuse(Status::Stopped)),
    }
}

fn refuse(status: Status) -> Error {
    let reason = match status {
        Status::Stopped => "cannot start a container that has stopped".to_owned(),
        Status::Running => "cannot start an already running container".to_owned(),
        status => format!("cannot start a container in the {status} state"),
    };
    Error::State { status, reason }
}
