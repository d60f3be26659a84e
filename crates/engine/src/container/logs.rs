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

use super::{Container, Moment};
use crate::record::Record;
use crate::{Engine, Error, Result};

/// What is handed out at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Docker's default driver.
const DEFAULT_DRIVER: &str = "json-file";
/// What is kept here of a log that is sent away.
const CACHE: &str = "container-cached.log";

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

/// The driver of a container: its own, or the default one.
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
    let (path, cached, options) = match name {
        "none" => return Ok(Target { uri: "attach:".to_owned(), path: None }),
        "json-file" => {
            (directory.join(format!("{}-json.log", record.id)), false, file_options(name, log, record)?)
        }
        "local" => (directory.join("local-logs/container.log"), false, file_options(name, log, record)?),
        "syslog" | "journald" => {
            (directory.join(CACHE), true, remote_options(name, log, record, &directory)?)
        }
        other => return Err(Error::Invalid(format!("logger: no log driver named '{other}' is registered"))),
    };
    let options = options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let uri = Driver::uri(name, (!cached).then_some(path.as_path()), options);
    // What the shim would refuse at the start is refused now.
    uri.parse::<Driver>().map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(Target { uri, path: Some(path) })
}

/// The options of a driver that writes files: those that it knows, and attributes.
fn file_options(driver: &str, log: &crate::LogOptions, record: &Record) -> Result<Vec<(String, String)>> {
    let mut options = Vec::new();
    for (key, value) in &log.options {
        match key.as_str() {
            "max-size" => {
                let bytes = size(value).ok_or_else(|| {
                    Error::Invalid(format!("invalid value {value:?} of the log option max-size"))
                })?;
                options.push((key.clone(), bytes.to_string()));
            }
            "max-file" | "compress" | "mode" => options.push((key.clone(), value.clone())),
            "max-buffer-size" => {}
            "labels" | "labels-regex" | "env" | "env-regex" | "tag" if driver == DEFAULT_DRIVER => {}
            other => {
                return Err(Error::Invalid(format!("unknown log opt '{other}' for {driver} log driver")));
            }
        }
    }
    let attrs = attributes(log, record);
    if driver == DEFAULT_DRIVER && !attrs.is_empty() {
        options.push(("attrs".to_owned(), serde_json::to_string(&attrs).expect("strings are JSON")));
    }
    Ok(options)
}

/// The options of a driver that sends lines away, and of the log beside it.
fn remote_options(
    driver: &str,
    log: &crate::LogOptions,
    record: &Record,
    directory: &std::path::Path,
) -> Result<Vec<(String, String)>> {
    let tag = log.options.get("tag").map_or_else(|| record.short_id().to_owned(), |tag| tagged(tag, record));
    let mut options =
        vec![("cache".to_owned(), directory.join(CACHE).display().to_string()), ("tag".to_owned(), tag)];
    for (key, value) in &log.options {
        match (driver, key.as_str()) {
            (
                _,
                "tag" | "labels" | "labels-regex" | "env" | "env-regex" | "max-buffer-size"
                | "cache-disabled",
            ) => {}
            (_, "mode" | "cache-max-file" | "cache-compress") => options.push((key.clone(), value.clone())),
            (_, "cache-max-size") => {
                let bytes = size(value).ok_or_else(|| {
                    Error::Invalid(format!("invalid value {value:?} of the log option {key}"))
                })?;
                options.push((key.clone(), bytes.to_string()));
            }
            ("syslog", "syslog-address" | "syslog-facility" | "syslog-format") => {
                options.push((key.trim_start_matches("syslog-").to_owned(), value.clone()));
            }
            (_, other) => {
                return Err(Error::Invalid(format!("unknown log opt '{other}' for {driver} log driver")));
            }
        }
    }
    if driver == "journald" {
        let known = [("id", &record.id), ("name", &record.name), ("image", &record.image.reference)];
        options.extend(known.map(|(key, value)| (key.to_owned(), value.clone())));
        let mut fields = attributes(log, record);
        fields.remove("tag");
        if !fields.is_empty() {
            options.push(("fields".to_owned(), serde_json::to_string(&fields).expect("strings are JSON")));
        }
    }
    Ok(options)
}

/// Labels and variables of the container that its log lines carry.
fn attributes(log: &crate::LogOptions, record: &Record) -> std::collections::BTreeMap<String, String> {
    let mut found = std::collections::BTreeMap::new();
    let names = |key: &str| log.options.get(key).into_iter().flat_map(|list| list.split(',')).map(str::trim);
    for name in names("labels") {
        if let Some(value) = record.labels.get(name) {
            found.insert(name.to_owned(), value.clone());
        }
    }
    for name in names("env") {
        let value = record.process.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        if let Some(value) = value {
            found.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(tag) = log.options.get("tag") {
        found.insert("tag".to_owned(), tagged(tag, record));
    }
    found
}

/// A tag: docker's template of it, as far as people use it.
fn tagged(template: &str, record: &Record) -> String {
    let full = format!("/{}", record.name);
    let values = [
        ("{{.ID}}", record.short_id()),
        ("{{.FullID}}", record.id.as_str()),
        ("{{.Name}}", record.name.as_str()),
        ("{{.FullName}}", full.as_str()),
        ("{{.ImageName}}", record.image.reference.as_str()),
        ("{{.DaemonName}}", "docker"),
    ];
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// Bytes: a number with a unit, which is a power of 1024.
fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Some((number * (1u64 << shift) as f64) as u64)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let check = |text: &str, expect| assert_eq!(size(text), expect, "{text}");
        check("10", Some(10));
        check("10k", Some(10 << 10));
        check("1.5M", Some(3 << 19));
        check("2GiB", Some(2 << 30));
        check("x", None);
        check("10q", None);
    }
}
