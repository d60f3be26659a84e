use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::runtime::Runtime;
use crate::{Bundle, Invocation, Output, Report, until};

/// A container of a test; deleted when dropped, whatever state it is in.
#[derive(Debug)]
pub struct Container<'a> {
    runtime: &'a Runtime,
    bundle: &'a Bundle,
    id: String,
}

impl<'a> Container<'a> {
    pub(crate) fn new(runtime: &'a Runtime, bundle: &'a Bundle, id: String) -> Self {
        Self { runtime, bundle, id }
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its bundle.
    pub fn bundle(&self) -> &Bundle {
        self.bundle
    }

    /// The command `verb` with options, for this container: `runtime verb options… id`.
    pub fn command(&self, verb: &str, options: &[&str]) -> Invocation {
        self.runtime.command([verb]).args(options).arg(&self.id)
    }

    /// The command that creates it.
    pub fn create_command(&self, options: &[&str]) -> Invocation {
        self.runtime.command(["create"]).args(options).arg("--bundle").arg(self.bundle.path()).arg(&self.id)
    }

    /// Creates it.
    #[track_caller]
    pub fn create(&self) -> Output {
        self.create_command(&[]).run()
    }

    /// Starts it.
    #[track_caller]
    pub fn start(&self) -> Output {
        self.command("start", &[]).run()
    }

    /// Its state, as JSON.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.command("state", &[]).run().ok().json()
    }

    /// The `status` of its state.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    /// The host's pid of its first process.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let pid = self.state()["pid"].as_i64().expect("a pid");
        i32::try_from(pid).expect("a pid fits")
    }

    /// Waits until its status is `wanted`.
    #[track_caller]
    pub fn wait_for(&self, wanted: &str) {
        until(&format!("{} to be {wanted}", self.id), || (self.status() == wanted).then_some(()));
    }

    /// Sends a signal to its first process.
    #[track_caller]
    pub fn kill(&self, signal: &str) -> Output {
        self.runtime.command(["kill", &self.id, signal]).run()
    }

    /// Deletes it; it must be stopped.
    #[track_caller]
    pub fn delete(&self) -> Output {
        self.command("delete", &[]).run()
    }

    /// Kills it if it runs, and deletes it.
    #[track_caller]
    pub fn delete_force(&self) -> Output {
        self.command("delete", &["--force"]).run()
    }

    /// Runs a command in it, with options of `exec` before the container's name.
    #[track_caller]
    pub fn exec<S: AsRef<OsStr>>(&self, options: &[&str], args: impl IntoIterator<Item = S>) -> Output {
        self.exec_command(options, args).run()
    }

    /// The command that runs a command in it.
    pub fn exec_command<S: AsRef<OsStr>>(
        &self,
        options: &[&str],
        args: impl IntoIterator<Item = S>,
    ) -> Invocation {
        self.command("exec", options).args(args)
    }

    /// Runs a shell script in it, and returns what it prints.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.exec(&[], ["/bin/sh", "-c", script]).ok().text().to_owned()
    }

    /// Runs a process described as in the configuration, by `exec --process`.
    #[track_caller]
    pub fn exec_process(&self, process: &Value, options: &[&str]) -> Output {
        let file = self.write_process(process);
        let file = file.to_str().expect("a path in UTF-8");
        self.runtime.command(["exec"]).args(options).args(["--process", file, &self.id]).run()
    }

    /// Writes a process for `exec --process` to a file.
    pub fn write_process(&self, process: &Value) -> PathBuf {
        let file = self.runtime.scratch().join(format!("{}.process.json", self.id));
        fs::write(&file, process.to_string()).expect("a file");
        file
    }

    /// Runs the probe in it by `exec`; the bundle must have been made with [`Bundle::probe`].
    #[track_caller]
    pub fn probe(&self, options: &[&str], args: &[&str]) -> Report {
        let words = std::iter::once("/bin/gantry-probe").chain(args.iter().copied());
        Report::parse(&self.exec(options, words).ok().stdout)
    }

    /// Processes of it on the host, by `ps --format json`.
    #[track_caller]
    pub fn processes(&self) -> Vec<i64> {
        let output = self.command("ps", &["--format", "json"]).run().ok();
        output.json().as_array().expect("a list").iter().filter_map(Value::as_i64).collect()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if self.runtime.state_dir().join(&self.id).exists() {
            let output = self.delete_force();
            if !std::thread::panicking() {
                output.ok();
            }
        }
    }
}
