//! A pod of the soak: a shim, its containers, and what happens to them.

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_proto_shim::Message;
use gantry_proto_shim::process::Status;
use gantry_proto_shim::task::{
    DeleteRequest, KillRequest, PauseRequest, PidsRequest, StartRequest, StatsRequest, WaitRequest, method,
};
use gantry_testkit::{Bundle, DEADLINE, Need, missing, until_true};
use gantry_ttrpc::client::{Calls, Options};
use rustix::process::{Pid, Signal, kill_process};

use super::case::{self, Case};
use super::ledger::Ledger;
use super::random::Random;
use crate::harness::{Answer, Daemon, Input, Shim, Task, name_of};

/// How often a pod that lives long is emptied and measured.
const MEASURE: Duration = Duration::from_secs(2);
/// How often, and in what pauses, the memory of an idle shim is looked at for its least.
const SETTLE_LOOKS: u32 = 12;
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// How many of them there are to each that is printed.
const LOOKS_A_LINE: usize = 10;
/// How many of a shim's last messages are printed when something is wrong.
const MESSAGES: usize = 20;
/// How much more memory than at the first look a shim may have, in KiB.
const GROWTH_KIB: u64 = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One shim all the time, which is measured when it is idle.
    Lasting,
    /// Shims that are killed, replaced and cleaned up after.
    Falling,
    /// The same without a group: one container a shim.
    Single,
}

#[derive(Debug)]
pub(super) struct Pod<'d> {
    daemon: &'d Daemon,
    ledger: &'d Ledger,
    random: Random,
    kind: Kind,
    group: String,
    shim: Option<Arc<Shim>>,
    cases: Vec<Case<'d>>,
    /// What `start` is called in when there is no container.
    anchor: Bundle,
    /// The FIFO for the messages of the shim.
    log: Option<Input>,
    /// The last of them.
    messages: VecDeque<String>,
    descriptors: Vec<String>,
    memory_kib: Vec<u64>,
}

impl<'d> Pod<'d> {
    pub(super) fn new(daemon: &'d Daemon, ledger: &'d Ledger, seed: u64, kind: Kind) -> Self {
        let group = format!("{kind:?}-{seed:x}");
        let mut random = Random::new(seed);
        let anchor = case::bundle(&mut random, (kind != Kind::Single).then_some(&*group));
        let (cases, descriptors) = (Vec::new(), Vec::new());
        let (shim, log, memory_kib) = (None, None, Vec::new());
        let messages = VecDeque::new();
        Self {
            daemon,
            ledger,
            random,
            kind,
            group,
            shim,
            cases,
            anchor,
            log,
            messages,
            descriptors,
            memory_kib,
        }
    }

    /// Random operations until `end`, then nothing may be left.
    pub(super) fn run(mut self, end: Instant) {
        let mut measured = Instant::now();
        if self.kind == Kind::Lasting {
            self.serve_anchor();
            self.descriptors = self.idle_descriptors();
        }
        while Instant::now() < end {
            let wrongs = self.ledger.wrongs();
            self.step();
            self.listen();
            if self.ledger.wrongs() > wrongs {
                println!("{}: {:#?}", self.group, self.messages);
            }
            if self.kind == Kind::Lasting && measured.elapsed() > MEASURE {
                self.measure();
                measured = Instant::now();
            }
        }
        if self.kind == Kind::Lasting {
            self.measure();
        }
        self.end_shim();
        if let (Some(first), Some(last)) = (self.memory_kib.first(), self.memory_kib.last()) {
            let most = self.memory_kib.iter().max().unwrap();
            let looks = self.memory_kib.len();
            println!(
                "{}: private memory {first} KiB first, {last} KiB last, {most} KiB at most in {looks} looks; {} descriptors; {:?}",
                self.group,
                self.descriptors.len(),
                self.memory_kib
            );
        }
    }

    /// Takes the shim's messages.
    fn listen(&mut self) {
        let text = self.log.as_mut().map(Input::drain).unwrap_or_default();
        self.messages.extend(text.lines().map(str::to_owned));
        self.messages.drain(..self.messages.len().saturating_sub(MESSAGES));
    }

    fn step(&mut self) {
        let most = if self.kind == Kind::Single { 1 } else { 4 };
        match self.random.below(100) {
            0..=7 if self.cases.len() < most => self.create(),
            _ if self.cases.is_empty() => self.create(),
            8..=11 => self.finish_one(),
            12 if self.kind != Kind::Lasting => self.fall(),
            13 if self.kind != Kind::Lasting => self.end_shim(),
            14 => self.kill_streams(),
            15..=20 => self.vanish(),
            21..=24 => {
                let index = self.random.below(self.cases.len());
                self.cases[index].burst(&mut self.random, self.ledger);
            }
            _ => {
                let index = self.random.below(self.cases.len());
                self.cases[index].poke(&mut self.random, self.ledger);
            }
        }
    }

