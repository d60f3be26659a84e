//! Credential helpers: `docker-credential-<name> get`, the server on its input, JSON on its output.

use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

use super::DockerCredential;
use super::file::from_helper;
use crate::Error;

/// The largest answer, in bytes.
const MAX_OUTPUT: u64 = 256 << 10;
/// What helpers say when they have nothing, with exit status 1.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A program that keeps credentials, and the registry to ask it for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    program: String,
    server: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper {
    /// The helper that `config.json` calls `name`.
    pub(super) fn new(name: &str, server: &str) -> Self {
        Self { program: format!("docker-credential-{name}"), server: server.to_owned() }
    }

    /// The name of the program, which is looked for on the path.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Runs the program; blocks until it ends, at most for `timeout`: then it is killed with its
    /// process group.
    ///
    /// # Errors
    /// [`Error::Helper`]: it does not start, takes too long, fails, or answers something else. What it wrote is never quoted.
    pub fn get(&self, timeout: Duration) -> Result<Option<DockerCredential>, Error> {
        self.get_with(timeout, |_| {})
    }

    /// The same with a command that `prepare` changes.
    pub(super) fn get_with(
        &self,
        timeout: Duration,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Option<DockerCredential>, Error> {
        if self.program.contains(['/', '\0']) {
            return Err(self.failed("its name has a slash"));
        }
        let deadline = Instant::now() + timeout;
        let mut command = Command::new(&self.program);
        command
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        prepare(&mut command);
        let child = command.spawn().map_err(|error| self.failed(format!("it cannot be started: {error}")))?;
        let mut child = Running(child);
        let output = self.converse(&mut child.0, deadline)?;
        let status = loop {
            match child.0.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                Ok(None) => return Err(self.failed(format!("it did not end within {timeout:?}"))),
                Err(error) => return Err(self.failed(format!("it cannot be waited for: {error}"))),
            }
        };
        if !status.success() {
            let said = String::from_utf8_lossy(&output);
            return if said.trim() == NOT_FOUND {
                Ok(None)
            } else {
                Err(self.failed(format!("it failed: {status}")))
            };
        }
        let answer: Answer =
            serde_json::from_slice(&output).map_err(|_| self.failed("its answer is not JSON"))?;
        if answer.username.is_empty() && answer.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(from_helper(answer.username, answer.secret)))
    }

    /// Writes the server, reads the answer.
    fn converse(&self, child: &mut Child, deadline: Instant) -> Result<Vec<u8>, Error> {
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(self.failed("it has no pipes"));
        };
        match writeln!(stdin, "{}", self.server) {
            // One that does not read what it is asked may still say why.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(self.failed(format!("it cannot be asked: {error}")));
            }
            _ => drop(stdin),
        }
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(MAX_OUTPUT + 1).read_to_end(&mut bytes).map(|_| bytes);
            let _ = send.send(read);
        });
        match receive.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ok(bytes)) if bytes.len() as u64 > MAX_OUTPUT => {
                Err(self.failed(format!("its answer has more than {MAX_OUTPUT} bytes")))
            }
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(self.failed(format!("its answer cannot be read: {error}"))),
            Err(RecvTimeoutError::Timeout) => Err(self.failed("it did not answer in time")),
            Err(RecvTimeoutError::Disconnected) => Err(self.failed("its answer cannot be read")),
        }
    }

    fn failed(&self, problem: impl Into<String>) -> Error {
        Error::Helper { helper: self.program.clone(), server: self.server.clone(), problem: problem.into() }
    }
}

/// Ends the program and whatever it started, in every case.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // Not reaped yet, so the group is still its own.
            if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.0.wait();
        }
    }
}
