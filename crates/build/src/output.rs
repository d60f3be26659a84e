//! What a build tells while it goes on, in docker's words.

use gantry_engine::image::ImageProgress;
use gantry_types::Digest;
use tokio::sync::mpsc;

use crate::{Error, Result, Verbosity};

/// Digits of an id that people see.
const SHORT: usize = 12;
/// How many messages wait for a slow client.
const QUEUE: usize = 256;
/// How much of what a quiet build would have told is kept for the case that it fails.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// What is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// A text.
    Stream(String),
    /// The id of an image.
    Image(Digest),
    /// How the pull of a base image goes on.
    Pull(ImageProgress),
    /// How many bytes of a file of the web have come, of how many if that is known.
    Download(u64, Option<u64>),
}

/// Where messages go. When the other end is dropped, the build is cancelled.
pub(crate) struct Output {
    send: mpsc::Sender<Message>,
    verbosity: Verbosity,
    kept: String,
}

/// The two ends of what a build tells.
pub(crate) fn output(verbosity: Verbosity) -> (Output, mpsc::Receiver<Message>) {
    let (send, receive) = mpsc::channel(QUEUE);
    (Output { send, verbosity, kept: String::new() }, receive)
}

/// An id as people see it; nothing for none.
pub(crate) fn short(digest: Option<&Digest>) -> &str {
    digest.map_or("", |digest| short_id(digest.hex()))
}

pub(crate) fn short_id(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

impl Output {
    /// Tells a text.
    ///
    /// # Errors
    /// Cancelled if nobody listens.
    pub(crate) async fn text(&mut self, text: impl Into<String>) -> Result<()> {
        let text = text.into();
        match self.verbosity {
            Verbosity::Steps => self.send(Message::Stream(text)).await,
            Verbosity::Quiet => {
                if self.kept.len() + text.len() <= MAX_KEPT_BYTES {
                    self.kept.push_str(&text);
                }
                if self.send.is_closed() { Err(Error::Cancelled) } else { Ok(()) }
            }
        }
    }

    /// Tells what a program wrote to its error output: in red, as docker's classic builder does.
    ///
    /// # Errors
    /// Cancelled if nobody listens.
    pub(crate) async fn error_text(&mut self, text: &str) -> Result<()> {
        self.text(format!("\x1b[91m{text}\x1b[0m")).await
    }

    /// Tells an image's id.
    ///
    /// # Errors
    /// Cancelled if nobody listens.
    pub(crate) async fn image(&mut self, digest: &Digest) -> Result<()> {
        match self.verbosity {
            Verbosity::Steps => self.send(Message::Image(digest.clone())).await,
            Verbosity::Quiet => Ok(()),
        }
    }

    /// The end: of a quiet build the id of its image.
    pub(crate) async fn end(&mut self, digest: &Digest) -> Result<()> {
        match self.verbosity {
            Verbosity::Steps => Ok(()),
            Verbosity::Quiet => self.send(Message::Stream(format!("{digest}\n"))).await,
        }
    }

    /// What a quiet build has kept, because it failed.
    pub(crate) async fn confess(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        if !kept.is_empty() {
            // Nobody listens: then there is nobody to tell.
            let _ = self.send(Message::Stream(kept)).await;
        }
    }

    /// Passes on how a pull goes: what a slow client cannot take is left out.
    pub(crate) fn pulls(&self) -> gantry_engine::image::ProgressListener {
        let (send, verbosity) = (self.send.clone(), self.verbosity);
        std::sync::Arc::new(move |progress| {
            if verbosity == Verbosity::Steps {
                let _ = send.try_send(Message::Pull(progress));
            }
        })
    }

    /// Passes on how a download goes, in the same way.
    pub(crate) fn downloads(&self) -> gantry_engine::image::WebListener {
        let (send, verbosity) = (self.send.clone(), self.verbosity);
        Box::new(move |done, total| {
            if verbosity == Verbosity::Steps {
                let _ = send.try_send(Message::Download(done, total));
            }
        })
    }

    /// Whether nobody listens any more, for threads that go on for long.
    pub(crate) fn is_closed(&self) -> impl Fn() -> bool + Send + use<> {
        let send = self.send.clone();
        move || send.is_closed()
    }

    /// Resolves when nobody listens any more: for whatever may take long. Everything else is brought to its end, so that what it makes is
    /// known.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let send = self.send.clone();
        async move { send.closed().await }
    }

    async fn send(&self, message: Message) -> Result<()> {
        self.send.send(message).await.map_err(|_| Error::Cancelled)
    }
}
