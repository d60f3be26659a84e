//! The shim's log: the FIFO `log` of the bundle, which the daemon reads, in logrus's text format as containerd has it.
//!
//! A daemon that does not read loses lines; nobody waits for it.

use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

/// The name of the FIFO in a bundle.
const FIFO: &str = "log";
/// The longest line.
const MAX_LINE_BYTES: usize = 4096;

/// Where lines go.
#[derive(Debug, Default)]
pub(crate) struct Log {
    file: Option<OwnedFd>,
    debug: bool,
}

impl Log {
    /// Opens the FIFO of a bundle; without one lines go nowhere.
    pub(crate) fn open(bundle: &Path, debug: bool) -> Self {
        // For reading, too, so that it stays open while the daemon is away.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
        let fifo = openat(CWD, bundle.join(FIFO), flags, Mode::empty()).ok().filter(|file| {
            rustix::fs::fstat(file).is_ok_and(|stat| {
                rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo
            })
        });
        Log { file: fifo, debug }
    }

    /// Something that was asked for did not happen.
    pub(crate) fn error(&self, text: &str) {
        self.write("error", text);
    }

    /// Something abnormal that does no harm.
    pub(crate) fn warn(&self, text: &str) {
        self.write("warning", text);
    }

    /// A step, for developers.
    pub(crate) fn debug(&self, text: &str) {
        if self.debug {
            self.write("debug", text);
        }
    }

    fn write(&self, level: &str, text: &str) {
        let Some(file) = &self.file else { return };
        let mut line = format!("time={:?} level={level} msg=", gantry_runtime::clock::now_rfc3339());
        let end = text.char_indices().map(|(at, _)| at).find(|at| *at > MAX_LINE_BYTES).unwrap_or(text.len());
        let _ = writeln!(line, "{:?}", &text[..end]);
        let _ = rustix::io::write(file, line.as_bytes());
    }
}
