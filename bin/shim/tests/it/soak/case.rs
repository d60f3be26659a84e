//! A container of the soak, and what is done to it.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gantry_proto_shim::own::{self, ReportRequest, ReportResponse};
use gantry_proto_shim::process::Status;
use gantry_proto_shim::task::WaitResponse;
use gantry_testkit::{Bundle, Cgroups, DEADLINE};
use gantry_ttrpc::CallError;
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::ledger::{Ledger, is_not_found};
use super::random::Random;
use crate::harness::{Input, Io, Output, Shim, Task, process_spec};

/// How soon calls that wait are answered, and clients' pipes free of everybody, when a container is gone.
const FREE: Duration = Duration::from_secs(5);

/// What containers do.
const SCRIPTS: &[&str] = &[
    "exec sleep 1000",
    "exec sleep 1000",
    "exit 3",
    "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; done; exit 4",
    "while :; do echo on and on and on and on; sleep 0.005; done",
    "setsid sleep 1000 & setsid sleep 1000 & exec sleep 1000",
    "setsid sleep 1000 & exit 5",
    "exec cat",
    "trap '' TERM; while read line; do echo got $line; done; exec sleep 1000",
];

/// The execs that there may be of a container.
const EXECS: [&str; 3] = ["e0", "e1", "e2"];

#[derive(Debug)]
pub(super) struct Case<'d> {
    pub(super) task: Task<'d>,
    input: Option<Input>,
    outputs: Vec<Output>,
    fifos: Vec<PathBuf>,
    /// What was done to it last, for findings.
    pub(super) done: Vec<String>,
    waits: Vec<Waiting>,
}

/// A call of Wait that has no answer yet.
#[derive(Debug)]
struct Waiting {
    what: String,
    shim: Arc<Shim>,
    answer: JoinHandle<Result<WaitResponse, CallError>>,
}

/// A bundle of a group that runs one of the scripts.
pub(super) fn bundle(random: &mut Random, group: Option<&str>) -> Bundle {
    let terminal = random.once_in(5);
    let bundle = Bundle::new().sh(random.pick(SCRIPTS)).edit(|c| {
        c["process"]["terminal"] = json!(terminal);
        if let Some(group) = group {
            c["annotations"] = json!({ "io.kubernetes.cri.sandbox-id": group });
        }
    });
    if random.once_in(4) { bundle.without_namespace("pid") } else { bundle }
}

impl<'d> Case<'d> {
    pub(super) fn new(task: Task<'d>) -> Self {
        Self {
            task,
            input: None,
            outputs: Vec::new(),
            fifos: Vec::new(),
            done: Vec::new(),
            waits: Vec::new(),
        }
    }

    /// Streams of some kind for the container.
    pub(super) fn io(&mut self, random: &mut Random) -> Io {
        let terminal = self.task.bundle.config()["process"]["terminal"] == true;
        let kind = if terminal { 0 } else { random.below(6) };
        let log = |scheme: &str| {
            let uri = format!("{scheme}://{}", self.task.daemon.path("log").display());
            Io { stdout: uri.clone(), stderr: uri, ..Io::default() }
        };
        match kind {
            0 | 1 => {
                let io = Io { terminal, ..self.pipe() };
                let input = Input::new(self.task.daemon.path("in"));
                self.fifos.push(input.path().to_owned());
                let io = io.with_input(input.path());
                self.input = Some(input);
                if terminal { Io { stderr: String::new(), ..io } } else { io }
            }
            2 => log("json-file"),
            3 => log("cri"),
            4 => log("file"),
            _ => Io::default(),
        }
    }

    /// A pipe for both outputs, with a client that reads it.
    fn pipe(&mut self) -> Io {
        let output = Output::new(self.task.daemon.path("out"));
        let io = Io::stdout(output.path());
        self.fifos.push(output.path().to_owned());
        self.outputs.push(output);
        io
    }

    /// Something random, whatever state the container is in.
    pub(super) fn poke(&mut self, random: &mut Random, ledger: &Ledger) {
        self.outputs.iter_mut().for_each(Output::drain);
        let exec = random.pick(&EXECS);
        match random.below(30) {
            0..=3 => self.add_exec(exec, random, ledger),
            4..=6 => {
                let process = random.pick(&["", exec]);
                let answer = self.task.wait_aside(process);
                let what = format!("wait for {process:?}");
                self.waits.push(Waiting { what, shim: Arc::clone(&self.task.shim), answer });
                ledger.count("wait begun");
            }
            7 => {
                self.outputs.clear();
                ledger.count("readers gone");
            }
            8 => {
                self.outputs.iter_mut().for_each(|output| {
                    output.close();
                    output.reopen();
                });
                ledger.count("readers back");
            }
            9 => {
                if let Some(input) = &mut self.input {
                    input.close();
                    input.reopen();
                    input.write("word\n");
                }
            }
            _ => poke(&self.task, random, ledger),
        }
    }

