//! Several parts of a blob at the same time, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::open::{Source, Span};
use super::single::Single;
use crate::Error;

/// Parts under way, the next one first. All of them advance whenever this is polled; what is not the first's waits.
pub(super) struct InOrder {
    source: Arc<Source>,
    parts: VecDeque<Part>,
    /// What nobody has been asked for.
    rest: Span,
    chunk: u64,
    parallel: usize,
}

struct Part {
    stream: Single,
    waiting: VecDeque<Bytes>,
    is_done: bool,
    error: Option<Error>,
}

impl Part {
    fn new(stream: Single) -> Self {
        Self { stream, waiting: VecDeque::new(), is_done: false, error: None }
    }

    /// Takes in what is there, which is bounded by the size of the part.
    fn advance(&mut self, context: &mut Context<'_>) {
        while !self.is_done && self.error.is_none() {
            match self.stream.poll_chunk(context) {
                Poll::Pending => return,
                Poll::Ready(None) => self.is_done = true,
                Poll::Ready(Some(Ok(chunk))) => self.waiting.push_back(chunk),
                Poll::Ready(Some(Err(error))) => self.error = Some(error),
            }
        }
    }
}

impl InOrder {
    pub(super) fn new(source: Arc<Source>, first: Single, rest: Span, chunk: u64, parallel: usize) -> Self {
        let mut parts = VecDeque::with_capacity(parallel);
        parts.push_back(Part::new(first));
        let mut all = Self { source, parts, rest, chunk, parallel };
        all.fill();
        all
    }

    /// Asks for more parts.
    fn fill(&mut self) {
        while self.parts.len() < self.parallel && self.rest.start < self.rest.end {
            let end = self.rest.end.min(self.rest.start + self.chunk);
            let span = Span { start: self.rest.start, end };
            self.parts.push_back(Part::new(Single::later(Arc::clone(&self.source), span)));
            self.rest.start = end;
        }
    }

    pub(super) fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        for part in self.parts.iter_mut().skip(1) {
            part.advance(context);
        }
        while let Some(first) = self.parts.front_mut() {
            if let Some(chunk) = first.waiting.pop_front() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            if let Some(error) = first.error.take() {
                self.parts.clear();
                self.rest.start = self.rest.end;
                return Poll::Ready(Some(Err(error)));
            }
            if !first.is_done {
                match first.stream.poll_chunk(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(chunk))) => return Poll::Ready(Some(Ok(chunk))),
                    Poll::Ready(Some(Err(error))) => first.error = Some(error),
                    Poll::Ready(None) => first.is_done = true,
                }
                continue;
            }
            self.parts.pop_front();
            self.fill();
            // The new part has to be begun now, for nobody else will poll it.
            if let Some(last) = self.parts.back_mut().filter(|_| self.parallel > 1) {
                last.advance(context);
            }
        }
        Poll::Ready(None)
    }
}
