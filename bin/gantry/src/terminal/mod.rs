//! The terminal that a command runs in, and what flows through it.

mod signals;
pub(crate) mod stdin;
pub(crate) mod stdout;
mod streams;

pub(crate) use signals::{forward, on_resize};
pub(crate) use streams::{End, Flow, pump};

use std::io::{self, IsTerminal as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Whether standard input is a terminal.
pub(crate) fn is_stdin() -> bool {
    io::stdin().is_terminal()
}

/// Whether standard output is a terminal.
pub(crate) fn is_stdout() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard error is a terminal.
pub(crate) fn is_stderr() -> bool {
    io::stderr().is_terminal()
}

/// Height and width of the terminal on standard output.
pub(crate) fn size() -> Option<[u32; 2]> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then(|| [size.ws_row.into(), size.ws_col.into()])
}

/// A terminal whose keys go through as they are; it is as before when this is dropped.
pub(crate) struct Raw(Termios);

impl Raw {
    /// None if standard input is no terminal.
    pub(crate) fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// A terminal that does not show what is typed, for passwords.
pub(crate) struct Silent(Termios);

impl Silent {
    /// None if standard input is no terminal.
    pub(crate) fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
