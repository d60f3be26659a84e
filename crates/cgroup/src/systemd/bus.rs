//! A connection to systemd: one socket, one question at a time.
//!
//! ```text
//!   us                                        systemd, or a bus before it
//!   NUL AUTH EXTERNAL, DATA, BEGIN ────────►
//!                                   ◄──────── DATA, OK <id>
//!   Hello (on a bus only), Subscribe ──────►
//!   StartTransientUnit ────────────────────►
//!                                   ◄──────── the path of a job
//!                                   ◄──────── signal JobRemoved(id, path, unit, "done")
//! ```
//!
//! As root the socket is `/run/systemd/private`, behind which there is no bus; systemd takes nobody else there. A
//! user's manager has such a socket too, and needs no session bus then.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use super::error::SystemdError;
use super::message::{Call, FIXED_BYTES, Incoming, decode, message_bytes};
use super::value::{Property, Value};

/// How long an answer may take.
const CALL_LIMIT: Duration = Duration::from_secs(25);

/// How long a job may take.
const JOB_LIMIT: Duration = Duration::from_secs(30);

/// The longest line of the authentication.
const MAX_LINE_BYTES: usize = 512;

const PRIVATE: &str = "/run/systemd/private";
const SYSTEM: &str = "/run/dbus/system_bus_socket";

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const BUS: &str = "org.freedesktop.DBus";

/// A connection.
#[derive(Debug)]
pub(crate) struct Bus {
    stream: UnixStream,
    address: String,
    serial: u32,
    subscribed: bool,
    /// Whether somebody stands between us and systemd, and wants to know what to pass on.
    is_bus: bool,
    /// Jobs that ended while something else was waited for: path and result.
    ended: Vec<(String, String)>,
}

