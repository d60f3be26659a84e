//! Messages that wait for a client: all that count, and of each layer's progress only the newest.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gantry_docker_api::media_type;
use gantry_docker_api::message::Message;
use gantry_engine::Result;
use gantry_engine::image::{ImageProgress, ProgressListener};
use tokio::sync::Notify;

use crate::failure::Failure;
use crate::http::{Answer, Outcome, Sender};

/// How long messages are gathered, so that a fast transfer is not a packet for each.
const GATHER: Duration = Duration::from_millis(50);

/// What is shown of an event: nothing, or messages.
pub(super) type Shows = fn(ImageProgress) -> Vec<Message>;

/// Messages on their way. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Board(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<VecDeque<Message>>,
    news: Notify,
}

/// Whether a message is of a moment that a later one of the same layer replaces.
fn is_moment(message: &Message) -> bool {
    message.progress_detail.as_ref().is_some_and(|progress| progress.current > 0 || progress.total > 0)
}

impl Board {
    /// Adds a message. Never waits.
    pub(super) fn put(&self, message: Message) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_moment_now = is_moment(&message);
        let same = |other: &&mut Message| other.id == message.id && (!message.id.is_empty() || is_moment_now);
        match waiting.iter_mut().rev().find(same) {
            Some(last) if is_moment(last) && last.status == message.status => *last = message,
            _ => waiting.push_back(message),
        }
        drop(waiting);
        self.0.news.notify_one();
    }

    fn take(&self) -> Vec<Message> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    fn is_empty(&self) -> bool {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What puts the engine's events on it.
    pub(super) fn listener(&self, shows: Shows) -> ProgressListener {
        let board = self.clone();
        Arc::new(move |progress| {
            for message in shows(progress) {
                board.put(message);
            }
        })
    }

    /// Sends what waits; false if the client has left.
    async fn flush(&self, sender: &Sender) -> bool {
        let mut bytes = Vec::new();
        for message in self.take() {
            serde_json::to_writer(&mut bytes, &message).expect("the API's types are JSON");
            // As docker's: so that the lines of a client without a terminal begin at its left.
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.is_empty() || sender.send(bytes).await
    }

    /// Answers with the messages of an operation. If it fails before the first, that is a status. A client that leaves ends it.
    pub(super) async fn answer<T: Send + 'static>(
        self,
        operation: impl Future<Output = Result<T>> + Send + 'static,
        told: impl Fn(gantry_engine::Error) -> Failure + Send + 'static,
    ) -> Outcome {
        let mut operation: Pin<Box<dyn Future<Output = Result<T>> + Send>> = Box::pin(operation);
        let mut ended = None;
        if self.is_empty() {
            tokio::select! {
                result = &mut operation => match result {
                    Err(error) if self.is_empty() => return Err(told(error)),
                    result => ended = Some(result.map(drop)),
                },
                () = self.0.news.notified() => {}
            }
        }
        Ok(self.told_in_stream(operation, ended, told))
    }

    /// Answers with the messages of an operation. Its error is one of them. A client that leaves ends it.
    pub(super) fn stream<T: Send + 'static>(
        self,
        operation: impl Future<Output = Result<T>> + Send + 'static,
        told: impl Fn(gantry_engine::Error) -> Failure + Send + 'static,
    ) -> Answer {
        self.told_in_stream(Box::pin(operation), None, told)
    }

    fn told_in_stream<T: Send + 'static>(
        self,
        mut operation: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
        ended: Option<Result<()>>,
        told: impl Fn(gantry_engine::Error) -> Failure + Send + 'static,
    ) -> Answer {
        Answer::stream(media_type::JSON, move |sender| async move {
            let result = match ended {
                Some(result) => result,
                None => loop {
                    if !self.flush(&sender).await {
                        return;
                    }
                    let gathered = async {
                        self.0.news.notified().await;
                        tokio::time::sleep(GATHER).await;
                    };
                    tokio::select! {
                        result = &mut operation => break result.map(drop),
                        () = gathered => {}
                        () = sender.left() => return,
                    }
                },
            };
            if let Err(error) = result {
                self.put(Message::error(told(error).message));
            }
            self.flush(&sender).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_layers_progress_only_the_newest_waits() {
        let board = Board::default();
        board.put(Message::of_layer("a", "Pulling fs layer"));
        for current in 1..100 {
            board.put(Message::progress("a", "Downloading", current, 100));
            board.put(Message::progress("b", "Downloading", current, 100));
        }
        board.put(Message::of_layer("a", "Download complete"));
        board.put(Message::status("one"));
        board.put(Message::status("two"));
        let shown: Vec<String> =
            board.take().into_iter().map(|message| format!("{} {}", message.id, message.status)).collect();
        assert_eq!(
            shown,
            ["a Pulling fs layer", "a Downloading", "b Downloading", "a Download complete", " one", " two"]
        );
        assert!(board.take().is_empty());
    }
}
