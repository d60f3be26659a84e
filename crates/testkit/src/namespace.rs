use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::until;

/// A namespace for containers to join, kept by a process of the test.
#[derive(Debug)]
pub struct Namespace {
    keeper: Child,
    path: PathBuf,
}

impl Namespace {
    /// Makes a namespace of the kind that the OCI configuration calls so: `pid`, `network`, `mount`, `ipc`, `uts`,
    /// `user`, `cgroup` or `time`; `options` go to unshare(1).
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn new(kind: &str, options: &[&str]) -> Self {
        let (flag, file) = match kind {
            "network" => ("--net", "net"),
            "mount" => ("--mount", "mnt"),
            "pid" => ("--pid", "pid_for_children"),
            "time" => ("--time", "time_for_children"),
            "ipc" => ("--ipc", "ipc"),
            "uts" => ("--uts", "uts"),
            "user" => ("--user", "user"),
            "cgroup" => ("--cgroup", "cgroup"),
            other => panic!("no kind of namespace: {other}"),
        };
        let mut command = Command::new("unshare");
        command.arg(flag).args(options);
        if kind == "pid" {
            // The namespace needs a first process before another can be made in it.
            command.args(["--fork", "--kill-child"]);
        }
        command.args(["sleep", "10000"]).stdin(Stdio::null());
        let keeper = command.spawn().expect("unshare runs");
        let path = PathBuf::from(format!("/proc/{}/ns/{file}", keeper.id()));
        let own = fs::read_link(Path::new("/proc/self/ns").join(file)).expect("our own namespace");
        until(&format!("a {kind} namespace"), || fs::read_link(&path).ok().filter(|link| *link != own));
        Self { keeper, path }
    }

    /// A user namespace with ids from 100000 on the host.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn user() -> Self {
        let namespace = Self::new("user", &[]);
        for map in ["uid_map", "gid_map"] {
            let file = format!("/proc/{}/{map}", namespace.keeper.id());
            fs::write(&file, "0 100000 65536").unwrap_or_else(|error| panic!("{file}: {error}"));
        }
        namespace
    }

    /// The path for the configuration.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the kernel calls it: `net:[4026532000]`.
    ///
    /// # Panics
    /// When the keeper died.
    pub fn identity(&self) -> String {
        fs::read_link(&self.path).expect("the keeper lives").to_string_lossy().into_owned()
    }

    /// The process that keeps it.
    pub fn keeper(&self) -> u32 {
        self.keeper.id()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Our own child, not reaped before: its pid is its own.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
