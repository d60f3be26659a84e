//! A process of criu, and the conversation with it.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use gantry_sys::{fdpass, process};
use rustix::fs::OFlags;

use super::request::{Kind, Request};
use super::wire::{Value, fields};
use crate::error::Error;

/// The longest answer of criu, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// How much of criu's log is looked through for errors, in bytes, and how many of them are told.
const MAX_LOG_BYTES: u64 = 16 << 20;
const MAX_LOG_LINES: usize = 3;

/// Where criu's standard streams lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    /// Nowhere.
    Null,
    /// Where the caller's do: the restored processes get them.
    Inherited,
}

/// criu at work on one request. Dropped before its end, it is killed.
#[derive(Debug)]
pub(super) struct Criu {
    child: Child,
    socket: OwnedFd,
}

/// What criu has come to, which it waits for an answer to.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) script: String,
    /// The first process of the container, where there is one.
    pub(super) pid: i32,
    pub(super) fd: Option<OwnedFd>,
}

/// criu's answer to a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    kind: u64,
    success: bool,
    script: Option<String>,
    pid: i32,
    errno: i32,
    message: String,
    memory_tracking: bool,
    lazy_pages: bool,
}

impl Criu {
    /// Starts criu. Of the descriptors from 3 on it inherits its socket and `inherited`, under the same numbers.
    pub(super) fn start(streams: Streams, inherited: &[OwnedFd]) -> Result<Self, Error> {
        let (socket, theirs) = crate::sync::pair().map_err(Error::io("socketpair"))?;
        // What our caller left open is no business of criu's.
        let _ = process::cloexec_from(3);
        for fd in inherited.iter().chain([&theirs]) {
            process::clear_cloexec_raw(fd.as_raw_fd()).map_err(Error::io("fcntl"))?;
        }
        let mut command = Command::new("criu");
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        if streams == Streams::Null {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        let child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Error::Unsupported("criu: executable file not found in $PATH; install criu".into())
            }
            _ => Error::io("execute criu")(crate::config::errno(&error)),
        })?;
        Ok(Criu { child, socket })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Makes the request, and lets `on_notice` see each step.
    pub(super) fn ask(
        mut self,
        request: &Request,
        on_notice: &mut dyn FnMut(Notice) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.send(request)?;
        let answer = loop {
            let (answer, fd) = self.receive()?;
            if !answer.success {
                return Err(failed(&answer));
            }
            if answer.kind != Kind::Notify as u64 {
                break answer;
            }
            let script = answer.script.unwrap_or_default();
            on_notice(Notice { script, pid: answer.pid, fd })?;
            self.send(&Request::success())?;
        };
        if answer.kind != request.kind as u64 {
            return Err(Error::Criu {
                reason: format!("answer {} to request {:?}", answer.kind, request.kind),
            });
        }
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write).map_err(Error::io("shutdown"))?;
        let status =
            self.child.wait().map_err(|error| Error::io("wait for criu")(crate::config::errno(&error)))?;
        // After a pre-dump criu waits for the next one, and complains that none comes.
        if !status.success() && request.kind != Kind::PreDump {
            return Err(Error::Criu { reason: status.to_string() });
        }
        Ok(())
    }

    /// Whether criu and the kernel can do what these kinds of dump need.
    pub(super) fn check_features(memory_tracking: bool, lazy_pages: bool) -> Result<(), Error> {
        if !memory_tracking && !lazy_pages {
            return Ok(());
        }
        let criu = Self::start(Streams::Null, &[])?;
        criu.send(&Request::features(memory_tracking, lazy_pages))?;
        let (answer, _) = criu.receive()?;
        if !answer.success {
            return Err(failed(&answer));
        }
        for (name, wanted, found) in [
            ("MemTrack", memory_tracking, answer.memory_tracking),
            ("LazyPages", lazy_pages, answer.lazy_pages),
        ] {
            if wanted && !found {
                return Err(Error::Unsupported(format!("criu is missing features: [{name}]")));
            }
        }
        Ok(())
    }

    fn send(&self, request: &Request) -> Result<(), Error> {
        fdpass::send(self.socket.as_fd(), request.encode().as_bytes(), &[]).map_err(Error::io("send to criu"))
    }

    fn receive(&self) -> Result<(Answer, Option<OwnedFd>), Error> {
        let mut bytes = vec![0; MAX_ANSWER];
        let (len, fd) =
            fdpass::receive(self.socket.as_fd(), &mut bytes).map_err(Error::io("receive from criu"))?;
        if len == 0 {
            return Err(Error::Criu { reason: "it ended without an answer".into() });
        }
        let answer = parse(&bytes[..len])
            .ok_or_else(|| Error::Criu { reason: "its answer cannot be understood".into() })?;
        Ok((answer, fd))
    }
}

