//! The init of `--init`: this binary under the name `docker-init`, mounted into a container as its first process.
//!
//! It runs one program, passes signals on to it, reaps whoever is orphaned, and ends as the program does. It looks at nothing
//! else: no variable, no file of the container's. Its command line is tini's, as engines use it: `docker-init [--] PROGRAM [ARGUMENT...]`.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use rustix::stdio::stdin;
use rustix::termios::{isatty, tcsetpgrp};

/// The name under which the binary is an init.
const NAME: &str = "docker-init";
/// signal(7), the same on every architecture that is supported.
const SIGCHLD: i32 = 17;
/// What the kernel sends for a fault of our own: blocked, it would be fatal all the same, or be lost.
const FAULTS: [i32; 6] = [4, 5, 7, 8, 11, 31];
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
const SIGNALLED: i32 = 128;
/// Of a command line that is none, and of an init that cannot be one.
const FAILED: u8 = 1;

/// The program to be run, if the binary was called as an init.
pub(crate) fn asked(mut args: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let own = args.next()?;
    if Path::new(&own).file_name()? != NAME {
        return None;
    }
    let mut program: Vec<OsString> = args.collect();
    if program.first().is_some_and(|first| first == "--") {
        program.remove(0);
    }
    Some(program)
}

/// Runs a program until it ends, and gives its exit status.
pub(crate) fn run(program: &[OsString]) -> u8 {
    let Some((name, arguments)) = program.split_first() else {
        eprintln!("{NAME}: no program is given");
        return FAILED;
    };
    let all = FAULTS.iter().fold(u64::MAX, |mask, signal| mask & !(1 << (signal - 1)));
    let signals = gantry_sys::signal::set_blocked(all).and_then(|_| gantry_sys::signal::signalfd(all));
    let signals = match signals {
        Ok(signals) => signals,
        Err(errno) => {
            eprintln!("{NAME}: cannot wait for signals: {errno}");
            return FAILED;
        }
    };
    // The child begins with no signal blocked: the standard library sees to it.
    let child = match Command::new(name).args(arguments).process_group(0).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{NAME}: cannot execute {}: {error}", name.display());
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            return if missing { NOT_FOUND } else { NOT_EXECUTABLE };
        }
    };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
    if isatty(stdin()) && tcsetpgrp(stdin(), pid).is_ok() {
        // It may have read before the terminal was its own.
        let _ = kill_process(pid, Signal::CONT);
    }
    watch(&signals, pid)
}

fn watch(signals: &OwnedFd, child: Pid) -> u8 {
    loop {
        let mut ready = [PollFd::new(signals, PollFlags::IN)];
        let _ = poll(&mut ready, None);
        while let Ok(Some(number)) = gantry_sys::signal::read_signal(signals.as_fd()) {
            if number != SIGCHLD {
                // Also real-time signals, which have no name.
                let pid = child.as_raw_nonzero().get();
                let _ = gantry_sys::process::kill(pid, number);
            }
        }
        if let Some(status) = reap(child) {
            return status;
        }
    }
}

/// Reaps whoever has ended; the exit status if the program is among them.
fn reap(child: Pid) -> Option<u8> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            ended = code(status);
        }
    }
    ended
}

fn code(status: WaitStatus) -> Option<u8> {
    let code =
        status.exit_status().or_else(|| status.terminating_signal().map(|signal| SIGNALLED + signal))?;
    Some(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> std::vec::IntoIter<OsString> {
        text.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn the_name_makes_an_init() {
        assert_eq!(asked(words("/sbin/docker-init -- a -b")), Some(vec!["a".into(), "-b".into()]));
        assert_eq!(asked(words("docker-init a")), Some(vec!["a".into()]));
        assert_eq!(asked(words("/usr/bin/gantry-runtime -- a")), None);
    }
}