impl Bus {
    /// Connects to the system's manager, or to that of the user.
    pub(crate) fn connect(user: bool) -> Result<Self, SystemdError> {
        if user {
            let variable = |name: &str| std::env::var(name).ok();
            if let Some(address) = user_private(variable)
                && let Ok(bus) = Self::open(&address, false)
            {
                return Ok(bus);
            }
            let address = user_address(variable).ok_or(SystemdError::NoUserBus)?;
            return Self::open(&address, true);
        }
        if rustix::process::geteuid().is_root()
            && let Ok(bus) = Self::open(&format!("unix:path={PRIVATE}"), false)
        {
            return Ok(bus);
        }
        let address =
            std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|_| format!("unix:path={SYSTEM}"));
        Self::open(&address, true)
    }

    fn open(address: &str, is_bus: bool) -> Result<Self, SystemdError> {
        let failed = |source| SystemdError::Connect { address: address.to_owned(), source };
        let socket = socket_of(address)
            .ok_or_else(|| failed(io::Error::new(io::ErrorKind::InvalidInput, "not a unix socket")))?
            .map_err(failed)?;
        let stream = UnixStream::connect_addr(&socket).map_err(failed)?;
        let mut bus = Self {
            stream,
            address: address.to_owned(),
            serial: 0,
            subscribed: false,
            is_bus,
            ended: Vec::new(),
        };
        bus.authenticate()?;
        if is_bus {
            bus.call(&Call {
                destination: BUS,
                path: "/org/freedesktop/DBus",
                interface: BUS,
                member: "Hello",
                arguments: &[],
            })?;
        }
        Ok(bus)
    }

    /// SASL EXTERNAL without a name: who we are is what the kernel says, also where user namespaces differ.
    fn authenticate(&mut self) -> Result<(), SystemdError> {
        let deadline = Instant::now() + CALL_LIMIT;
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", deadline)?;
        let mut answer = String::new();
        for expect in ["DATA", "OK "] {
            answer = self.line(deadline)?;
            if !answer.starts_with(expect) {
                return Err(SystemdError::Refused { address: self.address.clone(), answer });
            }
        }
        drop(answer);
        Ok(())
    }

    /// One line, byte by byte: what follows the last one is a message.
    fn line(&mut self, deadline: Instant) -> Result<String, SystemdError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() >= MAX_LINE_BYTES {
                return Err(self.malformed());
            }
            let mut byte = [0];
            self.receive(&mut byte, deadline, "authenticate")?;
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).map_err(|_| self.malformed())
    }

    /// Starts a transient unit and waits until it runs.
    pub(crate) fn start_transient(
        &mut self,
        unit: &str,
        properties: &[Property],
    ) -> Result<(), SystemdError> {
        let arguments = [
            Value::Str(unit.into()),
            Value::Str("replace".into()),
            properties_value(properties),
            Value::Array("(sa(sv))".into(), Vec::new()),
        ];
        self.subscribe()?;
        self.run_job("StartTransientUnit", unit, &arguments)
    }

    /// Stops a unit and waits until it is gone.
    pub(crate) fn stop(&mut self, unit: &str) -> Result<(), SystemdError> {
        self.subscribe()?;
        self.run_job("StopUnit", unit, &[Value::Str(unit.into()), Value::Str("replace".into())])
    }

    /// Forgets that a unit has failed, so that its name can be used again.
    pub(crate) fn reset_failed(&mut self, unit: &str) -> Result<(), SystemdError> {
        self.manager("ResetFailedUnit", &[Value::Str(unit.into())]).map(drop)
    }

    /// Changes properties of a unit until it ends.
    pub(crate) fn set_properties(&mut self, unit: &str, properties: &[Property]) -> Result<(), SystemdError> {
        let arguments = [Value::Str(unit.into()), Value::Bool(true), properties_value(properties)];
        self.manager("SetUnitProperties", &arguments).map(drop)
    }

    /// Lets systemd put a process into the cgroup of a unit, or into one below it.
    pub(crate) fn attach(&mut self, unit: &str, below: &str, pid: u32) -> Result<(), SystemdError> {
        let pids = Value::Array("u".into(), vec![Value::U32(pid)]);
        let below = format!("/{below}");
        self.manager("AttachProcessesToUnit", &[Value::Str(unit.into()), Value::Str(below), pids]).map(drop)
    }

    /// A property of the manager that is text.
    pub(crate) fn manager_property(&mut self, name: &str) -> Result<String, SystemdError> {
        let body = self.call(&Call {
            destination: SYSTEMD,
            path: MANAGER_PATH,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            arguments: &[Value::Str(MANAGER.into()), Value::Str(name.into())],
        })?;
        match body.into_iter().next() {
            Some(Value::Variant(value)) => match *value {
                Value::Str(text) => Ok(text),
                _ => Err(self.malformed()),
            },
            _ => Err(self.malformed()),
        }
    }

    /// Asks for the ends of jobs to be told.
    fn subscribe(&mut self) -> Result<(), SystemdError> {
        if self.subscribed {
            return Ok(());
        }
        if self.is_bus {
            let rule = format!("type='signal',sender='{SYSTEMD}',path='{MANAGER_PATH}',member='JobRemoved'");
            self.call(&Call {
                destination: BUS,
                path: "/org/freedesktop/DBus",
                interface: BUS,
                member: "AddMatch",
                arguments: &[Value::Str(rule)],
            })?;
        }
        self.manager("Subscribe", &[])?;
        self.subscribed = true;
        Ok(())
    }

    fn manager(&mut self, member: &str, arguments: &[Value]) -> Result<Vec<Value>, SystemdError> {
        self.call(&Call { destination: SYSTEMD, path: MANAGER_PATH, interface: MANAGER, member, arguments })
    }

    fn run_job(&mut self, member: &str, unit: &str, arguments: &[Value]) -> Result<(), SystemdError> {
        let deadline = Instant::now() + JOB_LIMIT;
        self.ended.clear();
        let body = self.manager(member, arguments)?;
        let Some(Value::Path(job)) = body.into_iter().next() else { return Err(self.malformed()) };
        let what = || format!("finish {member} of {unit}");
        loop {
            if let Some(index) = self.ended.iter().position(|(path, _)| *path == job) {
                let (_, result) = self.ended.swap_remove(index);
                return match result.as_str() {
                    "done" => Ok(()),
                    _ => Err(SystemdError::Job { unit: unit.to_owned(), result }),
                };
            }
            self.ended.clear();
            let message = self.message(deadline, &what())?;
            self.note(message);
        }
    }

    /// Remembers the end of a job.
    fn note(&mut self, message: Incoming) {
        let Incoming::Signal { interface, member, body } = message else { return };
        if interface == MANAGER
            && member == "JobRemoved"
            && let [Value::U32(_), Value::Path(job), Value::Str(_), Value::Str(result)] = body.as_slice()
        {
            self.ended.push((job.clone(), result.clone()));
        }
    }

    /// Calls a method and waits for its answer.
    fn call(&mut self, call: &Call<'_>) -> Result<Vec<Value>, SystemdError> {
        let deadline = Instant::now() + CALL_LIMIT;
        self.serial = self.serial.wrapping_add(1).max(1);
        let serial = self.serial;
        self.send(&call.encode(serial), deadline)?;
        loop {
            match self.message(deadline, call.member)? {
                Incoming::Return { serial: to, body } if to == serial => return Ok(body),
                Incoming::Error { serial: to, name, text } if to == serial => {
                    let about = match call.arguments.first() {
                        Some(Value::Str(unit)) => format!("{} of {unit:?}", call.member),
                        _ => call.member.to_owned(),
                    };
                    return Err(SystemdError::Call { call: about, name, text });
                }
                other => self.note(other),
            }
        }
    }

    fn message(&mut self, deadline: Instant, what: &str) -> Result<Incoming, SystemdError> {
        let mut fixed = [0; FIXED_BYTES];
        self.receive(&mut fixed, deadline, what)?;
        let length = message_bytes(&fixed).ok_or_else(|| self.malformed())?;
        let mut message = fixed.to_vec();
        message.resize(length, 0);
        self.receive(&mut message[FIXED_BYTES..], deadline, what)?;
        decode(&message).ok_or_else(|| self.malformed())
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), SystemdError> {
        let failed = |source| SystemdError::Io { address: self.address.clone(), source };
        self.stream.set_write_timeout(Some(left(deadline))).map_err(failed)?;
        self.stream.write_all(bytes).map_err(failed)
    }

    /// Fills a buffer, or runs out of time: a byte now and then does not prolong it.
    fn receive(&mut self, mut buffer: &mut [u8], deadline: Instant, what: &str) -> Result<(), SystemdError> {
        let failed = |source| SystemdError::Io { address: self.address.clone(), source };
        while !buffer.is_empty() {
            if Instant::now() >= deadline {
                return Err(SystemdError::Timeout { what: what.to_owned() });
            }
            self.stream.set_read_timeout(Some(left(deadline))).map_err(failed)?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => buffer = &mut buffer[count..],
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    fn malformed(&self) -> SystemdError {
        SystemdError::Malformed { address: self.address.clone() }
    }
}

/// The time until a deadline; never zero, which would be for ever.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn properties_value(properties: &[Property]) -> Value {
    let pair = |property: &Property| {
        let value = Value::Variant(Box::new(property.value.clone()));
        Value::Struct(vec![Value::Str(property.name.clone()), value])
    };
    Value::Array("(sv)".into(), properties.iter().map(pair).collect())
}

