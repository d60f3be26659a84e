use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use gantry_testkit::{Invocation, mounts_below, until_within};
use serde_json::Value;

use crate::caller::Caller;

/// The daemon under test, with `ctr` as its client: `gantryd`, or with `GANTRY_DAEMON=containerd` the reference.
#[derive(Debug)]
pub struct Gantryd {
    dir: PathBuf,
    /// Short: a socket's name has 108 bytes.
    socket: PathBuf,
    state: PathBuf,
    failpoint: Mutex<Option<String>>,
    /// Its own binary, if it is not the one of all.
    binary: Mutex<Option<PathBuf>>,
    /// Whose devices and ports are the host's to it, if not the tests'.
    netns: Option<PathBuf>,
    daemon: Mutex<Option<Child>>,
}

/// How long the daemon may take to answer for the first time, on a busy machine.
const START: Duration = Duration::from_secs(60);
/// How long what was asked for and goes on in the background may take: collection, unlinking.
const SETTLE: Duration = Duration::from_secs(20);

/// Whether the daemon under test is the reference.
pub fn on_reference() -> bool {
    std::env::var_os("GANTRY_DAEMON").is_some_and(|name| name == "containerd")
}

/// The daemon's binary: what `GANTRY_DAEMON` names, or the workspace's. `GANTRY_CONTAINERD` may name another reference.
fn daemon_binary() -> OsString {
    let reference = std::env::var_os("GANTRY_CONTAINERD").filter(|_| on_reference());
    reference
        .or_else(|| std::env::var_os("GANTRY_DAEMON"))
        .unwrap_or_else(|| gantry_testkit::runtime_binary().with_file_name("gantryd").into())
}

/// The client's: Debian's, or what `GANTRY_CTR` names.
fn client_binary() -> OsString {
    std::env::var_os("GANTRY_CTR").unwrap_or_else(|| "ctr".into())
}

/// Whether the client is that of containerd 2, which leaves the work to the daemon.
pub fn client_is_2() -> bool {
    static IS_2: OnceLock<bool> = OnceLock::new();
    *IS_2.get_or_init(|| {
        let version = Invocation::new(client_binary()).arg("--version").run().ok();
        version.text().rsplit(' ').any(|word| word.trim_start_matches('v').starts_with("2."))
    })
}

/// A program that has the network namespace of `netns`, if there is one.
pub(crate) fn inside(netns: Option<&Path>, program: &OsStr) -> Command {
    let Some(netns) = netns else { return Command::new(program) };
    // It executes the program: the process is the program's.
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).arg(program);
    command
}

