//! The streams that are open and not yet taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gantry_proto_containerd::{Any, Message, Name};
use gantry_types::Namespace;
use tokio::sync::mpsc;
use tonic::Status;

use crate::status;

/// How many streams may wait to be taken.
const MAX_STREAMS: usize = 4096;
/// The longest id, in bytes.
const MAX_ID_BYTES: usize = 256;

/// Both ends of a stream.
pub(crate) struct OpenStream {
    pub(crate) incoming: tonic::Streaming<Any>,
    pub(crate) outgoing: mpsc::Sender<Result<Any, Status>>,
}

impl OpenStream {
    /// Sends a message; false when the client has left.
    pub(crate) async fn send<M: Message + Name>(&self, message: &M) -> bool {
        self.outgoing.send(Ok(Any::pack(message))).await.is_ok()
    }
}

type Key = (String, String);

struct Waiting {
    /// Which registration it is: an id may come again.
    number: u64,
    stream: Option<OpenStream>,
}

#[derive(Default)]
struct Table {
    waiting: HashMap<Key, Waiting>,
    next: u64,
}

/// By namespace and id.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<Table>>);

impl Streams {
    /// Keeps a stream until it is taken, or its registration is dropped.
    ///
    /// # Errors
    /// InvalidArgument for an id that is empty or too long, AlreadyExists, ResourceExhausted.
    pub(crate) fn add(
        &self,
        namespace: &Namespace,
        id: &str,
        stream: OpenStream,
    ) -> Result<Registration, Status> {
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(status::invalid_argument(format!("a stream's id has 1 to {MAX_ID_BYTES} bytes")));
        }
        let key = (namespace.to_string(), id.to_owned());
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.waiting.contains_key(&key) {
            return Err(status::already_exists(format!("stream {id:?} already exists")));
        }
        if table.waiting.len() >= MAX_STREAMS {
            return Err(status::resource_exhausted(format!("{MAX_STREAMS} streams are open already")));
        }
        table.next += 1;
        let number = table.next;
        table.waiting.insert(key.clone(), Waiting { number, stream: Some(stream) });
        Ok(Registration { streams: self.clone(), key, number })
    }

    /// Gives the stream to whom it was opened for. Its id stays in use until the client closes it.
    ///
    /// # Errors
    /// NotFound, also if it was taken before.
    pub(crate) fn take(&self, namespace: &Namespace, id: &str) -> Result<OpenStream, Status> {
        let key = (namespace.to_string(), id.to_owned());
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = table.waiting.get_mut(&key).and_then(|waiting| waiting.stream.take());
        stream.ok_or_else(|| status::not_found(format!("stream {id:?} not found")))
    }
}

/// Keeps an id in use.
pub(crate) struct Registration {
    streams: Streams,
    key: Key,
    number: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.waiting.get(&self.key).is_some_and(|waiting| waiting.number == self.number) {
            table.waiting.remove(&self.key);
        }
    }
}
