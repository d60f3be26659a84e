//! `Content.Write`: one session of one writer.
//!
//! ```text
//! client                                       door
//!   | STAT  {ref, total?, expected?}  ------->  | locks the ref, or goes on there
//!   | <------------------- {offset, digest}     |
//!   | WRITE {offset, data}  ----------------->  | at the end of what is there; offset 0 begins anew
//!   | <--------------------------- {offset}     |
//!   | COMMIT{offset, data?, total, expected, labels}
//!   | <------------------- {offset, digest}     | and the session ends
//! ```
//! Each request has its answer before the next one is read. A session that ends otherwise leaves the bytes for who resumes.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use gantry_primitives::{Context, Store, Writer};
use gantry_proto_containerd::content::{WriteAction, WriteContentRequest, WriteContentResponse};
use gantry_types::{Digest, ErrorKind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::status::{self, OrStatus as _, status};
use crate::{from_proto, into_proto};

type Answer = Result<WriteContentResponse, Status>;

/// Serves one session.
pub(super) fn session(
    store: Store,
    context: Context,
    requests: Streaming<WriteContentRequest>,
) -> BoxStream<'static, Answer> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        if let Err(status) = serve(store, context, requests, &sender).await {
            let _ = sender.send(Err(status)).await;
        }
    });
    ReceiverStream::new(receiver).boxed()
}

async fn serve(
    store: Store,
    context: Context,
    mut requests: Streaming<WriteContentRequest>,
    answers: &mpsc::Sender<Answer>,
) -> Result<(), Status> {
    let Some(first) = requests.message().await? else { return Ok(()) };
    let mut session = Session::open(store, context, &first).await?;
    let mut next = Some(first);
    while let Some(request) = next {
        let is_last = request.action() == WriteAction::Commit;
        let answer = session.answer(request).await?;
        if answers.send(Ok(answer)).await.is_err() || is_last {
            return Ok(());
        }
        next = requests.message().await?;
    }
    Ok(())
}

struct Session {
    store: Store,
    context: Context,
    reference: String,
    writer: Writer,
    /// Where the next write goes.
    offset: u64,
    total: u64,
    expected: Option<Digest>,
}

impl Session {
    async fn open(store: Store, context: Context, first: &WriteContentRequest) -> Result<Self, Status> {
        let reference = first.r#ref.clone();
        if reference.is_empty() {
            return Err(status::invalid_argument("first message must have a reference"));
        }
        let total = from_proto::length(first.total);
        let expected = from_proto::optional_digest(&first.expected)?;
        let opened = store.content_writer(context.clone(), reference.clone(), total, expected.clone());
        let writer = opened.await.or_status()?;
        let offset = writer.status().await.or_status()?.offset;
        Ok(Self { store, context, reference, writer, offset, total, expected })
    }

    async fn answer(&mut self, request: WriteContentRequest) -> Answer {
        let action = request.action();
        if let Some(expected) = from_proto::optional_digest(&request.expected)? {
            self.expected = Some(expected);
        }
        if request.total > 0 {
            self.total = from_proto::length(request.total);
        }
        let mut answer = WriteContentResponse { action: action.into(), ..Default::default() };
        match action {
            WriteAction::Stat => {
                let status = self.writer.status().await.or_status()?;
                self.offset = status.offset;
                answer.started_at = into_proto::timestamp(status.started);
                answer.updated_at = into_proto::timestamp(status.updated);
                answer.total = into_proto::length(self.total);
                answer.digest = self.writer.digest().await.or_status()?.to_string();
            }
            WriteAction::Write => {
                self.write(request.offset, request.data).await?;
                answer.digest = self.writer.digest().await.or_status()?.to_string();
            }
            WriteAction::Commit => {
                self.write(request.offset, request.data).await?;
                answer.digest = self.commit(request.labels).await?.to_string();
            }
        }
        answer.offset = into_proto::length(self.offset);
        Ok(answer)
    }

    /// Writes at the end of what is there. Offset 0 stands for whoever does not say, and for who begins anew.
    async fn write(&mut self, offset: i64, data: Bytes) -> Result<(), Status> {
        let at = from_proto::length(offset);
        if at > 0 && at != self.offset {
            let end = self.offset;
            return Err(status::out_of_range(format!("write @{at} must occur at current offset {end}")));
        }
        if at == 0 && self.offset > 0 {
            self.writer.truncate(0).await.or_status()?;
            self.offset = 0;
        }
        if !data.is_empty() {
            self.offset = self.writer.write(data, self.offset).await.or_status()?;
        }
        Ok(())
    }

    async fn commit(&mut self, labels: gantry_types::Labels) -> Result<Digest, Status> {
        let expected = self.expected.clone();
        let error = match self.writer.commit(self.total, expected, labels, String::new()).await {
            Ok(digest) => return Ok(digest),
            Err(error) => error,
        };
        if error.kind() == ErrorKind::AlreadyExists {
            // Somebody else was faster: what is left of ours is of no use.
            let aborted = self.store.ingest_abort(self.context.clone(), self.reference.clone()).await;
            if let Err(error) = aborted.or_status().map_err(|status| status.message().to_owned()) {
                tracing::debug!(reference = self.reference, error, "the ingest of existing content stays");
            }
        }
        Err(status(&error))
    }
}