impl Gantryd {
    /// The one of this test process, started when it is first asked for. Its tests use namespaces of their own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Gantryd> = OnceLock::new();
        SHARED.get_or_init(|| Self::new("gt-store"))
    }

    /// One with everything of its own.
    ///
    /// # Panics
    /// When it does not start.
    pub fn new(name: &str) -> Self {
        Self::with_config(name, "")
    }

    /// One with more lines in its configuration.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_config(name: &str, more: &str) -> Self {
        let daemon = Self::stopped(name, more);
        daemon.start();
        daemon
    }

    /// One whose configuration takes in other files: its own is in containerd's format, and they may be in ours.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_imports(name: &str, files: &[&Path]) -> Self {
        let daemon = Self::stopped_with_imports(name, files);
        daemon.start();
        daemon
    }

    /// The same in a network namespace, which is its host's.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_imports_in(netns: &Path, name: &str, files: &[&Path]) -> Self {
        let mut daemon = Self::stopped_with_imports(name, files);
        daemon.netns = Some(netns.to_owned());
        daemon.start();
        daemon
    }

    fn stopped_with_imports(name: &str, files: &[&Path]) -> Self {
        let daemon = Self::stopped(name, "");
        let path = daemon.dir.join("config.toml");
        let own = fs::read_to_string(&path).expect("config.toml");
        let imports: Vec<String> =
            files.iter().map(|file| format!("{:?}", file.display().to_string())).collect();
        let version = "version = 2\n";
        let imports = format!("{version}imports = [{}]\n", imports.join(", "));
        fs::write(&path, own.replacen(version, &imports, 1)).expect("config.toml");
        daemon
    }

    /// One that does not run yet.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn stopped(name: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        let (socket, state) =
            (PathBuf::from(format!("/run/{name}.sock")), PathBuf::from(format!("/run/{name}")));
        let disabled = if on_reference() {
            let names = ["grpc.v1.cri", "snapshotter.v1.aufs", "snapshotter.v1.btrfs", "snapshotter.v1.zfs"];
            let names: Vec<String> = names.iter().map(|name| format!("\"io.containerd.{name}\"")).collect();
            format!("disabled_plugins = [{}]\n", names.join(", "))
        } else {
            String::new()
        };
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{1}\"\n{disabled}[grpc]\naddress = \"{2}\"\n[ttrpc]\n\
             address = \"{2}.ttrpc\"\n{more}",
            dir.display(),
            state.display(),
            socket.display()
        );
        fs::write(dir.join("config.toml"), config).expect("config.toml");
        Self {
            dir,
            socket,
            state,
            failpoint: Mutex::default(),
            binary: Mutex::default(),
            netns: None,
            daemon: Mutex::default(),
        }
    }

    /// What the daemon finds in `GANTRY_FAILPOINT` from its next start on.
    pub fn set_failpoint(&self, value: Option<&str>) {
        *self.failpoint.lock().unwrap_or_else(PoisonError::into_inner) = value.map(str::to_owned);
    }

    /// Which binary is executed from the next start on, in place of the one of all.
    pub fn set_binary(&self, path: &Path) {
        *self.binary.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.to_owned());
    }

    /// Starts the daemon, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(&self) {
        let log = || fs::File::options().create(true).append(true).open(self.dir.join("log")).expect("a log");
        let own = self.binary.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut command = inside(self.netns.as_deref(), &own.map_or_else(daemon_binary, OsString::from));
        command.arg("--config").arg(self.dir.join("config.toml"));
        if let Some(value) = &*self.failpoint.lock().unwrap_or_else(PoisonError::into_inner) {
            command.env("GANTRY_FAILPOINT", value);
        }
        let mut daemon =
            command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn().expect("the daemon starts");
        until_within(START, "the daemon to answer", || {
            if let Some(status) = daemon.try_wait().expect("the daemon is ours") {
                panic!("the daemon ended: {status}\n{}", self.log());
            }
            self.ctr(["version"]).run().status.success().then_some(())
        });
        *self.daemon.lock().unwrap_or_else(PoisonError::into_inner) = Some(daemon);
    }

    /// Kills the daemon with SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        let daemon = self.daemon.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut daemon = daemon.expect("a daemon that runs");
        daemon.kill().expect("the daemon is ours");
        daemon.wait().expect("the daemon is ours");
    }

    /// Ends the daemon with SIGTERM, and says whether it ended well.
    ///
    /// # Panics
    /// When it does not run, or does not end.
    pub fn stop(&self) -> bool {
        let daemon = self.daemon.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut daemon = daemon.expect("a daemon that runs");
        let pid = rustix::process::Pid::from_child(&daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the daemon is ours");
        let status =
            until_within(START, "the daemon to end", || daemon.try_wait().expect("the daemon is ours"));
        status.success()
    }

    /// Whether the daemon has ended by itself, as at a failpoint.
    pub fn has_ended(&self) -> bool {
        let mut daemon = self.daemon.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = daemon.as_mut().is_none_or(|daemon| daemon.try_wait().ok().flatten().is_some());
        if ended {
            *daemon = None;
        }
        ended
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner).as_ref().expect("a daemon that runs").id()
    }

    /// A command of `ctr`.
    pub fn ctr<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        Invocation::new(client_binary())
            .env("HOME", &self.dir)
            .env("XDG_RUNTIME_DIR", &self.dir)
            .env("TMPDIR", &self.dir)
            .arg("--address")
            .arg(&self.socket)
            .args(args)
    }

    /// A namespace of it.
    pub fn namespace<'a>(&'a self, name: &'a str) -> Tenant<'a> {
        Tenant { daemon: self, name }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its directory of blobs.
    pub fn blobs(&self) -> PathBuf {
        let ours = self.dir.join("root/content/blobs/sha256");
        if on_reference() {
            self.dir.join("root/io.containerd.content.v1.content/blobs/sha256")
        } else {
            ours
        }
    }

    /// The names of the blobs on its disk.
    pub fn blob_names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.blobs()).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// The directory of everything that it keeps.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The directory of what describes processes: bundles, sockets.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Its log, for messages.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The open descriptors of the daemon, but for its connections to its database: they are kept for the next who read.
    pub fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).into_iter().flatten().flatten();
        let targets = open.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.filter(|target| !target.to_string_lossy().contains("/meta.db")).count()
    }

    /// Waits until that is so.
    ///
    /// # Panics
    /// When it does not become so.
    #[track_caller]
    pub fn settles(&self, what: &str, met: impl Fn() -> bool) {
        until_within(SETTLE, what, || met().then_some(()));
    }

    /// What it has mounted and not unmounted.
    pub fn mounts(&self) -> Vec<String> {
        let mut found = mounts_below(&self.dir);
        found.extend(mounts_below(&self.state));
        found
    }
}