    fn add_exec(&mut self, exec: &str, random: &mut Random, ledger: &Ledger) {
        let script = random.pick(&["exec sleep 1000", "exit 7", "echo word; exit 8", "sleep 1000 & exit 9"]);
        let mut process = process_spec(&["/bin/sh", "-c", script]);
        let terminal = random.once_in(3);
        process["terminal"] = json!(terminal);
        let io = match (terminal, random.once_in(2)) {
            (true, _) => Io { terminal, stderr: String::new(), ..self.pipe() },
            (false, true) => self.pipe(),
            (false, false) => Io::default(),
        };
        let piped = !io.stdout.is_empty();
        let added = ledger.answer("Exec", self.task.exec(exec, &process, io));
        if added.is_none() && piped {
            self.outputs.pop();
        } else if random.once_in(2) {
            ledger.answer("Start", self.task.start_process(exec));
        }
    }

    /// Several at once. Not with runc, whose exec may be frozen by Pause half-way, and answers after Resume only.
    pub(super) fn burst(&mut self, random: &mut Random, ledger: &Ledger) {
        if !self.task.options.binary_name.is_empty() {
            return self.poke(random, ledger);
        }
        let task = &self.task;
        thread::scope(|scope| {
            for _ in 0..4 {
                let mut random = Random::new(random.next());
                scope.spawn(move || poke(task, &mut random, ledger));
            }
        });
    }

    /// Its process and state, if it is there.
    pub(super) fn look(&self, ledger: &Ledger) -> Option<(u32, i32)> {
        let state = ledger.answer("State", self.task.state_of(""))?;
        Some((state.pid, state.status))
    }

    /// Ends and deletes it.
    pub(super) fn finish(&mut self, ledger: &Ledger) {
        let end = Instant::now() + DEADLINE;
        let mut refusal = None;
        loop {
            let state = self.task.state_of("");
            if is_not_found(&state) {
                // One that is being made for a client that has gone is not told of yet.
                if Instant::now() < end && self.is_known(ledger) {
                    thread::sleep(Duration::from_millis(3));
                    continue;
                }
                break;
            }
            let Some(state) = ledger.answer("State", state) else { break };
            if state.status == Status::Stopped as i32 {
                self.delete_execs(ledger);
                let deleted = self.task.delete_process("");
                refusal = deleted.as_ref().err().map(|error| format!("{:?}", error.status()));
                ledger.answer("Delete", deleted);
            } else {
                ledger.answer("Resume", self.task.resume());
                ledger.answer("Kill all", self.task.kill_all(9));
                if ledger.answer("Kill", self.task.kill_process("", 9)).is_some() {
                    ledger.answer("Wait", self.task.wait_process(""));
                }
            }
            if Instant::now() > end {
                let report = report(&self.task.shim, ledger);
                ledger.wrong("a container does not end", &(&state, &refusal, report, &self.done));
                break;
            }
        }
        self.gone(ledger);
    }

    fn is_known(&self, ledger: &Ledger) -> bool {
        let report = report(&self.task.shim, ledger);
        report.is_some_and(|report| report.containers.iter().any(|container| container.id == self.task.id))
    }

    fn delete_execs(&self, ledger: &Ledger) {
        let Some(report) = report(&self.task.shim, ledger) else { return };
        let own = report.containers.into_iter().filter(|container| container.id == self.task.id);
        for exec in own.flat_map(|container| container.execs) {
            if exec.status == Status::Running as i32 {
                ledger.answer("Kill", self.task.kill_process(&exec.id, 9));
                ledger.answer("Wait", self.task.wait_process(&exec.id));
            }
            ledger.answer("Delete", self.task.delete_process(&exec.id));
        }
    }

    /// Looks at what must go with the container: calls that wait for it, ends of its pipes.
    pub(super) fn gone(&mut self, ledger: &Ledger) {
        self.task.forget();
        let end = Instant::now() + FREE;
        for Waiting { what, shim, answer } in self.waits.drain(..) {
            while !answer.is_finished() && Instant::now() < end {
                thread::sleep(Duration::from_millis(1));
            }
            if !answer.is_finished() {
                ledger.wrong("Wait without an answer after Delete", &(&self.task.id, what));
            } else if let Ok(answer) = answer.join()
                // That of a killed shim ends with the connection.
                && !shim.was_killed()
            {
                ledger.answer("Wait", answer);
            }
        }
        self.input = None;
        self.outputs.clear();
        let end = Instant::now() + FREE;
        for fifo in self.fifos.drain(..) {
            while let Some(held) = is_held(&fifo) {
                if Instant::now() > end {
                    ledger.wrong(
                        &format!("a FIFO has {held} after Delete"),
                        &(&fifo, &self.done, holders(&fifo)),
                    );
                    break;
                }
                thread::sleep(Duration::from_millis(3));
            }
            let _ = fs::remove_file(fifo);
        }
        self.no_process_left(ledger);
    }