    /// `start` as containerd calls it; the shim that serves then.
    fn start(&mut self, id: &str, bundle: &Bundle) -> Arc<Shim> {
        let log = Input::new(bundle.path().join("log"));
        let output = self.daemon.call(id, bundle.path()).args(["start"]).run();
        assert!(output.status.success(), "{}: {output:?}", self.group);
        self.ledger.count("start");
        let answer = Answer::parse(&output.stdout);
        if let Some(shim) = &self.shim {
            assert_eq!(*shim.answer(), answer, "{}: two shims", self.group);
            return Arc::clone(shim);
        }
        let shim = Arc::new(Shim::connect(answer, id));
        self.log = Some(log);
        self.shim = Some(Arc::clone(&shim));
        shim
    }

    fn serve_anchor(&mut self) -> Arc<Shim> {
        let anchor = std::mem::take(&mut self.anchor);
        let shim = self.start(&name_of(&anchor), &anchor);
        self.anchor = anchor;
        shim
    }

    fn create(&mut self) {
        if self.kind == Kind::Single {
            self.end_shim();
        }
        let group = (self.kind != Kind::Single).then_some(&*self.group);
        let bundle = case::bundle(&mut self.random, group);
        let id = name_of(&bundle);
        let shim = self.start(&id, &bundle);
        let mut task = Task::new(self.daemon, shim, bundle, id);
        if self.random.once_in(12) && missing(&[Need::Program("runc")]).is_none() {
            task.options.binary_name = "runc".into();
        }
        let mut case = Case::new(task);
        let io = case.io(&mut self.random);
        if self.random.once_in(10) {
            // Who asks first is not there any more when it is made.
            let request = case.task.create_request(io.clone());
            self.send(&case.task.shim, method::CREATE, &request, usize::MAX);
            case.done.push("Create by a client that has gone".into());
        }
        let terminal = io.terminal;
        let created = self.ledger.answer("Create", case.task.create_with(io));
        let runtime = &case.task.options.binary_name;
        let config = &case.task.bundle.config()["process"]["args"];
        case.done.push(format!("{config} by {runtime:?}, terminal {terminal}: {}", created.is_some()));
        case.task.forget();
        if created.is_some() && !self.random.once_in(6) {
            self.ledger.answer("Start", case.task.start_process(""));
        }
        self.cases.push(case);
    }

    fn finish_one(&mut self) {
        let index = self.random.below(self.cases.len());
        self.cases.swap_remove(index).finish(self.ledger);
    }

    fn finish_all(&mut self) {
        self.cases.drain(..).for_each(|mut case| case.finish(self.ledger));
    }

    /// Ends the shim as a daemon does.
    fn end_shim(&mut self) {
        self.finish_all();
        let Some(shim) = self.shim.take() else { return };
        shim.end();
        self.ledger.count("shim ended");
        until_true("the shim to end", || shim.is_gone());
        let socket = shim.answer().socket();
        if socket.exists() {
            self.ledger.wrong("the socket of a shim that ended is left", &socket);
        }
    }

    /// Kills the shim; another takes its place, or its containers are cleaned up after.
    fn fall(&mut self) {
        let Some(shim) = self.shim.take() else { return };
        let _ = shim.ask("");
        let before: Vec<_> = self.cases.iter().map(|case| case.look(self.ledger)).collect();
        shim.kill();
        until_true("the shim to be gone", || shim.is_gone());
        if self.random.once_in(2) {
            return self.clean_up();
        }
        let bundle = std::mem::take(&mut self.cases[0].task.bundle);
        let shim = self.start(&name_of(&bundle), &bundle);
        self.cases[0].task.bundle = bundle;
        self.ledger.count("shim replaced");
        for (case, before) in self.cases.iter_mut().zip(before) {
            case.task.shim = Arc::clone(&shim);
            case.done.push(format!("shim replaced, {before:?}"));
            let after = case.look(self.ledger);
            // Its end may have come meanwhile, and so may one that was being made for a client that has gone; and one that has
            // stopped may have been deleted for such a client.
            let deleted = |status| status == Status::Stopped as i32 && after.is_none();
            let lost = |(pid, status)| !deleted(status) && after.is_none_or(|(now, _)| now != pid);
            if before.is_some_and(lost) {
                let script = case.task.bundle.config()["process"]["args"].to_string();
                let runtime = &case.task.options.binary_name;
                self.ledger.wrong("a container is lost with its shim", &(before, after, script, runtime));
            }
        }
    }

