use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::Envelope;

/// Events that wait for one subscriber, and their bytes; after that it lags.
const QUEUE: usize = 4096;
const QUEUE_BYTES: usize = 4 << 20;

/// A subscriber did not keep up: what came after `cursor` has to be read from the journal
/// ([`crate::Database::events_since`]), and may come again from the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("events after {cursor} were left out: the subscriber is too slow")]
pub struct Lagged {
    /// The last event that it got.
    pub cursor: u64,
}

/// Events as they are committed, in order.
pub struct Subscription {
    queue: Arc<Queue>,
}

type Waker = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Envelope>>,
    /// The weight of what waits.
    bytes: usize,
    /// Whether something was left out after what waits.
    lagged: bool,
    /// The last event that was handed out or waits.
    last: u64,
    waker: Option<Waker>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Has `waker` called, on the writer's thread, when there is something to take.
    pub fn on_ready(&self, waker: impl Fn() + Send + Sync + 'static) {
        self.queue.lock().waker = Some(Arc::new(waker));
    }

    /// The next event, if one is there.
    ///
    /// # Errors
    /// [`Lagged`], once, after the last event before the gap.
    pub fn try_next(&self) -> Result<Option<Arc<Envelope>>, Lagged> {
        take(&mut self.queue.lock())
    }

    /// The next event, if it comes within `timeout`.
    ///
    /// # Errors
    /// As [`Self::try_next`].
    pub fn next_timeout(&self, timeout: Duration) -> Result<Option<Arc<Envelope>>, Lagged> {
        let empty = |state: &mut State| state.waiting.is_empty() && !state.lagged;
        let state = self.queue.lock();
        let waited = self.queue.filled.wait_timeout_while(state, timeout, empty);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        take(&mut state)
    }
}

fn take(state: &mut State) -> Result<Option<Arc<Envelope>>, Lagged> {
    match state.waiting.pop_front() {
        Some(envelope) => {
            state.bytes = state.bytes.saturating_sub(envelope.weight());
            Ok(Some(envelope))
        }
        None if state.lagged => {
            state.lagged = false;
            Err(Lagged { cursor: state.last })
        }
        None => Ok(None),
    }
}

/// All subscriptions.
#[derive(Default)]
pub(crate) struct Hub {
    queues: Mutex<Vec<Weak<Queue>>>,
}

impl Hub {
    pub(crate) fn subscribe(&self) -> Subscription {
        let queue = Arc::new(Queue::default());
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&queue));
        Subscription { queue }
    }

    pub(crate) fn publish(&self, events: &[Envelope]) {
        if events.is_empty() {
            return;
        }
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| queue.strong_count() > 0);
        let queues: Vec<_> = queues.iter().filter_map(Weak::upgrade).collect();
        if queues.is_empty() {
            return;
        }
        let events: Vec<_> = events.iter().cloned().map(Arc::new).collect();
        for queue in queues {
            let mut state = queue.lock();
            for event in &events {
                let weight = event.weight();
                let full = state.waiting.len() >= QUEUE || state.bytes + weight > QUEUE_BYTES;
                // One that is larger than all of a queue still comes, if it is the only one.
                if state.lagged || full && !state.waiting.is_empty() {
                    state.lagged = true;
                    break;
                }
                state.last = event.cursor;
                state.bytes += weight;
                state.waiting.push_back(Arc::clone(event));
            }
            let waker = state.waker.clone();
            drop(state);
            queue.filled.notify_all();
            if let Some(waker) = waker {
                waker();
            }
        }
    }
}