    fn no_process_left(&mut self, ledger: &Ledger) {
        let parent = self.task.bundle.cgroup_parent().to_owned();
        let cgroups = Cgroups::detect();
        let end = Instant::now() + FREE;
        while !cgroups.processes(&parent).is_empty() && Instant::now() < end {
            thread::sleep(Duration::from_millis(3));
        }
        let left = cgroups.processes(&parent);
        let mut dirs = cgroups.below(&parent);
        dirs.extend(self.task.daemon.leftovers().into_iter().filter(|dir| dir.ends_with(&self.task.id)));
        if left.is_empty() && dirs.is_empty() {
            return;
        }
        let name = |pid: &i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            format!("{} {}", stat.chars().take(60).collect::<String>(), String::from_utf8_lossy(&words))
        };
        let names: Vec<_> = left.iter().map(name).collect();
        ledger.wrong("processes, cgroups or state are left after Delete", &(names, dirs, &self.done));
        left.iter().filter_map(|pid| Pid::from_raw(*pid)).for_each(|pid| {
            let _ = kill_process(pid, Signal::KILL);
        });
        // It would end the soak; the sweep of the next tests removes what is left.
        std::mem::forget(std::mem::take(&mut self.task.bundle));
    }
}

/// Who has the other ends of a FIFO; nothing if nobody has.
fn is_held(fifo: &Path) -> Option<&'static str> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    if OpenOptions::new().write(true).custom_flags(flags).open(fifo).is_ok() {
        return Some("a reader");
    }
    let mut end = OpenOptions::new().read(true).custom_flags(flags).open(fifo).expect("a FIFO of ours");
    let mut buffer = [0; 65_536];
    loop {
        match end.read(&mut buffer) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(_) => return Some("a writer"),
        }
    }
}

/// The processes that have a file open, and as what.
fn holders(file: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        for descriptor in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            if fs::read_link(descriptor.path()).is_ok_and(|link| link == file) {
                let read = |name: &str| fs::read_to_string(process.path().join(name)).unwrap_or_default();
                let stat: String = read("stat").chars().take(40).collect();
                let group = read("cgroup").lines().find(|line| line.contains("pids")).map(str::to_owned);
                let descriptor = descriptor.path();
                found.push(format!("{} {stat} at {} in {group:?}", descriptor.display(), read("wchan")));
            }
        }
    }
    found
}

pub(super) fn report(shim: &Shim, ledger: &Ledger) -> Option<ReportResponse> {
    ledger.answer("Report", shim.call_service(own::SERVICE, own::method::REPORT, &ReportRequest {}))
}

/// What is known of a call that hangs.
fn stuck(task: &Task<'_>, process: &str, ledger: &Ledger) -> String {
    let (init, exec) = (task.state_of(""), task.state_of(process));
    let mut text = format!("of {process:?}: {init:?} {exec:?} {:?}", report(&task.shim, ledger));
    let shim = task.shim.pid().to_string();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let status = read("status");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap_or_default().trim();
        let group = read("cgroup");
        if parent == shim || group.contains(task.bundle.cgroup_parent()) {
            let freezer = group.lines().find(|line| line.contains("freezer")).unwrap_or_default().to_owned();
            let stat: String = read("stat").chars().take(40).collect();
            text.push_str(&format!("\n{stat} at {} in {freezer} {}", read("wchan"), read("cmdline")));
        }
    }
    text.push_str(&fs::read_to_string(task.cgroup_file("freezer", "freezer.state")).unwrap_or_default());
    text
}

/// One call.
fn poke(task: &Task<'_>, random: &mut Random, ledger: &Ledger) {
    let exec = random.pick(&EXECS);
    let process = random.pick(&["", exec]);
    match random.below(20) {
        0..=3 => {
            let answer = task.start_process(process);
            if matches!(answer, Err(CallError::Timeout { .. })) {
                ledger.wrong("Start hangs", &stuck(task, process, ledger));
            }
            ledger.answer("Start", answer);
        }
        4..=5 => {
            let signal = random.pick(&[0, 10, 15, 9, 64]);
            ledger.answer("Kill", task.kill_process(process, signal));
        }
        6 => drop(ledger.answer("Kill all", task.kill_all(random.pick(&[10, 9])))),
        7 => drop(ledger.answer("Pause", task.pause())),
        8..=9 => drop(ledger.answer("Resume", task.resume())),
        10 => {
            let limit = 50 + random.below(50);
            // Where there is nothing to limit, the call is one that changes nothing.
            let pids = Cgroups::detect().has("pids");
            let limits = if pids { json!({ "pids": { "limit": limit } }) } else { json!({}) };
            ledger.answer("Update", task.update(&limits));
        }
        11 => drop(ledger.answer("Stats", task.stats())),
        12 => drop(ledger.answer("Pids", task.pids())),
        13 => drop(ledger.answer("ResizePty", task.resize(process, 80, 24))),
        14 => drop(ledger.answer("CloseIO", task.close_stdin(process))),
        15 => drop(ledger.answer("Connect", task.shim.ask(&task.id))),
        16 => drop(report(&task.shim, ledger)),
        17 => drop(ledger.answer("Delete", task.delete_process(process))),
        _ => drop(ledger.answer("State", task.state_of(process))),
    }
}