    fn clean_up(&mut self) {
        for mut case in self.cases.drain(..) {
            case.done.push("shim killed, delete".into());
            let bundle = case.task.bundle.path();
            let output = self
                .daemon
                .call(&case.task.id, bundle)
                .args(["-bundle"])
                .args([bundle])
                .args(["delete"])
                .run();
            if output.status.success() && output.stderr.is_empty() {
                self.ledger.count("delete");
            } else {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                self.ledger.wrong("the action delete fails", &(output.status, text));
            }
            case.gone(self.ledger);
        }
    }

    fn kill_streams(&mut self) {
        let Some(shim) = &self.shim else { return };
        let Some(report) = case::report(shim, self.ledger) else { return };
        if let Some(pid) = Pid::from_raw(report.streams_pid.cast_signed()) {
            let _ = kill_process(pid, Signal::KILL);
            self.ledger.count("streams killed");
        }
    }

    /// A client asks and is gone before the answer, or before it has asked whole.
    fn vanish(&mut self) {
        let index = self.random.below(self.cases.len());
        let task = &self.cases[index].task;
        let (shim, id) = (Arc::clone(&task.shim), task.id.clone());
        let most = self.random.pick(&[usize::MAX, usize::MAX, 5, 30]);
        let exec_id = String::new();
        match self.random.below(7) {
            0 => self.send(&shim, method::WAIT, &WaitRequest { id, exec_id }, most),
            1 => self.send(&shim, method::STATS, &StatsRequest { id }, most),
            2 => self.send(&shim, method::PIDS, &PidsRequest { id }, most),
            3 => self.send(&shim, method::START, &StartRequest { id, exec_id }, most),
            4 => self.send(&shim, method::PAUSE, &PauseRequest { id }, most),
            5 => self.send(&shim, method::DELETE, &DeleteRequest { id, exec_id }, most),
            _ => {
                let kill = KillRequest { id, exec_id, signal: 9, all: true };
                self.send(&shim, method::KILL, &kill, most);
            }
        }
    }

    fn send<M: Message>(&mut self, shim: &Shim, method: &str, message: &M, most: usize) {
        let mut options = Options::default();
        if self.random.once_in(2) {
            options = options.timeout(Duration::from_millis(self.random.next() % 20));
        }
        let mut calls = Calls::new();
        calls.call(shim.service(), method, message, &options).expect("a short request");
        let bytes = calls.output();
        let Ok(mut stream) = UnixStream::connect(shim.answer().socket()) else {
            return self.ledger.wrong("no connection to a shim that lives", &method);
        };
        let _ = stream.write_all(&bytes[..bytes.len().min(most)]);
        self.ledger.count("client gone");
    }

    /// Removes all containers, and compares what the idle shim has with what it had.
    fn measure(&mut self) {
        self.finish_all();
        let shim = self.serve_anchor();
        let end = Instant::now() + DEADLINE;
        loop {
            let Some(report) = case::report(&shim, self.ledger) else { return };
            let busy = report.events_waiting > 0 || report.connections > 1 || !report.containers.is_empty();
            let descriptors = descriptors(shim.pid());
            // That of the streams process, which lives as long as the shim once there is one.
            let control = usize::from(report.streams_pid != 0);
            if !busy && descriptors.len() == self.descriptors.len() + control {
                break;
            }
            if Instant::now() > end {
                self.ledger
                    .wrong("an idle shim is not what it was", &(&report, &descriptors, &self.descriptors));
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // It gives memory back once it has been idle for a while.
        let looks = (0..SETTLE_LOOKS).map(|_| {
            std::thread::sleep(SETTLE_PAUSE);
            private_kib(shim.pid())
        });
        let memory = looks.min().unwrap();
        self.memory_kib.push(memory);
        if self.memory_kib.len() % LOOKS_A_LINE == 1 {
            println!("{}: {memory} KiB at look {}", self.group, self.memory_kib.len());
        }
        let first = self.memory_kib[0];
        if memory > first + GROWTH_KIB {
            self.ledger.wrong("the memory of an idle shim has grown", &(first, &self.memory_kib));
        }
        self.ledger.count("measured");
    }

    fn idle_descriptors(&mut self) -> Vec<String> {
        let shim = self.serve_anchor();
        let _ = case::report(&shim, self.ledger);
        descriptors(shim.pid())
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        if let Some(shim) = &self.shim {
            shim.kill();
        }
    }
}

/// What a process has open.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours").flatten();
    let name = |path| fs::read_link(path).map(|link| link.display().to_string()).unwrap_or_default();
    entries.map(|entry| name(entry.path())).collect()
}

/// The memory that is a process's alone, and its own pages that the streams process, a fork of it, still shares: whether
/// that one lives must not make a difference.
fn private_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a process of ours");
    let anonymous = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let number = anonymous.and_then(|rest| rest.trim().strip_suffix(" kB"));
    number.and_then(|number| number.trim().parse().ok()).expect("smaps_rollup")
}
