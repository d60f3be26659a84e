//! What goes to the log: errors, warnings and, with `--debug`, steps.
//!
//! containerd's shim and conmon read the last error line of this log to tell their users why a container did not
//! start, so the lines have exactly the shape of logrus (runc's logger): `time="…" level=error msg="…"`, or
//! `{"level":"error","msg":"…","time":"…"}`. A line is one write, so that processes that share a file do not mix.
//!
//! It never fails: a log that cannot be written is not a reason to leave a container half made.

mod quote;
mod sink;

use sink::Sink;

use crate::clock;
use crate::failure::Failure;

/// How severe a line is, in logrus' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Error,
    Warning,
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Debug => "debug",
        }
    }
}

/// The shape of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Where lines go, which ones, and how they look.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    sink: Sink,
    format: Format,
    /// The least severe level that is written.
    level: Level,
}

impl Log {
    /// Text to standard error, without debugging: what holds until the flags are read.
    pub(crate) fn standard_error() -> Self {
        Self { sink: Sink::StandardError, format: Format::Text, level: Level::Warning }
    }

    /// Opens `destination`: a path, crun's `file:PATH`, `journald:NAME` or `syslog:NAME`; empty is standard error.
    pub(crate) fn open(destination: &str, format: Format, level: Level) -> Result<Self, Failure> {
        Ok(Self { sink: Sink::open(destination)?, format, level })
    }

    /// Writes one line, unless the level is off.
    pub(crate) fn write(&self, level: Level, message: &str) {
        if level > self.level {
            return;
        }
        match &self.sink {
            Sink::StandardError => sink::write_standard_error(&self.line(level, message)),
            Sink::File(file) => sink::write_file(file, &self.line(level, message)),
            Sink::Journal(name) => sink::send_journal(name, level, message),
            Sink::Syslog(name) => sink::send_syslog(name, level, message),
        }
    }

    /// Writes what made the process fail, to the log and, if that is another place, to standard error.
    pub(crate) fn write_failure(&self, message: &str) {
        self.write(Level::Error, message);
        if !matches!(self.sink, Sink::StandardError) {
            sink::write_standard_error(&format!("{message}\n"));
        }
    }

    fn line(&self, level: Level, message: &str) -> String {
        format_line(self.format, &clock::now(), level, message)
    }
}

fn format_line(format: Format, time: &str, level: Level, message: &str) -> String {
    let mut out = String::with_capacity(message.len() + 80);
    let level = level.name();
    match format {
        Format::Text => {
            out.extend(["time=\"", time, "\" level=", level, " msg="]);
            quote::push_logfmt(&mut out, message);
        }
        Format::Json => {
            out.extend(["{\"level\":\"", level, "\",\"msg\":"]);
            quote::push_json(&mut out, message);
            out.extend([",\"time\":\"", time, "\"}"]);
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-21T01:38:20Z";

    #[test]
    fn lines_have_the_shape_of_logrus() {
        let message = "exec failed: \"x\" is <bad>";
        for (format, expect) in [
            (
                Format::Text,
                "time=\"2026-11-21T01:38:20Z\" level=error msg=\"exec failed: \\\"x\\\" is <bad>\"\n",
            ),
            (
                Format::Json,
                "{\"level\":\"error\",\"msg\":\"exec failed: \\\"x\\\" is \\u003cbad\\u003e\",\"time\":\"2026-11-21T01:38:20Z\"}\n",
            ),
        ] {
            assert_eq!(format_line(format, TIME, Level::Error, message), expect);
        }
    }

    #[test]
    fn a_bare_word_is_not_quoted() {
        let line = format_line(Format::Text, TIME, Level::Warning, "done");
        assert!(line.ends_with(" level=warning msg=done\n"), "{line}");
    }
}
