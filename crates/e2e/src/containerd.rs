use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use gantry_testkit::{Invocation, runtime_binary, until_within};

use crate::image::{IMAGE, image_archive};

/// A containerd of the tests, and `ctr` as its client.
#[derive(Debug)]
pub struct Containerd {
    dir: PathBuf,
    /// Short: a socket's name has 108 bytes.
    socket: PathBuf,
    /// More directories for the programs that it executes.
    path: Option<PathBuf>,
    daemon: Mutex<Option<Child>>,
}

/// How long the daemon may take to answer for the first time, on a busy machine.
const START: Duration = Duration::from_secs(90);

/// Debian's program, or the one that the variable names: newer versions are tried so.
fn program(variable: &str, name: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| name.into())
}

impl Containerd {
    /// The one of this test process; started, and loaded with the image, when it is first asked for.
    ///
    /// # Panics
    /// When it does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Containerd> = OnceLock::new();
        SHARED.get_or_init(|| Self::new("gt-ctd", None))
    }

    /// One that is not shared, loaded with the image. It finds programs in `path` first.
    ///
    /// # Panics
    /// When it does not start.
    pub fn new(name: &str, path: Option<&Path>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        let socket = PathBuf::from(format!("/run/{name}.sock"));
        let plugins = [
            "grpc.v1.cri",
            "snapshotter.v1.aufs",
            "snapshotter.v1.btrfs",
            "snapshotter.v1.zfs",
            "snapshotter.v1.devmapper",
        ];
        let disabled: Vec<String> = plugins.iter().map(|name| format!("\"io.containerd.{name}\"")).collect();
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"/run/{name}\"\ndisabled_plugins = [{1}]\n\
             [grpc]\naddress = \"{2}\"\n[ttrpc]\naddress = \"{2}.ttrpc\"\n",
            dir.display(),
            disabled.join(", "),
            socket.display()
        );
        fs::write(dir.join("config.toml"), config).expect("config.toml");
        let containerd = Self { dir, socket, path: path.map(Path::to_owned), daemon: Mutex::default() };
        containerd.start();
        containerd.ctr(["image", "import"]).arg(image_archive()).run().ok();
        containerd
    }

    /// Starts the daemon, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(&self) {
        let log = || fs::File::options().create(true).append(true).open(self.dir.join("log")).expect("a log");
        let binary = program("GANTRY_CONTAINERD", "containerd");
        let mut command = Command::new(&binary);
        // The shim of another containerd is beside it.
        let beside = Path::new(&binary).parent().filter(|dir| dir.is_absolute()).map(Path::to_owned);
        let all = std::env::var_os("PATH").unwrap_or_default();
        let path = self.path.iter().cloned().chain(beside).chain(std::env::split_paths(&all));
        command.env("PATH", std::env::join_paths(path).expect("directories without colons"));
        // It ends with the pid namespace of the tests.
        let mut daemon = command
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .expect("containerd starts");
        until_within(START, "containerd to answer", || {
            if let Some(status) = daemon.try_wait().expect("the daemon is ours") {
                panic!("containerd: {status}\n{}", self.log());
            }
            self.ctr(["version"]).run().status.success().then_some(())
        });
        *self.daemon.lock().unwrap_or_else(PoisonError::into_inner) = Some(daemon);
    }

    /// Kills the daemon with SIGKILL. Its shims live on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        let daemon = self.daemon.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut daemon = daemon.expect("a daemon that runs");
        daemon.kill().expect("the daemon is ours");
        daemon.wait().expect("the daemon is ours");
    }

    /// A command of `ctr`.
    pub fn ctr<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        Invocation::new(program("GANTRY_CTR", "ctr")).arg("--address").arg(&self.socket).args(args)
    }

    /// `ctr run` with the runtime under test; `options` come before the image, `args` are the container's name and
    /// its command.
    pub fn run(&self, options: &[&str], args: &[&str]) -> Invocation {
        let call = self.ctr(["run", "--runc-root", "/run/gt-ctd-runc", "--runc-binary"]);
        call.arg(runtime_binary()).args(options).arg(IMAGE).args(args)
    }

    /// `ctr run` with a shim.
    pub fn run_shim(&self, shim: &str, options: &[&str], args: &[&str]) -> Invocation {
        self.ctr(["run", "--runtime", shim]).args(options).arg(IMAGE).args(args)
    }

    /// What `task ls` says of a container; nothing if it has no task.
    pub fn status(&self, name: &str) -> String {
        let output = self.ctr(["task", "ls"]).run().ok();
        let lines = output.lines();
        let row = lines.iter().find(|line| line.starts_with(&format!("{name} ")));
        row.and_then(|row| row.rsplit(' ').next()).unwrap_or_default().to_owned()
    }

    /// The containers whose state the runtime still has.
    pub fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir("/run/gt-ctd-runc/default").into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// The daemon's log, for messages.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
