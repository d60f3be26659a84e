//! Compression of rotated files, which the writer of the log does not wait for.
//!
//! A child reads `path.N` and writes `path.tmp.gz`; the writer, who alone changes names, gives that the name
//! `path.N.gz` when the child has succeeded, by then perhaps with another N, and removes `path.N`. A file is thus always
//! there whole, under at least one of its two names; readers prefer the plain one, as Docker's do.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use gantry_sys::clone::{Child, CloneArgs, spawn};
use gantry_sys::process::{self, Exit, Wait, close_others};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open, rename};

use crate::Timestamp;
use crate::file::with_suffix;
use crate::rotate::{compressed, oldest_plain, remove, rotated};

/// The lowest priority.
const NICE: i32 = 19;
/// What is read at once.
const STEP_BYTES: usize = 65_536;

/// Whether the calling process may fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// It has one thread: rotated files are compressed by a child.
    SingleThreaded,
    /// It may have more: the writer compresses, and waits.
    Threaded,
}

/// The compression of one log's files, one at a time.
#[derive(Debug)]
pub(crate) struct Compressor {
    path: PathBuf,
    max_files: u32,
    process: Process,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// The file's present number; beyond the last it was removed meanwhile.
    number: u32,
}

impl Compressor {
    pub(crate) fn new(path: &Path, max_files: u32, process: Process) -> Self {
        Self { path: path.to_owned(), max_files, process, running: None }
    }

    /// Every file's number has become one more.
    pub(crate) fn rotated(&mut self) {
        if let Some(running) = &mut self.running {
            running.number += 1;
        }
    }

    /// Starts on the oldest file that is not compressed, unless one is being compressed. What fails is tried again at
    /// the next rotation.
    pub(crate) fn start(&mut self, last_time: Timestamp) {
        if self.running.is_some() {
            return;
        }
        let Some(number) = oldest_plain(&self.path, self.max_files) else { return };
        let (source, target) = (rotated(&self.path, number), self.target());
        if self.process == Process::Threaded {
            self.finish(number, compress(&source, &target, last_time).is_ok());
            return;
        }
        let Ok((from, to)) = open_both(&source, &target) else { return };
        let started = spawn(&CloneArgs::default(), || {
            // The container's streams are not held open by this child.
            let _ = close_others(&mut [from.as_raw_fd(), to.as_raw_fd()]);
            let _ = rustix::process::nice(NICE);
            i32::from(copy(&from, &to, last_time).is_err())
        });
        self.running = started.ok().map(|child| Running { child, number });
    }

    /// What becomes readable when a compression has ended.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|running| running.child.pidfd.as_fd())
    }

    /// Takes the result of a compression that has ended: whether one has.
    pub(crate) fn settle(&mut self) -> bool {
        let Some(pidfd) = self.descriptor() else { return false };
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&at_once));
        if !matches!(ended, Ok(1..)) {
            return false;
        }
        self.wait();
        true
    }

    /// Waits for the compression that runs.
    pub(crate) fn wait(&mut self) {
        let Some(running) = self.running.take() else { return };
        let exit = process::wait(Wait::Child(running.child.pidfd.as_fd()));
        self.finish(running.number, matches!(exit, Ok(Some((_, Exit::Code(0))))));
    }

    /// Compresses what rotations that were faster have left.
    pub(crate) fn complete(&mut self, last_time: Timestamp) {
        for _ in 0..self.max_files {
            self.wait();
            if oldest_plain(&self.path, self.max_files).is_none() {
                return;
            }
            self.start(last_time);
        }
        self.wait();
    }

    fn finish(&self, number: u32, succeeded: bool) {
        let named = succeeded
            && number < self.max_files
            && rename(self.target(), compressed(&self.path, number)).is_ok();
        // A file that cannot be removed is compressed again at the next rotation.
        let _ = remove(&if named { rotated(&self.path, number) } else { self.target() });
    }

    fn target(&self) -> PathBuf {
        with_suffix(&self.path, ".tmp.gz")
    }
}

fn open_both(source: &Path, target: &Path) -> io::Result<(fs::File, fs::File)> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = open(source, OFlags::RDONLY | OFlags::NONBLOCK | flags, Mode::empty())?;
    let made = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | flags;
    let to = open(target, made, Mode::from_raw_mode(0o640))?;
    Ok((from.into(), to.into()))
}

fn compress(source: &Path, target: &Path, last_time: Timestamp) -> io::Result<()> {
    let (from, to) = open_both(source, target)?;
    copy(&from, &to, last_time)
}

/// The header has what Docker's readers look for, so that they skip files that are older than what they want.
fn copy(mut from: &fs::File, to: &fs::File, last_time: Timestamp) -> io::Result<()> {
    let extra = format!("{{\"lastTime\":\"{last_time}\"}}");
    let mut encoder = GzBuilder::new().extra(extra).write(to, Compression::default());
    let mut step = vec![0u8; STEP_BYTES];
    loop {
        match io::Read::read(&mut from, &mut step) {
            Ok(0) => break,
            Ok(len) => encoder.write_all(&step[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // The plain file goes when this one has its name.
    encoder.finish()?.sync_data()
}
