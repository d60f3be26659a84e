//! The standard streams of a process: what a request names, opened for the process and for those who keep the other ends.
//!
//! Called in workers: opening a path may wait for a disk, and a logger for its readiness.

mod logger;
mod target;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use gantry_sys::Errno;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid, fchown, fstat, openat};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

pub(crate) use logger::Logger;
pub(crate) use target::Target;

use crate::failure::Failure;

/// What a request says of a process's streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stdio {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// What a descriptor that a worker hands to the shim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// The process.
    Pidfd,
    /// Its terminal's master.
    Console,
    /// The writing end of a FIFO that is its input, held so that clients may come and go.
    HeldInput,
    /// The reading end of a FIFO that is its output.
    HeldOutput,
    /// The writing end of the pipe that is its input.
    PipeInput,
    /// The reading end of the pipe that is its output.
    PipeOutput,
    /// The reading end of the pipe that is its error output.
    PipeError,
    /// The client's FIFO for input, for a terminal or a relay.
    ClientInput,
    /// The client's FIFO for output.
    ClientOutput,
    /// The client's FIFO for error output.
    ClientError,
}

/// Streams that are ready for a process.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// For the process, by number; a terminal's process has none.
    pub(crate) own: [Option<OwnedFd>; 3],
    /// For the shim.
    pub(crate) kept: Vec<(Role, OwnedFd)>,
    /// The process that takes the output.
    pub(crate) logger: Option<Logger>,
}

/// What the opener must know besides the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) id: &'a str,
    pub(crate) namespace: &'a str,
    /// The owner of the streams.
    pub(crate) owner: (u32, u32),
    /// Whether the process may not write to files of the host, by its SELinux label.
    pub(crate) confined: bool,
}

impl Stdio {
    /// Opens the streams.
    ///
    /// # Errors
    /// InvalidArgument for what no stream can be; NotFound for a FIFO that is not there; what opening gives.
    pub(crate) fn open(&self, context: Context<'_>) -> Result<Opened, Failure> {
        let mut opened = Opened::default();
        if self.terminal {
            self.open_for_terminal(context, &mut opened)?;
            return Ok(opened);
        }
        opened.own[0] = Some(self.open_input(context, &mut opened.kept)?);
        let (stdout, stderr) = (Target::parse(&self.stdout)?, Target::parse(&self.stderr)?);
        if let Target::Binary(binary) = &stdout {
            let (logger, (output, error)) = Logger::start(binary, context, stderr == Target::Null)?;
            opened.logger = Some(logger);
            opened.own[1] = Some(output);
            opened.own[2] = Some(error.map_or_else(null, Ok)?);
        } else {
            let roles = [(Role::PipeOutput, Role::ClientOutput), (Role::PipeError, Role::ClientError)];
            for (number, (target, roles)) in [stdout, stderr].into_iter().zip(roles).enumerate() {
                opened.own[number + 1] = Some(open_output(&target, roles, context, &mut opened.kept)?);
            }
        }
        give(&opened, context.owner)?;
        Ok(opened)
    }

    /// Opens again the ends of FIFOs that are held for clients, for a process that was made by somebody else.
    ///
    /// # Errors
    /// NotFound for a FIFO that is not there any more.
    pub(crate) fn hold(&self) -> Result<Vec<(Role, OwnedFd)>, Failure> {
        let mut held = Vec::new();
        let existing = |name: &str| match Target::parse(name) {
            Ok(Target::Fifo(path)) => Some(path).filter(|path| path.exists()),
            _ => None,
        };
        if let Some(path) = existing(&self.stdin) {
            held.push((Role::HeldInput, open_fifo(&path, OFlags::RDWR | OFlags::NONBLOCK)?));
        }
        for name in [&self.stdout, &self.stderr].into_iter().filter(|_| !self.terminal) {
            if let Some(path) = existing(name) {
                held.push((Role::HeldOutput, open_fifo(&path, OFlags::RDONLY | OFlags::NONBLOCK)?));
            }
        }
        Ok(held)
    }

    /// A terminal's streams are moved by somebody: the ends that are the client's are opened for him.
    fn open_for_terminal(&self, context: Context<'_>, opened: &mut Opened) -> Result<(), Failure> {
        if let Target::Fifo(path) = Target::parse(&self.stdin)? {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK;
            opened.kept.push((Role::ClientInput, open_fifo(&path, flags)?));
            opened.kept.push((Role::HeldInput, open_fifo(&path, OFlags::WRONLY | OFlags::NONBLOCK)?));
        }
        match Target::parse(&self.stdout)? {
            Target::Fifo(path) => {
                let fifo = open_fifo(&path, OFlags::RDWR | OFlags::NONBLOCK)?;
                opened.kept.push((Role::ClientOutput, fifo));
            }
            Target::File(path) => opened.kept.push((Role::ClientOutput, open_file(&path)?)),
            Target::Binary(binary) => {
                let (logger, (output, _)) = Logger::start(&binary, context, true)?;
                rustix::io::ioctl_fionbio(&output, true).map_err(Failure::call("fcntl"))?;
                opened.logger = Some(logger);
                opened.kept.push((Role::ClientOutput, output));
            }
            Target::Null | Target::Log(_) | Target::Attach => {}
        }
        Ok(())
    }

