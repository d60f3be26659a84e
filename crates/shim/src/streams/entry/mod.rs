//! The streams of one process, and who is attached to them.

mod input;
mod log;
mod output;

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use gantry_logs::Driver;
use gantry_sys::tty;
use rustix::io::Errno;

use super::attach::{Client, Sent, frame, refuse};
use super::poller::{Part, Poller, Token, Watched};
use super::protocol::{Kind, Role, Wants};
use input::Input;
use log::Log;
use output::{Output, State, Takers};

/// What is read at once at most.
pub(super) const BUFFER_BYTES: usize = 256 << 10;
/// How many clients are attached at most.
const MAX_CLIENTS: usize = 64;
/// How often output is looked for before an exit is told, when somebody goes on writing.
const MAX_LAST_LOOKS: usize = 64;

/// Where the events of an entry come from.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) poller: Poller,
    pub(super) slot: u32,
}

impl Place {
    pub(super) fn watch(&self, fd: Rc<OwnedFd>, part: Part) -> Watched {
        Watched::new(&self.poller, fd, Token { slot: self.slot, part })
    }
}

/// What the owner of an entry has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// The output has reached its end, and every byte its place.
    Drained,
    /// The input has ended.
    StdinClosed,
}

/// Descriptors by what they are for.
pub(super) type Descriptors = [(Role, Rc<OwnedFd>)];

