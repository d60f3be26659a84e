//! Starting processes and measuring them.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use gantry_sys::clone::{CloneArgs, spawn};
use gantry_sys::exec::{StringArray, execve};
use gantry_sys::process;

/// A command, prepared so that starting it costs as little as may be.
#[derive(Debug)]
pub(crate) struct Command {
    program: CString,
    argv: StringArray,
    envp: StringArray,
    directory: CString,
    null: OwnedFd,
}

/// How a command went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) elapsed: Duration,
    pub(crate) status: i32,
    pub(crate) peak_rss_kib: u64,
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("paths of the benchmark have no NUL")
}

impl Command {
    /// `program` with `arguments`, in `directory`.
    pub(crate) fn new(program: &Path, arguments: &[&str], directory: &Path) -> Self {
        let words = std::iter::once(program.to_string_lossy().into_owned())
            .chain(arguments.iter().map(|a| (*a).to_owned()));
        let argv = words.map(|word| CString::new(word).expect("no NUL")).collect();
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .expect("/dev/null opens");
        Command {
            program: c_string(program),
            argv: StringArray::new(argv),
            envp: StringArray::new(vec![c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()]),
            directory: c_string(directory),
            null,
        }
    }

    /// Runs it and waits for its end.
    pub(crate) fn run(&self) -> Run {
        let start = Instant::now();
        let child = spawn(&CloneArgs::default(), || {
            let _ = rustix::process::chdir(&self.directory);
            for number in 0..3 {
                // Errors of a runtime are worth seeing.
                if number < 2 {
                    let _ = process::dup_onto(self.null.as_fd(), number);
                }
            }
            let _ = execve(&self.program, &self.argv, &self.envp);
            127
        })
        .expect("clone3 works");
        let (exit, peak_rss_kib) = process::wait_with_usage(child.pid).expect("the child is ours");
        Run { elapsed: start.elapsed(), status: exit.status(), peak_rss_kib }
    }

    /// Runs it; anything but success ends the benchmark.
    pub(crate) fn run_ok(&self) -> Run {
        let run = self.run();
        assert!(run.status == 0, "{:?} ended with status {}", self.argv.strings(), run.status);
        run
    }
}