impl Drop for Criu {
    fn drop(&mut self) {
        // Both do nothing to a process that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(answer: &Answer) -> Error {
    let kind = answer.kind;
    let name = Kind::ALL.iter().find(|known| **known as u64 == kind).map(|known| known.name());
    let name = name.map_or_else(|| kind.to_string(), str::to_owned);
    let message =
        if answer.message.is_empty() { String::new() } else { format!(": {}", answer.message.trim()) };
    Error::Criu { reason: format!("type {name} errno {}{message}", answer.errno) }
}

/// Reads `criu_resp`; fields that we have no use for are passed over.
pub(super) fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut answer = Answer::default();
    for field in fields(bytes) {
        match field? {
            (1, Value::Number(kind)) => answer.kind = kind,
            (2, Value::Number(success)) => answer.success = success != 0,
            (5, Value::Bytes(notify)) => {
                answer.script = Some(String::new());
                for field in fields(notify) {
                    match field? {
                        (1, Value::Bytes(script)) => {
                            answer.script = Some(String::from_utf8_lossy(script).into_owned());
                        }
                        (2, Value::Number(pid)) => answer.pid = pid as i32,
                        _ => {}
                    }
                }
            }
            (7, Value::Number(errno)) => answer.errno = errno as i32,
            (8, Value::Bytes(features)) => {
                for field in fields(features) {
                    match field? {
                        (1, Value::Number(value)) => answer.memory_tracking = value != 0,
                        (2, Value::Number(value)) => answer.lazy_pages = value != 0,
                        _ => {}
                    }
                }
            }
            (9, Value::Bytes(message)) => answer.message = String::from_utf8_lossy(message).into_owned(),
            _ => {}
        }
    }
    Some(answer)
}

/// Adds to criu's complaint what its log has to say.
pub(super) fn explain(error: Error, log: &std::path::Path) -> Error {
    let Error::Criu { reason } = error else { return error };
    let mut reason = format!("{reason}; log file: {}", log.display());
    if let Ok(text) = crate::config::read_limited(log, MAX_LOG_BYTES) {
        let text = String::from_utf8_lossy(&text);
        for line in text.lines().filter(|line| line.contains("Error")).take(MAX_LOG_LINES) {
            reason.push_str("; ");
            reason.push_str(line);
        }
    }
    Error::Criu { reason }
}

/// Tells whoever waits at the other end of a descriptor of the caller's that pages can be had.
pub(super) fn tell_status(number: u32) -> Result<(), Error> {
    let path = format!("/proc/self/fd/{number}");
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::openat(rustix::fs::CWD, &path, flags, rustix::fs::Mode::empty())
        .map_err(Error::io(format!("invalid --status-fd argument {number}")))?;
    rustix::io::write(&file, &[0]).map(drop).map_err(Error::io(format!("write to --status-fd {number}")))
}

#[cfg(test)]
mod tests {
    use super::super::wire::Message;
    use super::*;

    #[test]
    fn notices_and_failures_are_understood() {
        let mut notify = Message::default();
        notify.text(1, "post-restore").number(2, 77);
        let mut message = Message::default();
        message.number(1, 6).number(2, 1).message(5, &notify).text(99, "later");
        let answer = parse(message.as_bytes()).unwrap();
        assert_eq!((answer.script.as_deref(), answer.pid, answer.success), (Some("post-restore"), 77, true));
        let mut message = Message::default();
        message.number(1, 1).number(2, 0).number(7, 16);
        let error = failed(&parse(message.as_bytes()).unwrap());
        assert_eq!(error.to_string(), "criu failed: type DUMP errno 16");
        assert_eq!(parse(b"\x08"), None);
    }
}
