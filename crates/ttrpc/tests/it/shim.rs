use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gantry_testkit::until_true;
use gantry_ttrpc::client::{Client, Options};

/// What the requests of the task service have in common: most have an id first.
#[derive(Clone, PartialEq, ::prost::Message)]
pub(crate) struct Id {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

#[derive(Clone, PartialEq, ::prost::Message)]
pub(crate) struct Connected {
    #[prost(uint32, tag = "1")]
    pub(crate) shim_pid: u32,
}

#[derive(Clone, PartialEq, ::prost::Message)]
struct Shutdown {
    #[prost(bool, tag = "2")]
    now: bool,
}

/// Debian's, of containerd 1.6.
pub(crate) const DEBIAN: &str = "/usr/bin/containerd-shim-runc-v2";

/// A shim without a container and without a daemon.
pub(crate) struct Shim {
    _bundle: tempfile::TempDir,
    _log: fs::File,
    pub(crate) socket: PathBuf,
    pub(crate) service: &'static str,
}

impl Shim {
    pub(crate) fn start(program: &str, id: &str) -> Self {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join("config.json"), r#"{"ociVersion":"1.0.0"}"#).unwrap();
        // It opens its log before it does anything, and waits there for a reader.
        let log = bundle.path().join("log");
        assert!(Command::new("mkfifo").arg(&log).status().unwrap().success());
        let log = fs::File::options().read(true).write(true).open(&log).unwrap();
        let nowhere = bundle.path().join("no-daemon");
        let started = Command::new(program)
            .args(["-namespace", "gantry-test", "-id", id, "-publish-binary", "/bin/true", "-address"])
            .arg(&nowhere)
            .arg("start")
            .current_dir(bundle.path())
            .env("TTRPC_ADDRESS", &nowhere)
            .env("GRPC_ADDRESS", &nowhere)
            .env("NAMESPACE", "gantry-test")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(started.stdout).unwrap();
        assert!(started.status.success(), "{said}{}", String::from_utf8_lossy(&started.stderr));
        // JSON from containerd 2 on, before that the bare address.
        let service = if said.contains(r#""version":3"#) {
            "containerd.task.v3.Task"
        } else {
            "containerd.task.v2.Task"
        };
        let (_, address) = said.split_once("unix://").expect("an address");
        let socket = address.split('"').next().unwrap_or(address).trim().into();
        Self { _bundle: bundle, _log: log, socket, service }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let request = Shutdown { now: true };
        if let Ok(client) = Client::connect(&self.socket) {
            // It may end before it answers.
            let _ = client.call_with::<_, ()>(
                self.service,
                "Shutdown",
                &request,
                &Options::default().timeout(Duration::from_secs(10)),
            );
        }
        if !std::thread::panicking() {
            until_true("the shim to remove its socket", || !Path::new(&self.socket).exists());
        }
    }
}
