//! Bodies: what is sent, and how it is watched.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use tokio::time::Instant;

use crate::{BodyStream, BoxError};

/// The body of a request.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// What a request carries.
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    Stream(Upload),
}

impl Payload {
    /// The same once more, if that is possible.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Bytes(bytes) => Some(Self::Bytes(bytes.clone())),
            Self::Stream(_) => None,
        }
    }

    /// The body, and how to see it advance.
    pub(crate) fn into_body(self) -> (Body, Option<Arc<Progress>>) {
        match self {
            Self::Empty => (Empty::new().map_err(|never| match never {}).boxed_unsync(), None),
            Self::Bytes(bytes) => (Full::new(bytes).map_err(|never| match never {}).boxed_unsync(), None),
            Self::Stream(upload) => {
                let progress = Arc::clone(&upload.progress);
                (upload.boxed_unsync(), Some(progress))
            }
        }
    }
}

/// How far an upload is.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
    last_ms: AtomicU64,
    is_complete: AtomicBool,
    failure: Mutex<Option<BoxError>>,
}

impl Progress {
    fn advance(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// Returns when the body has not advanced for `stall`, or there is no answer `commit` after its end.
    pub(crate) async fn stalled(&self, stall: Duration, commit: Duration) -> Duration {
        loop {
            let limit = if self.is_complete.load(Ordering::Acquire) { commit } else { stall };
            let deadline = self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + limit;
            if deadline <= Instant::now() {
                return limit;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }

    /// What the source of the bytes failed with.
    pub(crate) fn take_failure(&self) -> Option<BoxError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Bytes from a source, exactly as many as were announced.
pub(crate) struct Upload {
    /// Never locked: it makes references to this sendable.
    stream: Mutex<BodyStream>,
    remaining: u64,
    progress: Arc<Progress>,
}

impl Upload {
    pub(crate) fn new(stream: BodyStream, size: u64) -> Self {
        let progress = Progress {
            start: Instant::now(),
            last_ms: AtomicU64::new(0),
            is_complete: AtomicBool::new(size == 0),
            failure: Mutex::default(),
        };
        Self { stream: Mutex::new(stream), remaining: size, progress: Arc::new(progress) }
    }

    fn fail(&self, error: BoxError) -> BoxError {
        *self.progress.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        "the source failed".into()
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // The transport asked for more, so what it had is on its way.
        self.progress.advance();
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        let stream = self.stream.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut chunk = match ready!(stream.as_mut().poll_next(context)) {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => return Poll::Ready(Some(Err(self.fail(error)))),
            None => {
                let error = format!("it ended {} bytes early", self.remaining).into();
                return Poll::Ready(Some(Err(self.fail(error))));
            }
        };
        // A part of a blob ends where it ends, whatever its source still has.
        chunk.truncate(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        self.remaining -= chunk.len() as u64;
        if self.remaining == 0 {
            self.progress.is_complete.store(true, Ordering::Release);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
