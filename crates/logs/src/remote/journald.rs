//! Entries of systemd's journal in its native protocol (systemd's `docs/JOURNAL_NATIVE_PROTOCOL.md` at v252), with the fields
//! that Docker gives them (moby `daemon/logger/journald` at v28.5.2).

use std::io::Write;

use super::Piece;
use crate::driver::Journald;
use crate::{Ending, Stream};

#[derive(Debug)]
pub(super) struct Encoder {
    /// What every entry has.
    fields: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(driver: &Journald) -> Self {
        let mut fields = Vec::new();
        for (name, value) in &driver.fields {
            push_field(&mut fields, name, value.as_bytes());
        }
        Self { fields }
    }

    pub(super) fn encode(&self, piece: &Piece<'_>, out: &mut Vec<u8>) {
        push_field(out, "MESSAGE", piece.content);
        push_field(out, "PRIORITY", if piece.stream == Stream::Stdout { b"6" } else { b"3" });
        push_field(out, "SYSLOG_TIMESTAMP", piece.time.to_string().as_bytes());
        if let Some(pieces) = piece.pieces {
            let last = piece.ending == Ending::Line;
            if !last {
                push_field(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
            push_field(out, "CONTAINER_PARTIAL_ID", &pieces.id);
            // A vector takes whatever is written to it.
            let _ = writeln!(out, "CONTAINER_PARTIAL_ORDINAL={}", pieces.ordinal);
            let _ = writeln!(out, "CONTAINER_PARTIAL_LAST={last}");
        }
        out.extend_from_slice(&self.fields);
    }
}

/// A value with a line feed in it has its length before it.
fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if memchr::memchr(b'\n', value).is_some() {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}
