//! Clients at the streams of a container's first process.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Container;
use super::streams::{Streams, Wants};
use crate::record::Status;
use crate::{Engine, Error, Result};

/// What a client wants of a container's streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachRequest {
    /// To write to its input.
    pub stdin: bool,
    /// To read its output.
    pub stdout: bool,
    /// To read its error output.
    pub stderr: bool,
}

impl From<AttachRequest> for Wants {
    fn from(request: AttachRequest) -> Self {
        Self { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr }
    }
}

/// A client's place.
pub enum Attached {
    /// Its streams.
    Now(Streams),
    /// They come when the container starts; the other end goes if it never does.
    AtStart(oneshot::Receiver<Result<Streams>>),
}

/// A client that waits for the start.
pub(crate) struct Waiting {
    wants: Wants,
    ready: oneshot::Sender<Result<Streams>>,
}

impl Engine {
    /// Attaches to a container: at once to one that runs, else at its next start, from its first byte on.
    ///
    /// # Errors
    /// Conflict for one that is frozen, or going.
    pub async fn attach(&self, container: &Arc<Container>, request: AttachRequest) -> Result<Attached> {
        // What is being started has its clients already.
        let _gate = container.gate.lock().await;
        let record = container.record();
        let open = record.options.process.open_stdin || container.require_own().is_err();
        let wants = Wants { stdin: request.stdin && open, ..request.into() };
        match record.state.status {
            Status::Running => {
                let streams = self.streams(container, "", wants).await?;
                self.announce(&container.event("attach")).await;
                Ok(Attached::Now(streams))
            }
            Status::Paused => Err(Error::Conflict(format!(
                "container {} is paused, unpause the container first",
                record.id
            ))),
            Status::Removing | Status::Dead => {
                Err(Error::Conflict(format!("container {} is being removed", record.id)))
            }
            Status::Created | Status::Exited | Status::Restarting => {
                let (ready, place) = oneshot::channel();
                container.transient().waiting.push(Waiting { wants, ready });
                self.announce(&container.event("attach")).await;
                Ok(Attached::AtStart(place))
            }
        }
    }

    /// The streams of one of its processes.
    pub(crate) async fn streams(&self, container: &Container, exec: &str, wants: Wants) -> Result<Streams> {
        let socket = self.shared.tasks.attach_socket(&container.key())?;
        Streams::connect(&socket, &container.id, exec, wants).await
    }

    /// Gives those who waited their streams, before the process starts.
    pub(crate) async fn admit(&self, container: &Container) {
        let waiting = std::mem::take(&mut container.transient().waiting);
        for Waiting { wants, ready } in waiting.into_iter().filter(|waiting| !waiting.ready.is_closed()) {
            let streams = self.streams(container, "", wants).await;
            // It went meanwhile.
            let _ = ready.send(streams);
        }
    }
}
