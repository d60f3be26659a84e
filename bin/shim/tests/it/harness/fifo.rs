//! The ends of FIFOs that a client of the daemon holds.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gantry_testkit::DEADLINE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};

fn make(path: &Path) {
    let mode = Mode::from_raw_mode(0o600);
    if !path.exists() {
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, mode, 0).expect("a FIFO");
    }
}

fn flags() -> i32 {
    (OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed()
}

/// The end of an output that is read.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    end: Option<File>,
    seen: Vec<u8>,
}

impl Output {
    /// Makes the FIFO if it is not there, and opens it.
    pub(crate) fn new(path: PathBuf) -> Self {
        make(&path);
        let mut output = Self { path, end: None, seen: Vec::new() };
        output.reopen();
        output
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What a client does that comes back.
    pub(crate) fn reopen(&mut self) {
        let end = OpenOptions::new().read(true).custom_flags(flags()).open(&self.path);
        self.end = Some(end.expect("the FIFO opens"));
    }

    /// What a client does that goes away.
    pub(crate) fn close(&mut self) {
        self.end = None;
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Reads until `wanted` was written.
    #[track_caller]
    pub(crate) fn read_until(&mut self, wanted: &str) -> String {
        let end = Instant::now() + DEADLINE;
        while !self.text().contains(wanted) {
            assert!(Instant::now() < end, "{wanted:?} is not in {:?}", self.text());
            let _ = self.read_more(end);
        }
        self.text()
    }

    /// Reads until nobody has it open for writing any more.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> String {
        let end = Instant::now() + DEADLINE;
        while self.read_more(end) {
            assert!(Instant::now() < end, "the FIFO stays open: {:?}", self.text());
        }
        self.text()
    }

    /// Reads what is there, and forgets it.
    pub(crate) fn drain(&mut self) {
        if self.end.is_some() {
            let _ = self.read_more(Instant::now());
            self.seen.clear();
        }
    }

    /// Reads what comes; false at the end.
    fn read_more(&mut self, limit: Instant) -> bool {
        let file = self.end.as_mut().expect("an open end");
        let left = limit.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::new(&*file, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&timeout));
        let mut buffer = [0; 65_536];
        match file.read(&mut buffer) {
            Ok(0) => false,
            Ok(got) => {
                self.seen.extend_from_slice(&buffer[..got]);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(error) => panic!("read of the FIFO: {error}"),
        }
    }
}

/// The end of an input that is written.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    end: Option<File>,
}

impl Input {
    /// Makes the FIFO. It is opened for both, as nobody else may have it open yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        make(&path);
        let mut input = Self { path, end: None };
        input.reopen();
        input
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn reopen(&mut self) {
        let end = OpenOptions::new().read(true).write(true).custom_flags(flags()).open(&self.path);
        self.end = Some(end.expect("the FIFO opens"));
    }

    #[track_caller]
    pub(crate) fn write(&mut self, text: &str) {
        let file = self.end.as_mut().expect("an open end");
        file.write_all(text.as_bytes()).expect("a short text fits");
        let _ = file.as_fd();
    }

    pub(crate) fn close(&mut self) {
        self.end = None;
    }

    /// What others have written and nobody has read yet.
    pub(crate) fn drain(&mut self) -> String {
        let mut bytes = Vec::new();
        // Ends with EAGAIN, as the FIFO is open for writing, too.
        let _ = self.end.as_mut().map(|end| end.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
