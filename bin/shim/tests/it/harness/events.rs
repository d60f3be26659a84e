//! The daemon's event service.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gantry_proto_shim::Message;
use gantry_proto_shim::any::{Any, Empty, Named};
use gantry_proto_shim::events::{self, Event};
use gantry_proto_shim::forward::{Envelope, FORWARD, ForwardRequest, SERVICE};
use gantry_testkit::until;
use gantry_ttrpc::server::{Server, serve};
use gantry_ttrpc::{Code, Status};

/// One event, in short: its topic without the slash and the kind, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// Such as `exec-added`.
    pub(crate) kind: String,
    pub(crate) container: String,
    /// The exec's, or the container's once more, where the event has one.
    pub(crate) process: String,
    pub(crate) envelope: Envelope,
}

impl Seen {
    /// The event, if it is of this type.
    pub(crate) fn event<E: Event>(&self) -> Option<E> {
        self.envelope.event.as_ref().and_then(|event| event.unpack().ok())
    }

    fn of(envelope: Envelope) -> Self {
        let kind = envelope.topic.rsplit('/').next().unwrap_or_default().to_owned();
        let event = envelope.event.clone().unwrap_or_default();
        let (container, process) = names(&event);
        Self { kind, container, process, envelope }
    }
}

fn names(event: &Any) -> (String, String) {
    fn read<E: Named>(event: &Any) -> Option<E> {
        event.unpack().ok()
    }
    if let Some(exit) = read::<events::TaskExit>(event) {
        return (exit.container_id, exit.id);
    }
    if let Some(delete) = read::<events::TaskDelete>(event) {
        return (delete.container_id, delete.id);
    }
    if let Some(added) = read::<events::TaskExecAdded>(event) {
        return (added.container_id, added.exec_id);
    }
    if let Some(started) = read::<events::TaskExecStarted>(event) {
        return (started.container_id, started.exec_id);
    }
    // The others have the container's name first, too.
    let other = events::TaskOOM::decode(&*event.value).unwrap_or_default();
    (other.container_id, String::new())
}

/// The service, on a socket of its own.
#[derive(Debug)]
pub(crate) struct EventServer {
    socket: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: Mutex<Option<Server>>,
}

impl EventServer {
    pub(crate) fn new(socket: &Path) -> Self {
        let server = Self { socket: socket.to_owned(), seen: Arc::default(), server: Mutex::default() };
        server.come_back();
        server
    }

    /// Serves nobody until it comes back.
    pub(crate) fn go_away(&self) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = fs::remove_file(&self.socket);
    }

    pub(crate) fn come_back(&self) {
        let list = Arc::clone(&self.seen);
        let server = serve(&self.socket, move |call| {
            if call.service != SERVICE || call.method != FORWARD {
                return Err(Status::new(Code::Unimplemented, call.method.clone()));
            }
            let request: ForwardRequest = call.message()?;
            let envelope = request.envelope.ok_or_else(|| Status::new(Code::InvalidArgument, "no event"))?;
            list.lock().unwrap_or_else(PoisonError::into_inner).push(Seen::of(envelope));
            Ok(Empty {}.encode_to_vec())
        });
        let server = server.expect("a socket for events");
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }

    /// All events of a container so far, in their order.
    pub(crate) fn of(&self, container: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|event| event.container == container).cloned().collect()
    }

    /// Waits for an event of a container, and gives all of its events so far.
    #[track_caller]
    pub(crate) fn until(&self, container: &str, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        until(&format!("an event of {container}"), || {
            let seen = self.of(container);
            seen.iter().any(&wanted).then_some(seen)
        })
    }
}
