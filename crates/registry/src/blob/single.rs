//! One part of a blob after another from one place, opened again where it breaks.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use tokio::time::{Instant, Sleep};

use super::open::{Opened, Source, Span};
use crate::retry::pause;
use crate::transport::Answer;
use crate::{BoxFuture, Error};

/// After so many bytes, what failed before is forgotten.
const PROGRESS: u64 = 1 << 20;
/// A body that brings less than this in the time for a stall has stalled.
const TRICKLE: u64 = 1 << 10;

/// The bytes of a span.
pub(super) struct Single {
    source: Arc<Source>,
    /// What is still to come.
    span: Span,
    state: State,
    /// Attempts in a row that brought nothing to speak of, the current one included.
    attempt: u32,
    /// The start of the span when the attempts were last counted from one.
    counted_from: u64,
    /// Whether the first answer had all of the blob though a part was asked for.
    is_whole: bool,
}

enum State {
    Opening(BoxFuture<'static, Result<Opened, Error>>),
    Reading(Box<Reading>),
    Done,
}

struct Reading {
    answer: Answer,
    skip: u64,
    /// Where the body ends in the blob.
    end: u64,
    stall: Pin<Box<Sleep>>,
    /// Bytes since the time for a stall began to run.
    lately: u64,
    /// Whether the last poll found nothing: whoever reads slowly makes no stall.
    is_waiting: bool,
}

impl Single {
    /// Opens a span; nothing is asked for if it is empty.
    pub(super) async fn open(source: Arc<Source>, span: Span) -> Result<Self, Error> {
        let mut single = Self::later(Arc::clone(&source), span);
        if span.start == span.end {
            single.state = State::Done;
            return Ok(single);
        }
        let opened = source.open(span).await?;
        single.is_whole = opened.end > span.end;
        if single.is_whole {
            single.span.end = source.size;
        }
        single.begin(opened);
        Ok(single)
    }

    /// A span that is opened when it is first polled.
    pub(super) fn later(source: Arc<Source>, span: Span) -> Self {
        let state = State::Opening(opening(&source, span, Duration::ZERO));
        Self { source, span, state, attempt: 1, counted_from: span.start, is_whole: false }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn begin(&mut self, opened: Opened) {
        let stall = self.source.repository.options().timeouts.stall;
        let Opened { answer, skip, end } = opened;
        let stall = Box::pin(tokio::time::sleep(stall));
        self.state =
            State::Reading(Box::new(Reading { answer, skip, end, stall, lately: 0, is_waiting: false }));
    }

    pub(super) fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            match &mut self.state {
                State::Done => return Poll::Ready(None),
                State::Opening(opening) => match ready!(opening.as_mut().poll(context)) {
                    Ok(opened) => self.begin(opened),
                    Err(error) => {
                        self.state = State::Done;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                State::Reading(reading) => {
                    let chunk = match ready!(poll_body(reading, &self.source, context)) {
                        Ok(Some(chunk)) => chunk,
                        Ok(None) if self.span.start == self.span.end => {
                            self.state = State::Done;
                            return Poll::Ready(None);
                        }
                        Ok(None) => {
                            let missing = self.span.end - self.span.start;
                            let error =
                                broken(reading, &self.source, format!("it ended {missing} bytes early"));
                            self.again(error)?;
                            continue;
                        }
                        // Nothing is missing: how the body ends does not matter.
                        Err(_) if self.span.start == self.span.end => {
                            self.state = State::Done;
                            return Poll::Ready(None);
                        }
                        Err(error) => {
                            self.again(error)?;
                            continue;
                        }
                    };
                    if let Some(chunk) = self.take(chunk)? {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                }
            }
        }
    }

    /// What of a chunk belongs to the span.
    fn take(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>, Error> {
        let State::Reading(reading) = &mut self.state else { return Ok(None) };
        let skipped = reading.skip.min(chunk.len() as u64);
        reading.skip -= skipped;
        // It is no longer than the chunk.
        chunk = chunk.split_off(skipped as usize);
        let room = self.span.end - self.span.start;
        if chunk.len() as u64 > room {
            if reading.end > self.span.end {
                // The host sends more than the part that was asked for.
                chunk.truncate(room as usize);
            } else {
                let host = reading.answer.host.clone();
                let (expected, what) = (format!("{} bytes", self.source.size), self.source.what.clone());
                self.state = State::Done;
                return Err(Error::Mismatch { host, what, expected, found: "more".into() });
            }
        }
        self.span.start += chunk.len() as u64;
        if self.span.start - self.counted_from >= PROGRESS {
            (self.attempt, self.counted_from) = (1, self.span.start);
        }
        if self.span.start == self.span.end && reading.end > self.span.end {
            self.state = State::Done;
        }
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// Opens the rest, unless that was tried often enough.
    fn again(&mut self, error: Error) -> Result<(), Error> {
        let retry = &self.source.repository.options().retry;
        if self.attempt >= retry.attempts {
            self.state = State::Done;
            return Err(error);
        }
        let waiting = pause(self.attempt, retry);
        tracing::debug!(error = %error, offset = self.span.start, ?waiting, "resuming");
        self.attempt += 1;
        self.state = State::Opening(opening(&self.source, self.span, waiting));
        Ok(())
    }
}

fn opening(source: &Arc<Source>, span: Span, after: Duration) -> BoxFuture<'static, Result<Opened, Error>> {
    let source = Arc::clone(source);
    Box::pin(async move {
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        source.open(span).await
    })
}

/// The next chunk of a body; an error if it does not come, or hardly.
fn poll_body(
    reading: &mut Reading,
    source: &Source,
    context: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, Error>> {
    loop {
        match Pin::new(&mut reading.answer.body).poll_frame(context) {
            Poll::Ready(None) => return Poll::Ready(Ok(None)),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(reading, source, error))),
            Poll::Ready(Some(Ok(frame))) => {
                reading.is_waiting = false;
                if let Ok(chunk) = frame.into_data() {
                    reading.lately = reading.lately.saturating_add(chunk.len() as u64);
                    return Poll::Ready(Ok(Some(chunk)));
                }
            }
            Poll::Pending => {
                // The timer is only looked at when there is nothing to read: it costs nothing per chunk.
                let after = source.repository.options().timeouts.stall;
                let was_waiting = std::mem::replace(&mut reading.is_waiting, true);
                ready!(reading.stall.as_mut().poll(context));
                if reading.lately < TRICKLE && was_waiting {
                    let (host, what) = (reading.answer.host.clone(), source.what.clone());
                    return Poll::Ready(Err(Error::Timeout { host, what, after }));
                }
                reading.lately = 0;
                reading.stall.as_mut().reset(Instant::now() + after);
            }
        }
    }
}

fn broken(reading: &Reading, source: &Source, error: impl Into<crate::BoxError>) -> Error {
    Error::Broken { host: reading.answer.host.clone(), what: source.what.clone(), source: error.into() }
}
