//! `save`, `load`, `import`: archives of images.

use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;

use super::name::repository_and_tag;
use super::pull::{Show, show_messages};
use super::push::platform;
use crate::client::{Body, Call};
use crate::command::Verb;
use crate::container::export::Target;
use crate::session::Session;
use crate::terminal;

/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// How many chunks may wait.
const WAITING: usize = 4;

/// Save one or more images to a tar archive (streamed to STDOUT by default)
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "STRING")]
    output: Option<String>,
    /// Save only the given platform variant
    #[arg(long, value_name = "STRING", value_delimiter = ',')]
    platform: Vec<String>,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Verb for Save {
    async fn run(self, session: &Session) -> Result<u8> {
        let target = Target::of(self.output.as_deref())?;
        let mut call = Call::get("/images/get");
        for image in &self.images {
            call = call.query("names", image);
        }
        for text in &self.platform {
            call = call.query("platform", platform(text)?.to_string());
        }
        let response = session.client()?.send(call).await?;
        target.write(response.into_body()).await?;
        Ok(0)
    }
}

/// Load an image from a tar archive or STDIN
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long, value_name = "STRING")]
    input: Option<String>,
    /// Load only the given platform variant
    #[arg(long, value_name = "STRING", value_delimiter = ',')]
    platform: Vec<String>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for Load {
    async fn run(self, session: &Session) -> Result<u8> {
        let body = match self.input.as_deref().filter(|input| !input.is_empty()) {
            Some(path) => upload(File::open(path).with_context(|| format!("open {path}"))?),
            None => {
                ensure!(!terminal::is_stdin(), "requested load from stdin, but stdin is empty");
                upload(io::stdin())
            }
        };
        let is_quiet = self.quiet || !terminal::is_stdout();
        let mut call = Call::post("/images/load").query("quiet", if is_quiet { "1" } else { "0" });
        for text in &self.platform {
            call = call.query("platform", platform(text)?.to_string());
        }
        let response = session.client()?.send(call.stream("application/x-tar", body)).await?;
        show_messages(response.into_body(), Show::Output).await?;
        Ok(0)
    }
}

/// Import the contents from a tarball to create a filesystem image
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "LIST")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "STRING")]
    message: Option<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "STRING", env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    platform: Option<String>,
    /// A file, a URL, or - for standard input
    #[arg(value_name = "file|URL|-")]
    source: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    image: Option<String>,
}

impl Verb for Import {
    async fn run(self, session: &Session) -> Result<u8> {
        let (repository, tag) =
            self.image.as_deref().map_or(Ok((String::new(), String::new())), repository_and_tag)?;
        let is_url = ["http://", "https://"].iter().any(|scheme| self.source.starts_with(scheme));
        let mut call = Call::post("/images/create")
            .query("fromSrc", if is_url { &self.source } else { "-" })
            .query_some("repo", (!repository.is_empty()).then_some(repository))
            .query_some("tag", (!tag.is_empty()).then_some(tag))
            .query_some("message", self.message.as_deref())
            .query_some("platform", self.platform.as_deref());
        for change in &self.change {
            call = call.query("changes", change);
        }
        let call = match self.source.as_str() {
            _ if is_url => call,
            "-" => call.stream("text/plain", upload(io::stdin())),
            path => {
                call.stream("text/plain", upload(File::open(path).with_context(|| format!("open {path}"))?))
            }
        };
        let response = session.client()?.send(call).await?;
        show_messages(response.into_body(), Show::Output).await?;
        Ok(0)
    }
}

/// A body that a thread reads.
pub(crate) fn upload(mut source: impl Read + Send + 'static) -> Body {
    let (sender, body) = channel();
    std::thread::spawn(move || {
        loop {
            let mut buffer = vec![0; CHUNK];
            let chunk = match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    buffer.truncate(count);
                    Ok(Bytes::from(buffer))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || is_last {
                return;
            }
        }
    });
    body
}

/// A body, and who gives its chunks.
pub(crate) fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    let chunks = futures_util::stream::unfold(receiver, |mut receiver| async {
        let chunk = receiver.recv().await?;
        Some((chunk.map(Frame::data), receiver))
    });
    (sender, StreamBody::new(chunks).boxed_unsync())
}
