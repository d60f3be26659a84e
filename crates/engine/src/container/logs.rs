//! Logs: where a container's output goes, and reading it again.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gantry_logs::{Driver, Format, Frames, Framing, LogCursor, Progress, Query};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::log_options::{self, CACHE, DEFAULT_DRIVER};
use super::{Container, Moment};
use crate::record::Record;
use crate::{Engine, Error, Result};

/// What is handed out at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Which of a container's log, and how it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// From when on.
    pub since: Option<jiff::Timestamp>,
    /// Until when.
    pub until: Option<jiff::Timestamp>,
    /// Only so many of the last lines.
    pub tail: Option<u64>,
    /// Also what comes, until the container ends.
    pub follow: bool,
    /// With the time before each line.
    pub timestamps: bool,
    /// With its attributes before each line.
    pub details: bool,
    /// With docker's headers that tell the streams apart; without for a terminal's.
    pub multiplexed: bool,
}

/// Where output goes.
pub(crate) struct Target {
    /// The name of the stream, for the shim.
    pub(crate) uri: String,
    /// The file that can be read again.
    pub(crate) path: Option<PathBuf>,
}

/// The options of a new container: its own, over the default ones.
pub(crate) fn merged(engine: &Engine, own: &crate::LogOptions) -> crate::LogOptions {
    log_options::merge(own, &engine.shared.settings.log)
}

/// The driver of a container: its own, or, of one of an older daemon, the default one.
pub(crate) fn driver<'a>(engine: &'a Engine, record: &'a Record) -> &'a crate::LogOptions {
    let own = &record.options.log;
    if own.driver.is_empty() { &engine.shared.settings.log } else { own }
}

/// Where a container's output goes.
///
/// # Errors
/// Invalid for a driver or an option that there is not.
pub(crate) fn target(engine: &Engine, record: &Record) -> Result<Target> {
    let log = driver(engine, record);
    let directory = engine.shared.directory(&record.id);
    let name = if log.driver.is_empty() { DEFAULT_DRIVER } else { &log.driver };
    log_options::check(log)?;
    // Where it is read again, and whether that is the driver's own file.
    let (path, is_own, options) = match name {
        "none" => return Ok(Target { uri: "attach:".to_owned(), path: None }),
        "json-file" => {
            let path = directory.join(format!("{}-json.log", record.id));
            (Some(path), true, log_options::of_file(name, log, record)?)
        }
        "local" => {
            let path = directory.join("local-logs/container.log");
            (Some(path), true, log_options::of_file(name, log, record)?)
        }
        "syslog" | "journald" => {
            let path = log_options::is_cached(log)?.then(|| directory.join(CACHE));
            (path, false, log_options::of_remote(name, log, record, &directory)?)
        }
        other => return Err(Error::Invalid(format!("logger: no log driver named '{other}' is registered"))),
    };
    let options = options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let uri = Driver::uri(name, path.as_deref().filter(|_| is_own), options);
    // What the shim would refuse at the start is refused now.
    uri.parse::<Driver>().map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(Target { uri, path })
}

/// A log that is being read.
pub struct LogStream {
    cursor: Option<Box<LogCursor>>,
    frames: Frames,
    watch: Option<AsyncFd<OwnedFd>>,
    moments: watch::Receiver<Moment>,
    /// How often it had ended when the reading began; None for one that does not run.
    ends: Option<u64>,
}

impl Engine {
    /// Opens the log of a container.
    ///
    /// # Errors
    /// Unsupported for a driver that keeps nothing; what the disk says.
    pub async fn container_logs(&self, container: &Arc<Container>, request: LogRequest) -> Result<LogStream> {
        let moments = container.moment.subscribe();
        let ends = moments.borrow().ends;
        let record = container.record();
        let follow = request.follow && record.state.status.is_alive();
        let time = |at: jiff::Timestamp| gantry_logs::Timestamp::parse(at.to_string().as_bytes());
        let query = Query {
            stdout: request.stdout,
            stderr: request.stderr,
            since: request.since.and_then(time),
            until: request.until.and_then(time),
            tail: request.tail,
            follow,
        };
        let Some(path) = record.log_path.clone() else {
            let text = "configured logging driver does not support reading";
            return Err(Error::Unsupported(text.to_owned()));
        };
        let format = match driver(self, &record).driver.as_str() {
            "local" | "syslog" | "journald" => Format::Local,
            _ => Format::JsonFile,
        };
        let failed = Error::io("reading", path.clone());
        let cursor = self
            .blocking("opening a log", move || match LogCursor::open(&path, format, query) {
                Ok(cursor) => Ok(Some(Box::new(cursor))),
                // Nothing was written yet.
                Err(error) if error.kind() == gantry_types::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed(std::io::Error::other(error))),
            })
            .await?;
        let framing = if request.multiplexed { Framing::Multiplexed } else { Framing::Raw };
        let frames = Frames { framing, timestamps: request.timestamps, details: request.details };
        let watch = match cursor
            .as_ref()
            .and_then(|cursor| cursor.wait().descriptor.map(|fd| fd.try_clone_to_owned()))
        {
            Some(fd) => {
                let fd = fd.map_err(Error::io("watching", "a log"))?;
                Some(watched(fd)?)
            }
            None => None,
        };
        Ok(LogStream { cursor, frames, watch, moments, ends: follow.then_some(ends) })
    }
}

/// A descriptor that tokio watches.
fn watched(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "what the other one asks for, that the descriptor stays the same, an OwnedFd gives"
    )]
    AsyncFd::with_interest(fd, Interest::READABLE).map_err(Error::io("watching", "a log"))
}

impl LogStream {
    /// The next lines, framed; None after the last.
    ///
    /// # Errors
    /// What the disk says.
    ///
    /// # Cancel safety
    /// After a cancelled call there is nothing more.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(mut cursor) = self.cursor.take() else { return Ok(None) };
            if self.has_ended() {
                cursor.finish();
            }
            let frames = self.frames;
            let read = tokio::task::spawn_blocking(move || {
                let mut out = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
                let progress = cursor.fill(frames, &mut out, CHUNK_BYTES);
                (cursor, out, progress)
            });
            let (cursor, out, progress) = read.await.map_err(|_| Error::Panicked("reading a log"))?;
            match progress {
                Err(error) if out.is_empty() => {
                    return Err(Error::io("reading", "a log")(std::io::Error::other(error)));
                }
                Ok(Progress::End) => return Ok(Some(out).filter(|out| !out.is_empty()).map(Bytes::from)),
                Ok(Progress::Wait) if out.is_empty() => {
                    let at_most = cursor.wait().at_most;
                    self.wait(at_most).await;
                }
                _ => {}
            }
            self.cursor = Some(cursor);
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
    }

    fn has_ended(&self) -> bool {
        let moment = self.moments.borrow();
        self.ends.is_none_or(|ends| moment.ends > ends || moment.removed)
    }

    /// Until the log has changed, its time has come, or the container has ended.
    async fn wait(&mut self, at_most: Option<Duration>) {
        let ends = self.ends;
        let changed = async {
            match &self.watch {
                Some(watch) => {
                    if let Ok(mut ready) = watch.readable().await {
                        ready.clear_ready();
                    }
                }
                None => std::future::pending().await,
            }
        };
        let time = async {
            match at_most {
                Some(at_most) => tokio::time::sleep(at_most).await,
                None => std::future::pending().await,
            }
        };
        let ended =
            self.moments.wait_for(|moment| ends.is_none_or(|ends| moment.ends > ends) || moment.removed);
        tokio::select! {
            () = changed => {}
            () = time => {}
            _ = ended => {}
        }
    }
}
