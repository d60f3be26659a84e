use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gantry_testkit::until_within;

/// How long the daemon may take to answer for the first time, on a busy machine.
const START: Duration = Duration::from_secs(90);

/// A containerd in directories of its own, for its snapshotters.
pub(super) struct Containerd {
    dir: tempfile::TempDir,
    daemon: Child,
}

impl Containerd {
    pub(super) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let plugins = ["grpc.v1.cri", "snapshotter.v1.aufs", "snapshotter.v1.btrfs", "snapshotter.v1.zfs"];
        let disabled: Vec<_> = plugins.iter().map(|name| format!("\"io.containerd.{name}\"")).collect();
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\ndisabled_plugins = [{1}]\n\
             [grpc]\naddress = \"{0}/socket\"\n[ttrpc]\naddress = \"{0}/socket.ttrpc\"\n",
            dir.path().display(),
            disabled.join(", ")
        );
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        let log = || std::fs::File::options().create(true).append(true).open(dir.path().join("log")).unwrap();
        let daemon =
            Command::new(std::env::var_os("GANTRY_CONTAINERD").unwrap_or_else(|| "containerd".into()))
                .arg("--config")
                .arg(dir.path().join("config.toml"))
                .stdin(Stdio::null())
                .stdout(log())
                .stderr(log())
                .spawn()
                .unwrap();
        let mut containerd = Self { dir, daemon };
        until_within(START, "containerd to listen", || {
            if let Some(status) = containerd.daemon.try_wait().unwrap() {
                let log = std::fs::read_to_string(containerd.dir.path().join("log")).unwrap_or_default();
                panic!("containerd: {status}\n{log}");
            }
            std::os::unix::net::UnixStream::connect(containerd.socket()).ok()
        });
        containerd
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Our own child, not reaped before: its pid is its own.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
