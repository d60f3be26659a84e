//! `logs`: the bytes go straight to our own streams; nothing else is there to be done meanwhile.

use std::io::{self, Write as _};

use anyhow::{Context, Result, bail};
use clap::Args;
use gantry_docker_api::Timestamp;
use gantry_docker_api::media_type::RAW_STREAM;
use gantry_stream::{Channel, Decoder};
use http_body_util::BodyExt as _;

use super::{inspect_one, path};
use crate::client::Call;
use crate::command::Verb;
use crate::output;
use crate::session::Session;

/// Fetch the logs of a container
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "STRING")]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "STRING", default_value = "all", allow_negative_numbers = true)]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "STRING")]
    until: Option<String>,
    /// Container
    container: String,
}

/// A time as the engine takes it.
pub(crate) fn time(flag: &str, text: Option<&str>) -> Result<Option<String>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let zone = jiff::tz::TimeZone::system();
    let time = Timestamp::parse(text, Timestamp::now(), &zone)
        .with_context(|| format!("invalid value for \"{flag}\""))?;
    Ok(Some(time.to_unix()))
}

impl Verb for Logs {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        let call = Call::get(path(&self.container, "/logs"))
            .query("stdout", "1")
            .query("stderr", "1")
            .query_flag("follow", self.follow)
            .query_flag("timestamps", self.timestamps)
            .query_flag("details", self.details)
            .query_some("since", time("since", self.since.as_deref())?)
            .query_some("until", time("until", self.until.as_deref())?)
            .query("tail", &self.tail);
        let response = client.send(call).await?;
        // Old engines say neither of the two: whether there are frames depends on the terminal.
        let kind = response.headers().get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_multiplexed = match kind {
            Some(RAW_STREAM) | None => !has_terminal(client, &self.container).await?,
            Some(_) => true,
        };
        let mut decoder = is_multiplexed.then(Decoder::new);
        let mut body = response.into_body();
        let mut batch = Batch::default();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.context("the log broke off")?.into_data() else { continue };
            let mut bytes = &data[..];
            let Some(decoder) = &mut decoder else {
                batch.add(Channel::Stdout, bytes);
                batch.write();
                continue;
            };
            while let Some(piece) = decoder.next(&mut bytes).context("the log is not understood")? {
                if piece.channel == Channel::SystemError {
                    bail!("error from daemon in stream: {}", String::from_utf8_lossy(piece.bytes));
                }
                batch.add(piece.channel, piece.bytes);
            }
            // The lines that have come are to be seen now.
            batch.write();
        }
        Ok(0)
    }
}

/// Bytes for one of our streams, so that each line is no system call of its own.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    is_error: bool,
}

impl Batch {
    fn add(&mut self, channel: Channel, bytes: &[u8]) {
        let is_error = channel == Channel::Stderr;
        if is_error != self.is_error {
            self.write();
            self.is_error = is_error;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn write(&mut self) {
        if self.is_error {
            let _ = io::stderr().lock().write_all(&self.bytes);
        } else {
            output::write(&self.bytes);
        }
        self.bytes.clear();
    }
}

async fn has_terminal(client: &crate::client::Client, container: &str) -> Result<bool> {
    Ok(inspect_one(client, container).await?.config.is_some_and(|config| config.tty))
}
