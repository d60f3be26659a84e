use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

use crate::DEADLINE;
use crate::receiver::is_readable;

/// The controlling end of a terminal.
#[derive(Debug)]
pub struct Terminal {
    end: File,
    seen: Vec<u8>,
}

impl Terminal {
    /// Takes the end that a runtime sent.
    pub fn new(end: OwnedFd) -> Self {
        Self { end: end.into(), seen: Vec::new() }
    }

    /// Makes a terminal of our own; the other end is for the command that shall run in it.
    ///
    /// # Panics
    /// When the host gives no terminal.
    pub fn pair() -> (Self, OwnedFd) {
        let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("openpt");
        grantpt(&end).expect("grantpt");
        unlockpt(&end).expect("unlockpt");
        let name = ptsname(&end, Vec::new()).expect("ptsname");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let other =
            rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("the terminal's other end");
        (Self::new(end), other)
    }

    /// Types `text`.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn write(&mut self, text: &str) {
        self.end.write_all(text.as_bytes()).expect("the terminal takes text");
    }

    /// Reads until `wanted` has been shown, and returns everything shown so far.
    ///
    /// # Panics
    /// When it is not shown in time.
    #[track_caller]
    pub fn read_until(&mut self, wanted: &str) -> String {
        let end = Instant::now() + DEADLINE;
        while !self.text().contains(wanted) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && self.read_more(left), "{wanted:?} is not in {:?}", self.text());
        }
        self.text()
    }

    /// Reads until the other end is closed, and returns everything shown.
    ///
    /// # Panics
    /// When it is not closed in time.
    #[track_caller]
    pub fn read_to_end(&mut self) -> String {
        let end = Instant::now() + DEADLINE;
        while self.read_more(end.saturating_duration_since(Instant::now())) {
            assert!(Instant::now() < end, "the terminal stays open: {:?}", self.text());
        }
        self.text()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// False when the other end is closed or the time is over.
    fn read_more(&mut self, limit: Duration) -> bool {
        if !is_readable(&self.end, limit) {
            return false;
        }
        let mut buffer = [0; 4096];
        match self.end.read(&mut buffer) {
            Ok(0) => false,
            Ok(got) => {
                self.seen.extend_from_slice(&buffer[..got]);
                true
            }
            // What a terminal answers once nobody holds its other end.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => false,
            Err(error) => panic!("read of the terminal: {error}"),
        }
    }

    /// Its size, as rows and columns.
    ///
    /// # Panics
    /// When it is no terminal.
    pub fn size(&self) -> (u16, u16) {
        let size = tcgetwinsize(self.end.as_fd()).expect("a terminal has a size");
        (size.ws_row, size.ws_col)
    }

    /// Changes its size.
    ///
    /// # Panics
    /// When it is no terminal.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.end.as_fd(), size).expect("a terminal takes a size");
    }
}
