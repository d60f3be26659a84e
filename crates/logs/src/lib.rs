//! Container logs on disk: Docker's json-file and local and the format of Kubernetes' CRI, written and read.
//!
//! The shim's log writers and, for reading, the engine call it. It never reads a container's pipe, never waits but in
//! write(2) and the other calls on the log's own files, never starts a thread, and keeps no more than
//! [`MAX_BACKLOG_BYTES`] and a record of each stream in memory, whatever the container writes.
//!
//! ```text
//! bytes of a stream ──► pieces (a line, or as much of a long one as a record takes) ──► records ──► backlog ──► file
//!                       split.rs                                     json.rs, cri.rs    records.rs  file.rs, rotate.rs
//! ```
//!
//! Formats: moby `daemon/logger/jsonfilelog` and `loggerutils/logfile.go` at v20.10.24; containerd
//! `internal/cri/io/logger.go` at v2.1.0 and KEP "Redesign Kubelet Logging".
#![forbid(unsafe_code)]

mod compress;
mod cri;
mod driver;
mod error;
mod escape;
mod file;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod json;
mod local;
mod query;
mod read;
mod records;
mod remote;
mod rotate;
mod split;
mod timestamp;
mod writer;

pub use compress::Process;
pub use driver::{
    Cri, DEFAULT_MAX_LINE_BYTES, Driver, DriverError, Journald, JsonFile, Local, MAX_ATTRS_BYTES, Mode,
    Syslog, SyslogAddress, SyslogFormat,
};
pub use error::Error;
pub use query::{Frames, Framing, LogCursor, Progress, Query, Record, Step, Wait};
pub use read::{Entry, Format, LogReader, MAX_READ_LINE_BYTES};
pub use records::MAX_BACKLOG_BYTES;
pub use remote::Interest;
pub use split::{Ending, MAX_PIECE_BYTES};
pub use timestamp::Timestamp;
pub use writer::LogWriter;

/// Which of a process's streams bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name in both formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Stdout, Self::Stderr].into_iter().find(|stream| stream.name().as_bytes() == name)
    }
}
