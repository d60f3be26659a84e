//! `containerd.services.streaming.v1`: streams that a client opens and that other requests of it name.
//!
//! ```text
//! client                     door                         a transfer
//!   | StreamInit{id}  ------->  | keeps it by (namespace, id)
//!   | <-------------- Empty     |
//!   | Transfer{…id…}  ------------------------------------>  | takes it: from now on it is its own
//!   | <=================== Any, both ways ================>  |
//!   | <-------------- end       | <------------------ drops it
//! ```
//! A stream that nobody takes goes when its client closes it.

mod auth;
mod bytes;
mod registry;

pub(crate) use auth::{Answer, Asker};
pub(crate) use bytes::{receive, relay, send};
pub(crate) use registry::{OpenStream, Streams};

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use gantry_proto_containerd::Any;
use gantry_proto_containerd::streaming::StreamInit;
use gantry_proto_containerd::streaming::streaming_server::Streaming;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use self::registry::Registration;
use crate::request;
use crate::status;

/// How many messages wait for a client that does not read.
const OUTGOING: usize = 16;

pub(crate) struct StreamingService {
    pub(crate) streams: Streams,
}

#[tonic::async_trait]
impl Streaming for StreamingService {
    type StreamStream = Answers;

    async fn stream(
        &self,
        request: Request<tonic::Streaming<Any>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.ok_or_else(|| status::invalid_argument("no first message"))?;
        let init: StreamInit = first
            .unpack()
            .map_err(|error| status::invalid_argument(format!("stream init: {error}")))?
            .ok_or_else(|| status::invalid_argument(format!("{:?} is no stream init", first.name())))?;
        let (outgoing, answers) = mpsc::channel(OUTGOING);
        let stream = OpenStream { incoming, outgoing };
        let registration = self.streams.add(&namespace, &init.id, stream)?;
        Ok(Response::new(Answers { empty: Some(Any::empty()), answers, _registration: registration }))
    }
}

/// What a client gets: that the stream is there, then what its owner sends.
pub(crate) struct Answers {
    empty: Option<Any>,
    answers: mpsc::Receiver<Result<Any, Status>>,
    /// Ends with the client.
    _registration: Registration,
}

impl Stream for Answers {
    type Item = Result<Any, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.empty.take() {
            Some(empty) => Poll::Ready(Some(Ok(empty))),
            None => self.answers.poll_recv(context),
        }
    }
}
