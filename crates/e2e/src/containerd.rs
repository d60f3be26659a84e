use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use gantry_testkit::{Invocation, runtime_binary, until_within};

use crate::image::{IMAGE, image_archive};

/// A containerd of the tests, and `ctr` as its client.
#[derive(Debug)]
pub struct Containerd {
    dir: PathBuf,
}

/// Short: a socket's name has 108 bytes.
const SOCKET: &str = "/run/gt-ctd.sock";

/// How long the daemon may take to answer for the first time, on a busy machine.
const START: Duration = Duration::from_secs(90);

impl Containerd {
    /// The one of this test process; started, and loaded with the image, when it is first asked for.
    ///
    /// # Panics
    /// When it does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Containerd> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        let plugins = [
            "grpc.v1.cri",
            "snapshotter.v1.aufs",
            "snapshotter.v1.btrfs",
            "snapshotter.v1.zfs",
            "snapshotter.v1.devmapper",
        ];
        let disabled: Vec<String> = plugins.iter().map(|name| format!("\"io.containerd.{name}\"")).collect();
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"/run/gt-ctd\"\ndisabled_plugins = [{1}]\n\
             [grpc]\naddress = \"{SOCKET}\"\n[ttrpc]\naddress = \"{SOCKET}.ttrpc\"\n",
            dir.display(),
            disabled.join(", ")
        );
        fs::write(dir.join("config.toml"), config).expect("config.toml");
        let log = || fs::File::options().create(true).append(true).open(dir.join("log")).expect("a log");
        // It ends with the pid namespace of the tests.
        let mut daemon = Command::new("containerd")
            .arg("--config")
            .arg(dir.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .expect("containerd starts");
        let containerd = Self { dir };
        until_within(START, "containerd to answer", || {
            if let Some(status) = daemon.try_wait().expect("the daemon is ours") {
                panic!("containerd: {status}\n{}", containerd.log());
            }
            containerd.ctr(["version"]).run().status.success().then_some(())
        });
        containerd.ctr(["image", "import"]).arg(image_archive()).run().ok();
        containerd
    }

    /// A command of `ctr`.
    pub fn ctr<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        Invocation::new("ctr").args(["--address", SOCKET]).args(args)
    }

    /// `ctr run` with the runtime under test; `options` come before the image, `args` are the container's name and
    /// its command.
    pub fn run(&self, options: &[&str], args: &[&str]) -> Invocation {
        let call = self.ctr(["run", "--runc-root", "/run/gt-ctd-runc", "--runc-binary"]);
        call.arg(runtime_binary()).args(options).arg(IMAGE).args(args)
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
