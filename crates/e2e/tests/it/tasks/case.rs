//! A container of a test, and what is asked of its task.

use gantry_e2e::{Caller, Gantryd, IMAGE, Tenant};
use gantry_testkit::{Invocation, until, until_true};
use rustix::process::{Pid, Signal, kill_process};

use super::NAMESPACE;
use super::remains::{assert_container_gone, shims};

/// A container of a test. When it goes, nothing may be left of it.
pub(super) struct Case<'a> {
    pub(super) daemon: &'a Gantryd,
    pub(super) id: String,
    runtime: Option<&'a str>,
}

impl<'a> Case<'a> {
    /// One with the runtime that clients name by default.
    pub(super) fn new(daemon: &'a Gantryd, id: impl Into<String>) -> Self {
        Self { daemon, id: id.into(), runtime: None }
    }

    /// One with another runtime.
    pub(super) fn of(daemon: &'a Gantryd, id: impl Into<String>, runtime: &'a str) -> Self {
        Self { daemon, id: id.into(), runtime: Some(runtime) }
    }

    pub(super) fn tenant(&self) -> Tenant<'a> {
        self.daemon.namespace(NAMESPACE)
    }

    pub(super) fn caller(&self) -> Caller {
        self.tenant().caller()
    }

    /// `ctr run`; `options` come before the image.
    pub(super) fn run(&self, options: &[&str], args: &[&str]) -> Invocation {
        let mut call = self.tenant().ctr(["run"]);
        if let Some(runtime) = self.runtime {
            call = call.args(["--runtime", runtime]);
        }
        call.args(options).arg(IMAGE).arg(&self.id).args(args)
    }

    /// Starts it in the background.
    #[track_caller]
    pub(super) fn detached(&self, args: &[&str]) {
        self.run(&["--detach"], args).run().ok();
    }

    /// A command of `ctr task`.
    pub(super) fn task(&self, verb: &[&str]) -> Invocation {
        self.tenant().ctr(["task"]).args(verb).arg(&self.id)
    }

    pub(super) fn exec(&self, exec: &str, options: &[&str], args: &[&str]) -> Invocation {
        let call = self.tenant().ctr(["task", "exec", "--exec-id", exec]);
        call.args(options).arg(&self.id).args(args)
    }

    /// What an exec prints, for its lines. More than a FIFO holds goes before it: `ctr` gives up what it has not opened when a
    /// process ends, and so loses what one prints that ends at once.
    #[track_caller]
    pub(super) fn hears(&self, exec: &str, options: &[&str], script: &str, status: i32) -> Vec<String> {
        const BEFORE: usize = 20_000;
        let script = format!("seq 1 {BEFORE}; {script}");
        let output = self.exec(exec, options, &["sh", "-c", &script]).run().exits(status);
        let lines = output.lines();
        assert!(lines.len() >= BEFORE, "{} lines of {}", lines.len(), output.line);
        lines[BEFORE..].iter().map(|line| (*line).to_owned()).collect()
    }

    /// Asserts that execs run in it.
    #[track_caller]
    pub(super) fn runs_execs(&self, exec: &str) {
        assert_eq!(self.hears(exec, &[], "echo in", 0), ["in"]);
    }

    pub(super) fn kill(&self, signal: &str) {
        self.task(&["kill", "--signal", signal]).run().ok();
    }

    /// The words of its row in `task ls`: name, process, state.
    fn row(&self) -> Option<Vec<String>> {
        let output = self.tenant().ctr(["task", "ls"]).run().ok();
        let rows = output.lines().into_iter();
        let mut rows = rows.map(|row| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        rows.find(|words| words.first() == Some(&self.id))
    }

    /// Its state; empty if it has no task.
    pub(super) fn status(&self) -> String {
        self.row().and_then(|mut words| words.pop()).unwrap_or_default()
    }

    /// Its first process, if it is said to run.
    pub(super) fn running(&self) -> Option<u32> {
        let words = self.row().filter(|words| words.last().is_some_and(|word| word == "RUNNING"))?;
        words[1].parse().ok()
    }

    /// Its first process.
    pub(super) fn pid(&self) -> u32 {
        self.row().expect("a task")[1].parse().expect("a number")
    }

    #[track_caller]
    pub(super) fn wait_for(&self, wanted: &str) {
        until_true(&format!("{} to be {wanted:?}", self.id), || self.status() == wanted);
    }

    /// Kills and removes it; `expect` is the code that `task rm` tells.
    #[track_caller]
    pub(super) fn remove(&self, expect: i32) {
        if self.status() != "STOPPED" {
            self.kill("SIGKILL");
        }
        self.wait_for("STOPPED");
        let removed = self.task(&["rm"]).run();
        if expect == 0 {
            removed.ok();
        } else {
            removed.says(&format!("exit code {expect}"));
        }
        self.remove_record();
    }

    /// Removes the record of a container that has no task.
    #[track_caller]
    pub(super) fn remove_record(&self) {
        self.tenant().ctr(["containers", "rm", &self.id]).run().ok();
    }

    /// Its shim.
    #[track_caller]
    pub(super) fn shim(&self) -> u32 {
        until("the shim", || shims(&self.id).into_iter().next())
    }

    #[track_caller]
    pub(super) fn kill_shim(&self) {
        kill(self.shim());
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_container_gone(self.daemon, &self.id);
        }
    }
}

/// Kills a process of ours with SIGKILL.
pub(super) fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process");
    kill_process(pid, Signal::KILL).expect("a process of ours");
}
