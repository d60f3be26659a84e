//! URIs of log drivers: `json-file:///path?max-size=BYTES&…`, `local:///path?…`, `cri:///path?max-line=BYTES`,
//! `syslog://?address=…`, `journald://?tag=…`.

mod parse;
mod remote;
#[cfg(test)]
mod tests;
mod uri;

use std::path::{Path, PathBuf};

use gantry_types::ErrorKind;

pub use remote::{Journald, Syslog, SyslogAddress, SyslogFormat};

use crate::Format;

/// The longest line of the CRI's format that is not split: containerd's `max_container_log_line_size`.
pub const DEFAULT_MAX_LINE_BYTES: usize = 16_384;
/// The most that `attrs` may take in each record.
pub const MAX_ATTRS_BYTES: usize = 65_536;
/// The most files that a log is rotated through.
const MAX_FILES: u32 = 10_000;

/// The size at which Docker's `local` begins another file.
const LOCAL_SIZE_BYTES: u64 = 20 << 20;
/// How many it has.
const LOCAL_FILES: u32 = 5;

/// Where and how a container's output is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// Docker's `json-file`.
    JsonFile(JsonFile),
    /// Docker's `local`.
    Local(Local),
    /// The format that the kubelet reads.
    Cri(Cri),
    /// Another daemon's log, by the protocol of syslog.
    Syslog(Syslog),
    /// systemd's journal.
    Journald(Journald),
}

/// What becomes of output that cannot be written for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The container waits.
    Blocking,
    /// What does not fit in the backlog is dropped, counted, and named in the log.
    Dropping,
}

/// `json-file:///path?max-size=BYTES&max-file=N&compress=BOOL&attrs=JSON&mode=MODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonFile {
    /// The file that is written; rotated ones are called `path.1` (the newest), `path.2`, …, or `path.1.gz`.
    pub path: PathBuf,
    /// A file that has at least so many bytes gets no further record.
    pub max_size_bytes: Option<u64>,
    /// How many files there are at most, with the one that is written.
    pub max_files: u32,
    /// Whether rotated files are compressed.
    pub compress: bool,
    /// The JSON object of every record's `attrs`, as Go writes it.
    pub attrs: Option<String>,
    /// `blocking` or `non-blocking`, which is the default.
    pub mode: Mode,
}

/// `local:///path?max-size=BYTES&max-file=N&compress=BOOL&mode=MODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The file that is written; rotated ones are called as those of [`JsonFile`].
    pub path: PathBuf,
    /// A file that has at least so many bytes gets no further record: 20 MiB.
    pub max_size_bytes: u64,
    /// How many files there are at most, with the one that is written: 5.
    pub max_files: u32,
    /// Whether rotated files are compressed, which they are.
    pub compress: bool,
    /// `blocking` or `non-blocking`, which is the default.
    pub mode: Mode,
}

/// `cri:///path?max-line=BYTES&mode=MODE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cri {
    /// The file that is written. Whoever rotates it has it reopened.
    pub path: PathBuf,
    /// Longer lines are split; at most [`MAX_PIECE_BYTES`], which stands for no limit, too.
    pub max_line_bytes: usize,
    /// `blocking`, which is the default, or `non-blocking`.
    pub mode: Mode,
}

/// Text that is no URI of a log driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// Another scheme, or none.
    #[error("log driver {0:?} is none of json-file, local, cri, syslog and journald")]
    Scheme(String),
    /// A host, a relative path, or none.
    #[error("log driver {0:?} needs an absolute path: SCHEME:///path")]
    Path(String),
    /// A path where there is none.
    #[error("log driver {0:?} has no path: SCHEME://?OPTIONS")]
    NoPath(String),
    /// An option that the driver needs.
    #[error("log driver {driver} needs the log opt {option}")]
    Missing {
        /// The driver.
        driver: &'static str,
        /// The option.
        option: &'static str,
    },
    /// Percent-encoding that is cut or has other digits than hexadecimal ones, or a NUL.
    #[error("log driver: {0:?} cannot be decoded")]
    Encoding(String),
    /// An option that the driver does not have.
    #[error("unknown log opt {option:?} for {driver} log driver")]
    Unknown {
        /// The driver.
        driver: &'static str,
        /// The option.
        option: String,
    },
    /// An option that is given twice.
    #[error("log opt {0:?} is given twice")]
    Twice(String),
    /// An option with a value that it cannot have.
    #[error("log opt {option}={value:?}: {reason}")]
    Value {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Compression of a log that is not rotated.
    #[error("compress cannot be true when max-file is less than 2 or max-size is not set")]
    CompressWithoutRotation,
}

impl DriverError {
    /// The error in the words of every door.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

impl Driver {
    /// The file that is written, if any, and how it is read.
    pub fn file(&self) -> Option<(&Path, Format)> {
        match self {
            Self::JsonFile(driver) => Some((&driver.path, Format::JsonFile)),
            Self::Local(driver) => Some((&driver.path, Format::Local)),
            Self::Cri(driver) => Some((&driver.path, Format::Cri)),
            Self::Syslog(driver) => driver.cache.as_ref().map(Local::file),
            Self::Journald(driver) => driver.cache.as_ref().map(Local::file),
        }
    }

    /// What becomes of output that cannot be written.
    pub fn mode(&self) -> Mode {
        match self {
            Self::JsonFile(driver) => driver.mode,
            Self::Local(driver) => driver.mode,
            Self::Cri(driver) => driver.mode,
            Self::Syslog(driver) => driver.mode,
            Self::Journald(driver) => driver.mode,
        }
    }
}

impl Local {
    /// One with the defaults.
    pub(crate) fn new(path: PathBuf) -> Self {
        let (max_size_bytes, max_files) = (LOCAL_SIZE_BYTES, LOCAL_FILES);
        Self { path, max_size_bytes, max_files, compress: true, mode: Mode::Dropping }
    }

    fn file(&self) -> (&Path, Format) {
        (&self.path, Format::Local)
    }
}
