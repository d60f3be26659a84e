//! Between our standard streams and the container's: FIFOs, a terminal, and signals.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gantry_proto_shim::task::{CloseIORequest, Empty, KillRequest, ResizePtyRequest, method};
use gantry_sys::signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::run::shim::Shim;

const SIGHUP: u32 = 1;
const SIGINT: u32 = 2;
const SIGQUIT: u32 = 3;
const SIGTERM: u32 = 15;
const SIGWINCH: u32 = 28;
const SIGNALS: [u32; 5] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH];

/// How long output may come that the container's process left behind.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes the signals that are passed on. To be called before there are threads.
pub(crate) fn take_signals() -> Result<OwnedFd> {
    let mask = SIGNALS.iter().fold(0, |mask, number| mask | 1_u64 << (number - 1));
    signal::set_blocked(mask).context("cannot block signals")?;
    signal::signalfd(mask).context("cannot make a signalfd")
}

/// The FIFOs of a container.
#[derive(Debug)]
pub(crate) struct Fifos {
    pub(crate) stdin: PathBuf,
    pub(crate) stdout: PathBuf,
    /// None with a terminal: it has one output.
    pub(crate) stderr: Option<PathBuf>,
}

impl Fifos {
    pub(crate) fn make(directory: &Path, terminal: bool) -> Result<Self> {
        let make = |name: &str| {
            let path = directory.join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                .with_context(|| format!("cannot make {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        let stderr = if terminal { None } else { Some(make("stderr")?) };
        Ok(Self { stdin: make("stdin")?, stdout: make("stdout")?, stderr })
    }
}

/// Copies until everything has ended.
#[derive(Debug)]
pub(crate) struct Relay {
    /// One message for each output that has ended.
    ended: Receiver<()>,
    outputs: usize,
    _raw: Option<Raw>,
}

impl Relay {
    /// Begins to read what the container writes. An output that nobody opens ends with us.
    pub(crate) fn begin(fifos: &Fifos) -> Self {
        let (sender, ended) = channel();
        let mut outputs = 0;
        let mut copy = |path: &Path, mut to: Box<dyn Write + Send>| {
            let (path, sender) = (path.to_owned(), sender.clone());
            outputs += 1;
            thread::spawn(move || {
                // The shim opens the other end, and closes it after the container's.
                if let Ok(from) = File::open(path) {
                    let _ = copy(from, &mut *to);
                }
                let _ = sender.send(());
            });
        };
        copy(&fifos.stdout, Box::new(io::stdout()));
        if let Some(stderr) = &fifos.stderr {
            copy(stderr, Box::new(io::stderr()));
        }
        Self { ended, outputs, _raw: None }
    }

    /// Passes input and signals on.
    pub(crate) fn attach(&mut self, shim: &Shim, fifos: &Fifos, signals: OwnedFd) {
        if fifos.stderr.is_none() {
            self._raw = Raw::set(io::stdin().as_fd());
            resize(shim);
        }
        let (path, input) = (fifos.stdin.clone(), shim.clone());
        thread::spawn(move || {
            if let Ok(mut to) = File::options().write(true).open(path) {
                // Without a buffer: what is typed goes at once.
                let from = io::stdin().as_fd().try_clone_to_owned().map(File::from);
                let _ = from.and_then(|from| copy(from, &mut to));
            }
            let request = CloseIORequest { id: input.id.clone(), stdin: true, ..Default::default() };
            let _ = input.call::<Empty>(method::CLOSE_IO, &request);
        });
        let shim = shim.clone();
        thread::spawn(move || pass_on(&shim, &signals));
    }

    /// Waits for the rest of the output.
    pub(crate) fn drain(self) {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        for _ in 0..self.outputs {
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = self.ended.recv_timeout(left);
        }
        let _ = io::stdout().flush();
    }
}

/// As [`io::copy`], but nothing waits in a buffer.
fn copy(mut from: impl Read, to: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn pass_on(shim: &Shim, signals: &OwnedFd) {
    loop {
        let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], None);
        while let Ok(Some(number)) = signal::read_signal(signals.as_fd()) {
            match number.cast_unsigned() {
                SIGWINCH => resize(shim),
                signal => {
                    let request = KillRequest { id: shim.id.clone(), signal, ..Default::default() };
                    // It may have ended just now.
                    let _ = shim.call::<Empty>(method::KILL, &request);
                }
            }
        }
    }
}

/// Gives the container's terminal the size of ours.
fn resize(shim: &Shim) {
    if let Ok(size) = tcgetwinsize(io::stdin()) {
        let (width, height) = (size.ws_col.into(), size.ws_row.into());
        let request = ResizePtyRequest { id: shim.id.clone(), width, height, ..Default::default() };
        let _ = shim.call::<Empty>(method::RESIZE_PTY, &request);
    }
}

/// Our terminal, which leaves everything to the container's until this is dropped.
#[derive(Debug)]
struct Raw(Termios);

impl Raw {
    fn set(terminal: BorrowedFd<'_>) -> Option<Self> {
        let before = tcgetattr(terminal).ok().filter(|_| isatty(terminal))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
