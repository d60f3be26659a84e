//! Waiting for a process in the foreground: signals go to it, its terminal is relayed, its status is ours.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use gantry_sys::clone::Child;
use gantry_sys::process::{self, Exit, Wait};
use gantry_sys::{Errno, signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::error::Error;
use crate::notify::Listener;

/// Who adopts processes whose parents end before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// We: prctl(2) PR_SET_CHILD_SUBREAPER.
    Adopt,
    /// Whoever does so now.
    Leave,
}

/// How a foreground process is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Foreground {
    /// Who adopts orphans.
    pub orphans: Orphans,
    /// Whether a container stays when its process has ended.
    pub keep: bool,
}

/// Signals are being kept for the process that is to come.
#[derive(Debug)]
pub(crate) struct Waiting {
    signals: OwnedFd,
    before: u64,
}

const SIGCHLD: i32 = 17;
const SIGURG: i32 = 23;
const SIGWINCH: i32 = 28;
/// How much of the user's input waits for the terminal.
const MAX_PENDING: usize = 64 << 10;

impl Foreground {
    /// Begins to keep signals: from before the clone on, so that none is lost.
    pub(crate) fn prepare(&self) -> Result<Waiting, Error> {
        if self.orphans == Orphans::Adopt {
            process::set_child_subreaper().map_err(Error::io("prctl PR_SET_CHILD_SUBREAPER"))?;
        }
        // Faults of our own, and the signals that stop a job, keep their meaning.
        let own =
            [4, 5, 7, 8, 11, 31, 18, 20, 21, 22].iter().fold(0u64, |mask, signal| mask | 1 << (signal - 1));
        let before = signal::set_blocked(!own).map_err(Error::io("sigprocmask"))?;
        let signals = signal::signalfd(!own).map_err(Error::io("signalfd"))?;
        Ok(Waiting { signals, before })
    }
}

impl Waiting {
    /// Waits for the process, and gives back its exit status.
    pub(crate) fn wait(
        self,
        child: Child,
        console: Option<OwnedFd>,
        notify: Option<(&Path, &Listener)>,
    ) -> Result<i32, Error> {
        let mut relay = console.map(Relay::new).transpose()?;
        let exit = self.attend(&child, &mut relay, notify)?;
        if let Some(relay) = &mut relay {
            relay.drain();
        }
        let _ = signal::set_blocked(self.before);
        Ok(exit.status())
    }

    fn attend(
        &self,
        child: &Child,
        relay: &mut Option<Relay>,
        notify: Option<(&Path, &Listener)>,
    ) -> Result<Exit, Error> {
        loop {
            let mut fds =
                vec![PollFd::new(&child.pidfd, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            let fixed = fds.len() + usize::from(notify.is_some());
            fds.extend(notify.map(|(_, listener)| PollFd::from_borrowed_fd(listener.fd(), PollFlags::IN)));
            if let Some(relay) = relay {
                relay.watch(&mut fds);
            }
            rustix::io::retry_on_intr(|| poll(&mut fds, None)).map_err(Error::io("poll"))?;
            let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            drop(fds);
            if let Some((manager, listener)) = notify.filter(|_| !ready[2].is_empty()) {
                listener.forward(manager, child.pid)?;
            }
            if !ready[1].is_empty() {
                self.forward(child, relay.as_ref());
            }
            if let Some(relay) = relay {
                relay.step(&ready[fixed..]);
            }
            if !ready[0].is_empty() {
                let ended = process::wait(Wait::Child(child.pidfd.as_fd())).map_err(Error::io("waitid"))?;
                return ended.map(|(_, exit)| exit).ok_or_else(|| Error::io("waitid")(Errno::CHILD));
            }
        }
    }

    fn forward(&self, child: &Child, relay: Option<&Relay>) {
        while let Ok(Some(number)) = signal::read_signal(self.signals.as_fd()) {
            match number {
                // Adopted orphans end too. The process itself is reaped by its descriptor.
                SIGCHLD => process::reap_others(child.pid),
                SIGWINCH if relay.is_some() => relay.iter().for_each(|relay| relay.resize()),
                SIGURG => {}
                number => drop(process::pidfd_kill(child.pidfd.as_fd(), number)),
            }
        }
    }
}

/// The user's terminal, or pipes, on one side and the container's terminal on the other.
struct Relay {
    master: OwnedFd,
    input: VecDeque<u8>,
    output: VecDeque<u8>,
    input_open: bool,
    master_open: bool,
    restore: Option<Termios>,
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Self, Error> {
        let flags = rustix::fs::fcntl_getfl(&master).map_err(Error::io("fcntl"))?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK).map_err(Error::io("fcntl"))?;
        let stdin = rustix::stdio::stdin();
        let restore = if isatty(stdin) { tcgetattr(stdin).ok() } else { None };
        if let Some(restore) = &restore {
            let mut raw = restore.clone();
            raw.make_raw();
            tcsetattr(stdin, OptionalActions::Now, &raw).map_err(Error::io("make the terminal raw"))?;
        }
        let relay = Relay {
            master,
            input: VecDeque::new(),
            output: VecDeque::new(),
            input_open: true,
            master_open: true,
            restore,
        };
        relay.resize();
        Ok(relay)
    }

    /// Gives the container's terminal the size of the user's.
    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// Adds what to wait for: the master first, then standard input.
    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        if self.master_open {
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, self.output.len() < MAX_PENDING);
            events.set(PollFlags::OUT, !self.input.is_empty());
            fds.push(PollFd::new(&self.master, events));
        }
        if self.input_open && self.input.len() < MAX_PENDING {
            fds.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
        }
    }

    fn step(&mut self, ready: &[PollFlags]) {
        let mut ready = ready.iter();
        let was_open = self.master_open;
        let master = if was_open { ready.next().copied() } else { None };
        let stdin = ready.next().copied();
        if master.is_some_and(|events| events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)) {
            self.read_master();
        }
        if stdin.is_some_and(|events| !events.is_empty()) {
            self.read_input();
        }
        self.flush();
    }

    fn read_master(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(0) => self.master_open = false,
            Ok(len) => self.output.extend(&buffer[..len]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // EIO: nobody has the other end open.
            Err(_) => self.master_open = false,
        }
    }

    fn read_input(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) => {
                // The end of a pipe is typed as the end-of-file character.
                self.input.push_back(4);
                self.input_open = false;
            }
            Ok(len) => self.input.extend(&buffer[..len]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.input_open = false,
        }
    }

    fn flush(&mut self) {
        let (front, _) = self.input.as_slices();
        if !front.is_empty()
            && let Ok(written) = rustix::io::write(&self.master, front)
        {
            self.input.drain(..written);
        }
        write_out(&mut self.output, rustix::stdio::stdout());
    }

    /// What the container wrote before it ended.
    fn drain(&mut self) {
        while self.master_open {
            let before = self.output.len();
            self.read_master();
            if self.output.len() == before {
                break;
            }
            write_out(&mut self.output, rustix::stdio::stdout());
        }
    }
}

fn write_out(pending: &mut VecDeque<u8>, to: BorrowedFd<'_>) {
    while !pending.is_empty() {
        let (front, _) = pending.as_slices();
        match rustix::io::write(to, front) {
            Ok(written) => drop(pending.drain(..written)),
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(restore) = &self.restore {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, restore);
        }
    }
}
