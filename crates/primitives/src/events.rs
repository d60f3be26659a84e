//! Events: what happened, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use gantry_metadata::{Database, Envelope, Event, Subscription, Timestamp};
use gantry_types::Namespace;
use tokio::sync::Notify;

use crate::store::Inner;
use crate::{Error, Result, Store};

/// The longest topic, in bytes.
const MAX_TOPIC_BYTES: usize = 255;
/// The most events that are read from the journal at once.
const CATCH_UP: usize = 1024;

/// Events as they come. Who is slow gets the rest from the journal, and learns of a gap only if that does not reach back.
pub struct Events {
    database: Database,
    live: Subscription,
    ready: Arc<Notify>,
    /// From the journal, and whether there is more in it.
    behind: VecDeque<Envelope>,
    is_behind: bool,
    /// The last event that was handed out.
    cursor: u64,
}

impl Events {
    /// The next event.
    ///
    /// # Errors
    /// OutOfRange if the subscriber was so slow that the journal has forgotten what comes next.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Result<Arc<Envelope>> {
        loop {
            if let Some(envelope) = self.behind.pop_front() {
                self.cursor = envelope.cursor;
                return Ok(Arc::new(envelope));
            }
            if self.is_behind {
                self.catch_up().await?;
                continue;
            }
            let ready = Arc::clone(&self.ready);
            let notified = ready.notified();
            match self.live.try_next() {
                Ok(Some(envelope)) if envelope.cursor <= self.cursor => {}
                Ok(Some(envelope)) => {
                    self.cursor = envelope.cursor;
                    return Ok(envelope);
                }
                Ok(None) => notified.await,
                Err(_lagged) => self.is_behind = true,
            }
        }
    }

    /// Reads on in the journal. After its end, what came meanwhile waits in the subscription.
    async fn catch_up(&mut self) -> Result<()> {
        let (database, cursor) = (self.database.clone(), self.cursor);
        let read = tokio::task::spawn_blocking(move || database.events_since(cursor, CATCH_UP)).await;
        let missed = read.map_err(|_| Error::panicked("reading the journal"))??;
        // Its end is where nothing more is: a batch may be short for the bytes in it.
        self.is_behind = !missed.is_empty();
        self.behind.extend(missed);
        Ok(())
    }
}

impl Store {
    /// Events from now on, or from the one after `since` on.
    ///
    /// # Errors
    /// OutOfRange if the journal does not reach back to `since`, or has not come to it.
    pub async fn events(&self, since: Option<u64>) -> Result<Events> {
        let database = self.inner.database.clone();
        // Before the journal is read, so that nothing falls between.
        let live = database.subscribe();
        let ready = Arc::new(Notify::new());
        let waker = Arc::clone(&ready);
        live.on_ready(move || waker.notify_one());
        let last = move |inner: &Inner| Ok(since.map_or_else(|| inner.database.last_event(), Ok)?);
        let cursor = self.blocking(last).await?;
        let is_behind = since.is_some();
        let mut events = Events { database, live, ready, behind: VecDeque::new(), is_behind, cursor };
        if is_behind {
            events.catch_up().await?;
        }
        Ok(events)
    }

    /// The latest events under the beginning of a topic that are not older than `after`, at most `limit` of them, oldest first;
    /// and the cursor of the journal's last event, which is read before them.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn latest_events(
        &self,
        prefix: &'static str,
        after: Timestamp,
        limit: usize,
    ) -> Result<(Vec<Envelope>, u64)> {
        self.blocking(move |inner| {
            let last = inner.database.last_event()?;
            Ok((inner.database.latest_events(prefix, after, limit)?, last))
        })
        .await
    }

    /// Writes somebody else's event to the journal.
    ///
    /// # Errors
    /// InvalidArgument for a topic that is no path of words.
    pub async fn publish(
        &self,
        namespace: Namespace,
        topic: String,
        type_url: String,
        value: Vec<u8>,
    ) -> Result<()> {
        validate_topic(&topic)?;
        self.blocking(move |inner| {
            inner.write(move |change| Ok(change.emit(&namespace, Event::Foreign { topic, type_url, value })?))
        })
        .await
    }
}

/// containerd's grammar: `/` and a word, again and again.
pub(crate) fn validate_topic(topic: &str) -> Result<()> {
    let refuse = |reason: String| Err(Error::Invalid { what: "topic", reason });
    if topic.len() > MAX_TOPIC_BYTES {
        return refuse(format!("{} bytes are more than {MAX_TOPIC_BYTES}", topic.len()));
    }
    let Some(rest) = topic.strip_prefix('/') else {
        return refuse(format!("{topic:?} has to begin with '/'"));
    };
    for word in rest.split('/') {
        if let Err(error) = gantry_types::identifier::validate(word) {
            return refuse(format!("{topic:?}: {error}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_paths_of_words() {
        for topic in ["/tasks/start", "/a", "/a-b/c.d"] {
            assert!(validate_topic(topic).is_ok(), "{topic}");
        }
        for topic in ["", "/", "tasks/start", "/a//b", "/a/", "/a b", &format!("/{}", "x".repeat(300))] {
            assert!(validate_topic(topic).is_err(), "{topic}");
        }
    }
}