fn user_private(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let directory = variable("XDG_RUNTIME_DIR").filter(|value| !value.is_empty())?;
    Some(format!("unix:path={}/systemd/private", escape(&directory)))
}

fn user_address(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    set("DBUS_SESSION_BUS_ADDRESS")
        .or_else(|| Some(format!("unix:path={}/bus", escape(&set("XDG_RUNTIME_DIR")?))))
}

/// The socket of the first unix address of a list; `None` if there is none.
pub(super) fn socket_of(addresses: &str) -> Option<io::Result<SocketAddr>> {
    addresses.split(';').find_map(|address| {
        let pairs = address.strip_prefix("unix:")?;
        pairs.split(',').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value = unescape(value)?;
            match key {
                "path" => Some(SocketAddr::from_pathname(value)),
                "abstract" => Some(SocketAddr::from_abstract_name(value)),
                _ => None,
            }
        })
    })
}

/// Bytes that stand for themselves in an address.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/' | b'.' | b'\\' | b'*')
}

pub(super) fn escape(text: &str) -> String {
    let byte = |byte: u8| if is_plain(byte) { (byte as char).to_string() } else { format!("%{byte:02x}") };
    text.bytes().map(byte).collect()
}

pub(super) fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        if first == b'%' {
            let hex = str::from_utf8(others.get(..2)?).ok()?;
            out.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &others[2..];
        } else {
            out.push(first);
            rest = others;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests;
