//! The places that a log can be: standard error, a file, systemd's journal, syslog.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use super::Level;
use crate::failure::Failure;

const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
const SYSLOG_SOCKET: &str = "/dev/log";

/// syslog(3)'s LOG_USER, shifted to its place.
const FACILITY_USER: u8 = 1 << 3;

#[derive(Debug, Clone)]
pub(super) enum Sink {
    StandardError,
    File(Arc<File>),
    /// The journal, with the name to log under.
    Journal(String),
    /// The local syslog daemon, with the name to log under.
    Syslog(String),
}

impl Sink {
    /// Opens a destination. Only crun's three prefixes are special: any other text, colons included, is a path, as
    /// for runc.
    pub(super) fn open(destination: &str) -> Result<Self, Failure> {
        if let Some(name) = destination.strip_prefix("journald:") {
            return Ok(Self::Journal(name.to_owned()));
        }
        if let Some(name) = destination.strip_prefix("syslog:") {
            return Ok(Self::Syslog(name.to_owned()));
        }
        let path = destination.strip_prefix("file:").unwrap_or(destination);
        if path.is_empty() {
            return Ok(Self::StandardError);
        }
        // The standard library opens everything close-on-exec.
        let file = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
        file.map(|file| Self::File(Arc::new(file)))
            .map_err(|error| Failure::of_path("open", Path::new(path), &error))
    }
}

pub(super) fn write_standard_error(line: &str) {
    write_all(&mut std::io::stderr().lock(), line);
}

pub(super) fn write_file(mut file: &File, line: &str) {
    write_all(&mut file, line);
}

/// Writes or gives up: see the module's `log` promise.
fn write_all(to: &mut dyn Write, line: &str) {
    let _ = to.write_all(line.as_bytes());
}

/// Sends one entry in the journal's native protocol.
pub(super) fn send_journal(name: &str, level: Level, message: &str) {
    send(JOURNAL_SOCKET, &journal_entry(name, level, message));
}

/// Sends one line in the form of RFC 3164, without the time: the daemon knows it.
pub(super) fn send_syslog(name: &str, level: Level, message: &str) {
    let name = if name.is_empty() { env!("CARGO_BIN_NAME") } else { name };
    send(SYSLOG_SOCKET, format!("<{}>{name}: {message}", FACILITY_USER | priority(level)).as_bytes());
}

fn journal_entry(name: &str, level: Level, message: &str) -> Vec<u8> {
    let mut entry =
        format!("PRIORITY={}\nSYSLOG_IDENTIFIER={}\n", priority(level), env!("CARGO_BIN_NAME")).into_bytes();
    push_journal_field(&mut entry, "MESSAGE", message);
    if !name.is_empty() {
        push_journal_field(&mut entry, "ID", name);
    }
    entry
}

/// Appends a field in the form that carries any bytes: name, newline, length, value, newline.
fn push_journal_field(entry: &mut Vec<u8>, field: &str, value: &str) {
    entry.extend_from_slice(field.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

fn send(socket: &str, datagram: &[u8]) {
    // A daemon that is absent or whose queue is full must not hold up or fail a container.
    if let Ok(from) = UnixDatagram::unbound()
        && from.set_nonblocking(true).is_ok()
    {
        let _ = from.send_to(datagram, socket);
    }
}

/// syslog(3)'s numbers.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warning => 4,
        Level::Debug => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_known_prefixes_are_no_paths() {
        for (text, expect) in [
            ("", "StandardError"),
            ("file:", "StandardError"),
            ("journald:x", "Journal(\"x\")"),
            ("syslog:", "Syslog(\"\")"),
        ] {
            assert_eq!(format!("{:?}", Sink::open(text).unwrap()), expect);
        }
        let missing = Sink::open("/nonexistent/other:x").unwrap_err();
        assert_eq!(missing.message, "open /nonexistent/other:x: no such file or directory");
    }

    #[test]
    fn journal_fields_carry_newlines() {
        let entry = journal_entry("", Level::Error, "a\nb");
        assert_eq!(
            entry,
            b"PRIORITY=3\nSYSLOG_IDENTIFIER=gantry-runtime\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n".as_slice()
        );
    }
}
