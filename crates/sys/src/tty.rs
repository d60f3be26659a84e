//! Terminals: pts(4).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::syscall::check;

/// The two ends of a pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    /// What the terminal's user holds.
    pub master: OwnedFd,
    /// What the process has as its terminal.
    pub slave: OwnedFd,
}

/// Makes a pseudo-terminal of the devpts that is mounted at `devpts`, never following a path to its other end.
///
/// TIOCGPTPEER of ioctl_tty(2), Linux 4.13, opens the slave from the master: a container that swaps `/dev/pts` gains
/// nothing (CVE-2025-52565).
pub fn open(devpts: BorrowedFd<'_>) -> Result<Pty, Errno> {
    const PTMX: &CStr = c"ptmx";
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = openat(devpts, PTMX, flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags as an integer and gives back a descriptor.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: a new descriptor that nobody else owns.
    let slave = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    Ok(Pty { master, slave })
}

/// Makes a terminal the controlling one of the session that the caller leads: TIOCSCTTY of ioctl_tty(2).
pub fn make_controlling(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes an integer; 0 does not steal the terminal of another session.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// Has line feeds that are written to a terminal come out at its master as they are, without carriage returns.
pub fn keep_line_feeds(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut settings = rustix::termios::tcgetattr(terminal)?;
    settings.output_modes.remove(rustix::termios::OutputModes::ONLCR);
    rustix::termios::tcsetattr(terminal, rustix::termios::OptionalActions::Now, &settings)
}

/// Sets a terminal's size, in characters: TIOCSWINSZ of ioctl_tty(2).
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
}