/// Something that cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryError {
    #[error("the streams lack {0:?}")]
    Lacks(Role),
    #[error(transparent)]
    Log(#[from] gantry_logs::Error),
    #[error("preparing the streams' descriptors")]
    Descriptor(#[source] Errno),
}

#[derive(Debug)]
pub(super) struct Entry {
    place: Place,
    terminal: bool,
    outputs: [Output; 2],
    input: Input,
    log: Option<Log>,
    clients: Vec<Option<Client>>,
    exit_status: Option<i32>,
    exit_told: bool,
    drained: bool,
    /// Whether output stays where it is until somebody is attached.
    awaits_client: bool,
    /// Whether nobody waits for slow clients any more.
    closing: bool,
}

impl Entry {
    pub(super) fn new(
        kind: Kind,
        log: Option<&Driver>,
        fds: &Descriptors,
        place: Place,
    ) -> Result<Self, EntryError> {
        let find = |role| fds.iter().find(|(given, _)| *given == role).map(|(_, fd)| fd.clone());
        for (_, fd) in fds {
            rustix::io::ioctl_fionbio(&**fd, true).map_err(EntryError::Descriptor)?;
        }
        let terminal = kind == Kind::Terminal;
        let (stdout, stderr, stdin) = if terminal {
            let master = find(Role::Master).ok_or(EntryError::Lacks(Role::Master))?;
            // Epoll knows a descriptor once.
            let sink = master.try_clone().map_err(|_| EntryError::Descriptor(Errno::MFILE))?;
            (Some(master), None, Some(Rc::new(sink)))
        } else {
            (find(Role::Stdout), find(Role::Stderr), find(Role::Stdin))
        };
        let log = log.map(|driver| Log::open(driver, &place)).transpose()?;
        let outputs = [
            Output::new(0, stdout, find(Role::StdoutFifo), terminal, &place),
            Output::new(1, stderr, find(Role::StderrFifo), terminal, &place),
        ];
        let input = Input::new(find(Role::StdinFifo), find(Role::StdinHold), stdin, terminal, &place);
        Ok(Self {
            place,
            terminal,
            outputs,
            input,
            log,
            clients: Vec::new(),
            exit_status: None,
            exit_told: false,
            drained: false,
            awaits_client: false,
            closing: false,
        })
    }

    /// Keeps all output for the first client: of an exec whose client can come only when it runs.
    pub(super) fn await_client(&mut self) {
        self.awaits_client = true;
    }

    /// Does what an event asks for.
    pub(super) fn event(&mut self, part: Part, buffer: &mut [u8]) {
        match part {
            Part::Source(number) | Part::Fifo(number) => self.pump(usize::from(number), buffer),
            Part::StdinFifo | Part::StdinSink => self.input.pump(buffer),
            Part::Client(number) => {
                self.client(usize::from(number), buffer);
                self.resume(buffer);
            }
            Part::Compression => {
                if let Some(log) = &mut self.log {
                    log.settle();
                }
            }
            Part::LogSocket => {
                if let Some(log) = &mut self.log {
                    log.ready();
                }
                self.resume(buffer);
            }
            _ => {}
        }
        self.settle();
    }

    /// Starts; makes the log's next attempt, and gives clients up, if that is due.
    pub(super) fn tick(&mut self, buffer: &mut [u8]) {
        if let Some(log) = &mut self.log {
            log.retry();
        }
        let now = Instant::now();
        self.clients.iter_mut().flatten().for_each(|client| client.cut_off(now));
        (0..self.outputs.len()).for_each(|number| self.pump(number, buffer));
        self.settle();
    }

    /// When [`Self::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let clients = self.clients.iter().flatten().filter_map(Client::deadline);
        clients.chain(self.log.as_ref().and_then(Log::deadline)).min()
    }

    /// What has happened since the last call.
    pub(super) fn notices(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        notices.extend(self.input.take_closed().then_some(Notice::StdinClosed));
        let settled = self.log.as_ref().is_none_or(Log::is_settled);
        if !self.drained && settled && self.outputs.iter().all(Output::is_drained) {
            self.drained = true;
            notices.push(Notice::Drained);
        }
        notices
    }

    pub(super) fn close_stdin(&mut self) {
        self.input.close();
    }

    pub(super) fn reopen(&mut self) -> Result<(), gantry_logs::Error> {
        self.log.as_mut().map_or(Ok(()), Log::reopen)
    }

    /// The process has ended: who is attached is told when what it wrote was read.
    pub(super) fn ended(&mut self, exit_status: i32, buffer: &mut [u8]) {
        self.exit_status = Some(exit_status);
        for number in 0..self.outputs.len() {
            for _ in 0..MAX_LAST_LOOKS {
                self.pump(number, buffer);
                if self.outputs[number].state != State::Ready {
                    break;
                }
            }
        }
        self.settle();
    }

    /// Attaches a client.
    pub(super) fn attach(&mut self, client: OwnedFd, wants: Wants, buffer: &mut [u8]) {
        let writers = self.clients.iter().flatten().any(|client| client.wants.stdin);
        if wants.stdin && writers {
            return refuse(&client, "another client writes to the standard input");
        }
        if wants.stdin && self.input.sink().is_none() {
            return refuse(&client, "there is no standard input");
        }
        let free = self.clients.iter().position(Option::is_none).unwrap_or(self.clients.len());
        if free == MAX_CLIENTS {
            return refuse(&client, "too many clients are attached");
        }
        let watched = self.place.watch(Rc::new(client), Part::Client(free as u16));
        let Ok(mut client) = Client::new(watched, wants, self.terminal) else { return };
        if self.exit_told {
            tell_exit(&mut client, self.exit_status);
        }
        self.clients.resize_with(self.clients.len().max(free + 1), || None);
        self.clients[free] = Some(client);
        if std::mem::take(&mut self.awaits_client) {
            self.resume(buffer);
        }
        self.settle();
    }

    /// Bytes on their way, bytes that the log could not take, clients.
    pub(super) fn counters(&self) -> (usize, u64, usize) {
        let log = self.log.as_ref();
        let backlog = self.outputs.iter().map(Output::backlog_bytes).sum::<usize>()
            + self.clients.iter().flatten().map(Client::backlog_bytes).sum::<usize>()
            + self.input.backlog_bytes()
            + log.map_or(0, Log::backlog_bytes);
        (backlog, log.map_or(0, Log::dropped_bytes), self.clients.iter().flatten().count())
    }

    /// Gives memory back that holds nothing.
    pub(super) fn relax(&mut self) {
        if let Some(log) = &mut self.log {
            log.relax();
        }
    }

    /// Writes what can be written at once, and ends. The clients that have not read everything are still to be served.
    pub(super) fn close(mut self, buffer: &mut [u8]) -> Vec<Option<Client>> {
        self.closing = true;
        self.awaits_client = false;
        self.tick(buffer);
        if let Some(log) = self.log.take() {
            log.close();
        }
        let mut clients = std::mem::take(&mut self.clients);
        // Their places are what their events name.
        for slot in &mut clients {
            slot.take_if(|client| !client.see_off());
        }
        clients
    }

    fn pump(&mut self, number: usize, buffer: &mut [u8]) {
        if self.awaits_client {
            return self.outputs[number].hold();
        }
        let mut takers =
            Takers { log: self.log.as_mut(), clients: &mut self.clients, patient: !self.closing };
        self.outputs[number].pump(buffer, &mut takers);
    }

    /// Goes on with output for which somebody was too slow.
    fn resume(&mut self, buffer: &mut [u8]) {
        for number in 0..self.outputs.len() {
            if self.outputs[number].state == State::Blocked {
                self.pump(number, buffer);
            }
        }
    }

    fn client(&mut self, number: usize, buffer: &mut [u8]) {
        let Some(Some(client)) = self.clients.get_mut(number) else { return };
        client.flush();
        // A reader is heard at any time; a writer when the process takes input.
        if client.wants.stdin && self.input.waits() {
            return;
        }
        let (input, terminal) = (&mut self.input, self.terminal);
        client.read(buffer, |sent| match sent {
            Sent::Stdin(bytes) => input.write(bytes),
            Sent::StdinEnd => input.end(),
            Sent::Resize { columns, rows } => {
                if let Some(master) = input.sink().filter(|_| terminal) {
                    let _ = tty::set_size(master, rows, columns);
                }
            }
        });
    }

    /// What follows from any event.
    fn settle(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
        let read = |output: &Output| matches!(output.state, State::Empty | State::Ended);
        if self.exit_status.is_some() && !self.exit_told && self.outputs.iter().all(read) {
            self.exit_told = true;
            for client in self.clients.iter_mut().flatten() {
                tell_exit(client, self.exit_status);
            }
        }
        let over = self.exit_told && self.outputs.iter().all(|output| output.state == State::Ended);
        let waits = self.input.waits();
        for slot in &mut self.clients {
            if let Some(client) = slot {
                if over {
                    client.finish();
                }
                client.arm(waits);
                if client.is_gone() {
                    *slot = None;
                }
            }
        }
    }
}

fn tell_exit(client: &mut Client, exit_status: Option<i32>) {
    let exit = serde_json::json!({ "exit_status": exit_status });
    client.send(frame::EXIT, exit.to_string().as_bytes());
}
