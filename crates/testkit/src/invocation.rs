use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use crate::User;

/// The longest that a single command of a test may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A command about to run: a clean environment, output captured in memory, a time limit.
///
/// Output goes to memory files and not to pipes, so that a daemon or container that keeps one open cannot block the
/// test that reads it.
#[derive(Debug)]
pub struct Invocation {
    command: Command,
    stdin: Option<Stdio>,
    limit: Duration,
}

impl Invocation {
    /// A command with an empty environment but for `PATH` and the variables that configure the runtime under test.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        for name in ["GANTRY_KERNEL_FEATURES", "GANTRY_FAILPOINT"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Self { command, stdin: None, limit: LIMIT }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = I>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives the command `bytes` as its standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let mut file = memory_file("stdin");
        file.write_all(bytes.as_ref()).expect("a memory file takes bytes");
        file.rewind().expect("a memory file can seek");
        self.stdin = Some(file.into());
        self
    }

    /// Gives the command this descriptor as its standard input.
    #[must_use]
    pub fn stdin_fd(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdin = Some(fd.into().into());
        self
    }

    /// Runs the command as an ordinary user.
    #[must_use]
    pub fn user(mut self, user: &User) -> Self {
        self.command.uid(user.uid).gid(user.gid).env("HOME", &user.home).env("USER", &user.name);
        self
    }

    /// Replaces the time limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Puts `wrapper` (a program and its own arguments) before the command, as `nsenter` or `setsid` want it.
    #[must_use]
    pub fn wrapped<I: AsRef<OsStr>>(self, wrapper: impl IntoIterator<Item = I>) -> Self {
        let mut words: Vec<OsString> = wrapper.into_iter().map(|word| word.as_ref().to_owned()).collect();
        words.push(self.command.get_program().to_owned());
        words.extend(self.command.get_args().map(OsStr::to_owned));
        let mut outer = Self::new(words.remove(0)).args(words);
        outer.command.env_clear();
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                outer.command.env(name, value);
            }
        }
        if let Some(dir) = self.command.get_current_dir() {
            outer.command.current_dir(dir);
        }
        outer.stdin = self.stdin;
        outer.limit = self.limit;
        outer
    }

    /// Runs the command through a shell that gives it more descriptors: `redirections` is `3</x 4>/y`.
    #[must_use]
    pub fn redirected(self, redirections: &str) -> Self {
        self.wrapped(["/bin/bash", "-c", &format!("exec \"$0\" \"$@\" {redirections}")])
    }

    /// Starts the command and returns at once.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        let line = self.to_string();
        let (stdout, stderr) = (memory_file("stdout"), memory_file("stderr"));
        let copy = |file: &File| file.try_clone().expect("a descriptor can be duplicated");
        self.command.stdin(self.stdin.take().unwrap_or_else(Stdio::null));
        self.command.stdout(copy(&stdout)).stderr(copy(&stderr));
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        Running { child, stdout, stderr, line, started: Instant::now(), limit: self.limit, ended: false }
    }

    /// Runs the command to its end.
    ///
    /// # Panics
    /// When it cannot be started, or not end in time.
    #[track_caller]
    pub fn run(self) -> Output {
        self.spawn().wait()
    }
}

impl std::fmt::Display for Invocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.command.get_program().to_string_lossy())?;
        self.command.get_args().try_for_each(|arg| write!(f, " {}", arg.to_string_lossy()))
    }
}

fn memory_file(name: &str) -> File {
    let file: File = memfd_create(name, MemfdFlags::CLOEXEC).expect("memfd_create").into();
    // Two processes that write through one description share its offset only when appending is asked for, too.
    let flags = rustix::fs::fcntl_getfl(&file).expect("F_GETFL");
    rustix::fs::fcntl_setfl(&file, flags | rustix::fs::OFlags::APPEND).expect("F_SETFL");
    file
}

fn contents(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).expect("a memory file can seek");
    file.read_to_end(&mut bytes).expect("a memory file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A command that runs in the background; it is killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: File,
    stderr: File,
    line: String,
    started: Instant,
    limit: Duration,
    ended: bool,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid fits")
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        read_at_start(&self.stdout)
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        read_at_start(&self.stderr)
    }

    /// Sends a signal to the command itself.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the command still runs");
    }

    /// Whether the command has ended.
    pub fn has_ended(&mut self) -> bool {
        self.ended = self.ended || self.child.try_wait().expect("the child is ours").is_some();
        self.ended
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When the time limit passes; the command is killed then.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let left = self.limit.saturating_sub(self.started.elapsed());
        if !self.has_ended() && !ends_within(&self.child, left) {
            self.stop();
            panic!(
                "{}: still running after {:?}\nstdout: {}\nstderr: {}",
                self.line,
                self.limit,
                self.stdout(),
                self.stderr()
            );
        }
        let status = self.child.wait().expect("the child is ours");
        self.ended = true;
        Output {
            status,
            stdout: contents(&mut self.stdout),
            stderr: contents(&mut self.stderr),
            line: self.line.clone(),
            elapsed: self.started.elapsed(),
        }
    }

    fn stop(&mut self) {
        if !self.ended {
            // The child is ours and not yet reaped, so its pid is its own.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.ended = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reads without moving the offset that the writer shares.
fn read_at_start(file: &File) -> String {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; file.metadata().map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(0))];
    let got = file.read_at(&mut bytes, 0).expect("a memory file can be read");
    String::from_utf8_lossy(&bytes[..got]).into_owned()
}

fn ends_within(child: &Child, limit: Duration) -> bool {
    let fd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("pidfd_open of a child");
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = left.try_into().expect("a time limit fits");
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll of a pidfd: {error}"),
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit status.
    pub status: ExitStatus,
    /// Everything written to standard output.
    pub stdout: String,
    /// Everything written to standard error.
    pub stderr: String,
    /// The command line, for messages.
    pub line: String,
    /// From start to end.
    pub elapsed: Duration,
}

impl Output {
    /// The exit code, or 128 and the signal's number.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Asserts success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "should succeed: {self}");
        self
    }

    /// Asserts failure.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(!self.status.success(), "should fail: {self}");
        self
    }

    /// Asserts an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }

    /// Asserts that standard error has `part` in it, whatever the case of its letters.
    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        self.says_any(&[part])
    }

    /// Asserts that standard error has one of `parts` in it: peers and versions word the same thing differently.
    #[track_caller]
    pub fn says_any(self, parts: &[&str]) -> Self {
        // A log line has its quotation marks escaped.
        let text = self.stderr.replace("\\\"", "\"").to_lowercase();
        assert!(
            parts.iter().any(|part| text.contains(&part.to_lowercase())),
            "should say one of {parts:?}: {self}"
        );
        self
    }

    /// Standard output without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output as trimmed lines, with the carriage returns of a terminal removed.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} after {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.line, self.status, self.elapsed, self.stdout, self.stderr
        )
    }
}
