//! Messages of syslog: RFC 3164 and RFC 5424, each ended by a line feed as RFC 6587, 3.4.2 has it (moby
//! `daemon/logger/syslog` at v28.5.2). Times are in UTC.

use std::io::Write;

use rustix::system::uname;

use super::Piece;
use crate::driver::{Syslog, SyslogFormat};
use crate::{Stream, Timestamp};

const INFORMATIONAL: u8 = 6;
const ERROR: u8 = 3;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[derive(Debug)]
pub(super) struct Encoder {
    format: SyslogFormat,
    facility: u8,
    tag: String,
    host: String,
    pid: i32,
}

impl Encoder {
    pub(super) fn new(driver: &Syslog) -> Self {
        Self {
            format: driver.format,
            facility: driver.facility,
            tag: driver.tag.clone(),
            host: uname().nodename().to_string_lossy().into_owned(),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
        }
    }

    pub(super) fn encode(&self, piece: &Piece<'_>, out: &mut Vec<u8>) {
        let severity = if piece.stream == Stream::Stdout { INFORMATIONAL } else { ERROR };
        let priority = self.facility * 8 + severity;
        let Self { tag, host, pid, .. } = self;
        // A vector takes whatever is written to it.
        let _ = match self.format {
            SyslogFormat::Local => write!(out, "<{priority}>{} {tag}[{pid}]: ", stamp(piece.time)),
            SyslogFormat::Rfc3164 => write!(out, "<{priority}>{} {host} {tag}[{pid}]: ", stamp(piece.time)),
            SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro => {
                let (seconds, nanoseconds) = piece.time.parts();
                let second = Timestamp::new(seconds, 0).to_string();
                let second = second.trim_end_matches('Z');
                let micro = match self.format {
                    SyslogFormat::Rfc5424Micro => format!(".{:06}", nanoseconds / 1000),
                    _ => String::new(),
                };
                write!(out, "<{priority}>1 {second}{micro}Z {host} {tag} {pid} {tag} - ")
            }
        };
        out.extend_from_slice(piece.content);
        out.push(b'\n');
    }
}

/// `Mar  1 00:00:00`, as RFC 3164, 4.1.2 has it.
fn stamp(time: Timestamp) -> String {
    let text = Timestamp::new(time.parts().0, 0).to_string();
    let month = text[5..7].parse().ok().and_then(|number: usize| MONTHS.get(number - 1)).unwrap_or(&"Jan");
    let day = text[8..10].trim_start_matches('0');
    format!("{month} {day:>2} {}", &text[11..19])
}