impl Drop for Gantryd {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
            if !std::thread::panicking() {
                assert_eq!(self.mounts(), [""; 0], "mounts are left");
                let _ = fs::remove_dir_all(&self.dir);
            }
        }
    }
}

/// A namespace of a daemon: where a test keeps its own things.
#[derive(Debug, Clone, Copy)]
pub struct Tenant<'a> {
    daemon: &'a Gantryd,
    name: &'a str,
}

impl Tenant<'_> {
    /// A command of `ctr` in the namespace.
    pub fn ctr<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        self.daemon.ctr(["--namespace", self.name]).args(args)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Requests to it that no client of others sends.
    pub fn caller(&self) -> Caller {
        Caller::new(&self.daemon.socket, self.name)
    }

    /// The daemon.
    pub fn daemon(&self) -> &Gantryd {
        self.daemon
    }

    /// The names of its images.
    pub fn images(&self) -> Vec<String> {
        let output = self.ctr(["images", "ls", "--quiet"]).run().ok();
        output.lines().into_iter().map(str::to_owned).collect()
    }

    /// The digests of its content.
    pub fn content(&self) -> BTreeSet<String> {
        let output = self.ctr(["content", "ls", "--quiet"]).run().ok();
        output.lines().into_iter().map(str::to_owned).collect()
    }

    /// The keys of its snapshots.
    pub fn snapshots(&self) -> BTreeSet<String> {
        let output = self.ctr(["snapshots", "ls"]).run().ok();
        let rows = output.lines().into_iter().skip(1);
        rows.filter_map(|row| row.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// What `content get` gives of a JSON blob.
    pub fn json(&self, digest: &str) -> Value {
        self.ctr(["content", "get", digest]).run().ok().json()
    }

    /// Mounts the image at `target`, runs `look`, and unmounts it again.
    pub fn mounted<T>(&self, image: &str, target: &Path, look: impl FnOnce(&Path) -> T) -> T {
        fs::create_dir_all(target).expect("a directory");
        self.ctr(["images", "mount", image]).arg(target).run().ok();
        let seen = look(target);
        self.ctr(["images", "unmount", "--rm"]).arg(target).run().ok();
        seen
    }

    /// Removes what clients left that had no chance to remove it: their leases.
    pub fn forget_clients(&self) {
        for lease in self.ctr(["leases", "ls", "--quiet"]).run().ok().lines() {
            self.ctr(["leases", "rm", lease]).run().ok();
        }
    }

    /// Removes every image, waits until nothing is left of them, and says what is left.
    ///
    /// # Panics
    /// When something is.
    pub fn clear(&self) {
        for image in self.images() {
            self.ctr(["images", "rm", "--sync", &image]).run().ok();
        }
        self.daemon.settles("content and snapshots to go", || {
            self.content().is_empty() && self.snapshots().is_empty()
        });
    }
}