    fn open_input(&self, context: Context<'_>, kept: &mut Vec<(Role, OwnedFd)>) -> Result<OwnedFd, Failure> {
        match Target::parse(&self.stdin)? {
            Target::Null => null(),
            Target::Attach => {
                let (own, ours) = pipe()?;
                kept.push((Role::PipeInput, ours));
                Ok(own)
            }
            Target::Fifo(path) => {
                let own = open_fifo(&path, OFlags::RDONLY | OFlags::NONBLOCK)?;
                let held = open_fifo(&path, OFlags::WRONLY | OFlags::NONBLOCK)?;
                kept.push((Role::HeldInput, held));
                if !context.confined {
                    // It was only to be opened without waiting.
                    rustix::fs::fcntl_setfl(&own, OFlags::RDONLY).map_err(Failure::call("fcntl"))?;
                    return Ok(own);
                }
                let (theirs, ours) = pipe()?;
                kept.push((Role::PipeInput, ours));
                kept.push((Role::ClientInput, own));
                Ok(theirs)
            }
            Target::File(path) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
                openat(CWD, &path, flags, Mode::empty())
                    .map_err(Failure::call(format!("standard input {}", path.display())))
            }
            Target::Binary(_) | Target::Log(_) => {
                Err(Failure::invalid(format!("{:?} is no standard input", self.stdin)))
            }
        }
    }
}

fn open_output(
    target: &Target,
    (pipe_role, client_role): (Role, Role),
    context: Context<'_>,
    kept: &mut Vec<(Role, OwnedFd)>,
) -> Result<OwnedFd, Failure> {
    match target {
        Target::Null => null(),
        Target::File(path) => open_file(path),
        Target::Fifo(path) if !context.confined => {
            // Reading, too: so the FIFO lives as long as the process, whoever else goes.
            let own = open_fifo(path, OFlags::RDWR)?;
            kept.push((Role::HeldOutput, open_fifo(path, OFlags::RDONLY | OFlags::NONBLOCK)?));
            Ok(own)
        }
        Target::Fifo(path) => {
            let (ours, theirs) = pipe()?;
            kept.push((pipe_role, ours));
            kept.push((client_role, open_fifo(path, OFlags::RDWR | OFlags::NONBLOCK)?));
            Ok(theirs)
        }
        Target::Log(_) | Target::Attach => {
            let (ours, theirs) = pipe()?;
            kept.push((pipe_role, ours));
            Ok(theirs)
        }
        Target::Binary(_) => Err(Failure::invalid("a logging binary takes both streams, by the first one")),
    }
}

/// A pipe: its reading and its writing end.
fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    pipe_with(PipeFlags::CLOEXEC).map_err(Failure::call("pipe"))
}

/// The host's /dev/null, which the runtime replaces by the container's.
pub(crate) fn null() -> Result<OwnedFd, Failure> {
    openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(Failure::call("open /dev/null"))
}

/// Opens a FIFO; what is no FIFO is refused, so that no name of a client's opens a device or a file.
fn open_fifo(path: &Path, flags: OFlags) -> Result<OwnedFd, Failure> {
    let named = || format!("FIFO {}", path.display());
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fifo = openat(CWD, path, flags, Mode::empty()).map_err(Failure::call(named()))?;
    let stat = fstat(&fifo).map_err(Failure::call(named()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
        return Err(Failure::invalid(format!("{} is not a FIFO", path.display())));
    }
    Ok(fifo)
}

/// Opens a file for appending, with its parents made.
fn open_file(path: &Path) -> Result<OwnedFd, Failure> {
    let named = || format!("log file {}", path.display());
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mode = Mode::from_raw_mode(0o644);
    match openat(CWD, path, flags, mode) {
        Err(Errno::NOENT) => {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(Failure::io(named()))?;
            }
            openat(CWD, path, flags, mode)
        }
        opened => opened,
    }
    .map_err(Failure::call(named()))
}

/// Gives the streams to the owner that the options name.
fn give(opened: &Opened, (uid, gid): (u32, u32)) -> Result<(), Failure> {
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    for fd in opened.own.iter().flatten() {
        let stat = fstat(fd.as_fd()).map_err(Failure::call("fstat"))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
            fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(Failure::call("chown of a stream"))?;
        }
    }
    Ok(())
}

impl Opened {
    /// Makes the streams the calling worker's own, for what it makes to inherit.
    ///
    /// # Errors
    /// What dup2(2) gives.
    pub(crate) fn install(&mut self) -> Result<(), Failure> {
        for (number, own) in self.own.iter_mut().enumerate() {
            if let Some(fd) = own.take() {
                gantry_sys::process::dup_onto(fd.as_fd(), number as i32).map_err(Failure::call("dup2"))?;
            }
        }
        Ok(())
    }
}
