use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Bundle, Container, Invocation, Output, User};

/// Which program is under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Ours.
    Gantry,
    /// The reference.
    Runc,
    /// The fastest peer.
    Crun,
    /// Any other.
    Other,
}

/// A peer and its version, as `--version` says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Which program.
    pub peer: Peer,
    /// Its major and minor version.
    pub number: (u32, u32),
}

/// The path of a binary that cargo built beside the running test, or that the variable names.
pub(crate) fn built_binary(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        return PathBuf::from(path);
    }
    let mut dir = env::current_exe().expect("the test has a path");
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo xtask test` or `cargo build --workspace`",
        path.display()
    );
    path
}

/// The binary under test: the one that `GANTRY_RUNTIME` names, or the workspace's own.
pub fn runtime_binary() -> PathBuf {
    built_binary("GANTRY_RUNTIME", "gantry-runtime")
}

/// The command line under test: the one that `GANTRY_CLIENT` names, or the workspace's own.
pub fn client_binary() -> PathBuf {
    built_binary("GANTRY_CLIENT", "gantry")
}

/// The shim under test: the one that `GANTRY_SHIM` names, or the workspace's own.
pub fn shim_binary() -> PathBuf {
    built_binary("GANTRY_SHIM", "containerd-shim-gantry-v2")
}

/// A runtime with a state directory of its own. On drop it checks that no container is left in it.
#[derive(Debug)]
pub struct Runtime {
    binary: PathBuf,
    dir: TempDir,
    globals: Vec<String>,
    user: Option<User>,
}

impl Runtime {
    /// The runtime under test, run by root.
    pub fn new() -> Self {
        Self::at(runtime_binary())
    }

    /// Another runtime, run by root.
    pub fn at(binary: PathBuf) -> Self {
        let dir = tempfile::Builder::new().prefix("gantry-test.").tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
        fs::create_dir(dir.path().join("state")).expect("a directory");
        Self { binary, dir, globals: Vec::new(), user: None }
    }

    /// The runtime under test, run by an ordinary user whose `XDG_RUNTIME_DIR` is a directory of this test.
    pub fn rootless(user: &User) -> Self {
        let mut runtime = Self::new();
        user.make_dir(&runtime.dir.path().join("xdg"));
        user.make_dir(&runtime.state_dir());
        runtime.user = Some(user.clone());
        runtime
    }

    /// Adds global options to each command.
    #[must_use]
    pub fn with_globals<S: AsRef<str>>(mut self, globals: impl IntoIterator<Item = S>) -> Self {
        self.globals.extend(globals.into_iter().map(|option| option.as_ref().to_owned()));
        self
    }

    /// Which program it is.
    pub fn version(&self) -> Version {
        version_of(&self.binary)
    }

    /// Whether it is Gantry's own.
    pub fn is_ours(&self) -> bool {
        self.version().peer == Peer::Gantry
    }

    /// The path of the binary.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The directory given as `--root`.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A directory of this test outside any bundle.
    pub fn scratch(&self) -> PathBuf {
        let dir = self.dir.path().join("scratch");
        fs::create_dir_all(&dir).expect("a directory");
        if let Some(user) = &self.user {
            user.make_dir(&dir);
        }
        dir
    }

    /// A command of the runtime, with its state directory.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        let mut call = self.bare().arg("--root").arg(self.state_dir());
        call = call.args(&self.globals);
        call.args(args)
    }

    /// The binary without any option.
    pub fn bare(&self) -> Invocation {
        let call = Invocation::new(&self.binary);
        match &self.user {
            Some(user) => call.user(user).env("XDG_RUNTIME_DIR", self.dir.path().join("xdg")),
            None => call,
        }
    }

    /// Runs the bundle in the foreground.
    #[track_caller]
    pub fn run(&self, bundle: &Bundle) -> Output {
        self.run_command(bundle, &[]).run()
    }

    /// The command that runs the bundle in the foreground, with options.
    pub fn run_command(&self, bundle: &Bundle, options: &[&str]) -> Invocation {
        self.run_named(bundle, &unique_id(), options)
    }

    /// The command that runs the bundle in the foreground, as a container of this name.
    pub fn run_named(&self, bundle: &Bundle, id: &str, options: &[&str]) -> Invocation {
        self.command(["run"]).args(options).arg("--bundle").arg(bundle.path()).arg(id)
    }

    /// A container that does not exist yet, with a name that no other has.
    pub fn container<'a>(&'a self, bundle: &'a Bundle) -> Container<'a> {
        Container::new(self, bundle, unique_id())
    }

    /// As [`Self::container`], created.
    #[track_caller]
    pub fn created<'a>(&'a self, bundle: &'a Bundle) -> Container<'a> {
        let container = self.container(bundle);
        container.create().ok();
        container
    }

    /// As [`Self::container`], running.
    #[track_caller]
    pub fn running<'a>(&'a self, bundle: &'a Bundle) -> Container<'a> {
        let container = self.created(bundle);
        container.start().ok();
        container
    }

    /// The `list` of all containers, as JSON.
    #[track_caller]
    pub fn list(&self) -> Vec<Value> {
        let output = self.command(["list", "--format", "json"]).run().ok();
        match output.json() {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            other => panic!("list is no array: {other}"),
        }
    }

    /// The containers whose state is on disk.
    pub fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state_dir()).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            // A runtime may keep a cache beside its containers.
            .filter(|name| !name.starts_with('.'))
            .collect()
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let left = self.leftovers();
        for id in &left {
            let _ = self.command(["delete", "--force", id]).run();
        }
        if !std::thread::panicking() {
            assert!(left.is_empty(), "containers left in {}: {left:?}", self.state_dir().display());
        }
    }
}

/// A name for a container that no other container of any test has.
pub(crate) fn unique_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The version of the runtime under test.
pub(crate) fn version_under_test() -> Version {
    static VERSION: OnceLock<Version> = OnceLock::new();
    *VERSION.get_or_init(|| version_of(&runtime_binary()))
}

fn version_of(binary: &Path) -> Version {
    let name = binary.file_name().unwrap_or_default().to_string_lossy();
    if name.contains("gantry") {
        // Ours may answer `--version` in runc's words, for clients that look for them.
        return Version { peer: Peer::Gantry, number: (u32::MAX, 0) };
    }
    let output = Command::new(binary).arg("--version").output().expect("the runtime says its version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace();
    let peer = match words.next() {
        Some("runc") => Peer::Runc,
        Some("crun") => Peer::Crun,
        _ => Peer::Other,
    };
    let mut parts = words.nth(1).unwrap_or_default().split('.');
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    Version { peer, number: (number(), number()) }
}

/// The shim of a containerd 2, from `GANTRY_PEER_SHIM`: Debian's containerd is older. Tests leave without it, and are counted.
pub fn peer_shim() -> Option<String> {
    std::env::var("GANTRY_PEER_SHIM").ok().filter(|path| !path.is_empty())
}

/// Gives the path of [`peer_shim`], or leaves the test.
#[macro_export]
macro_rules! peer_shim {
    () => {
        match $crate::peer_shim() {
            Some(path) => path,
            None => $crate::skip_test!("GANTRY_PEER_SHIM names no shim of containerd 2"),
        }
    };
}
