//! A shim as a daemon starts it, and containers in it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use gantry_proto_shim::Message;
use gantry_proto_shim::any::{Any, Empty};
use gantry_proto_shim::options::Options;
use gantry_proto_shim::task::{
    CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, KillRequest, SERVICE_V2,
    SERVICE_V3, ShutdownRequest, StartRequest, StartResponse, WaitRequest, WaitResponse, method,
};
use gantry_testkit::{Bundle, until_true};
use gantry_ttrpc::Client;
use gantry_ttrpc::server::{Server, serve};
use rustix::fs::{FileType, Mode};

use super::contender::Contender;

const NAMESPACE: &str = "gantry-bench";

/// Takes events, as a daemon does.
pub(super) struct Daemon {
    dir: tempfile::TempDir,
    _events: Server,
}

impl Daemon {
    pub(super) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("gantry-bench.").tempdir().expect("a temporary directory");
        let events = serve(&dir.path().join("ttrpc"), |_| Ok(Empty {}.encode_to_vec()));
        Self { dir, _events: events.expect("a socket for events") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The directory of a container: its root is shared, its cgroup its own.
pub(super) struct Unit {
    pub(super) id: String,
    dir: PathBuf,
    /// Held open, as a daemon holds it.
    _log: File,
}

impl Unit {
    /// A container of `bundle`; those of a group share a shim.
    pub(super) fn new(bundle: &Bundle, group: Option<&str>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("bench{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = bundle.path().join(&id);
        fs::create_dir_all(dir.join("rootfs")).expect("a directory in the bundle");
        let mut config = bundle.config().clone();
        config["root"]["path"] = serde_json::json!(bundle.rootfs());
        config["linux"]["cgroupsPath"] = serde_json::json!(format!("{}-{id}", bundle.cgroup()));
        if let Some(group) = group {
            config["annotations"] = serde_json::json!({ "io.containerd.runc.v2.group": group });
        }
        fs::write(dir.join("config.json"), config.to_string()).expect("a file in the bundle");
        let log = dir.join("log");
        rustix::fs::mknodat(rustix::fs::CWD, &log, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("a FIFO");
        let log = OpenOptions::new().read(true).write(true).open(log).expect("the FIFO opens");
        Self { id, dir, _log: log }
    }
}

/// A shim that runs.
pub(super) struct Shim {
    client: Client,
    socket: PathBuf,
    service: &'static str,
    root: String,
    runtime: String,
    binary: PathBuf,
    first: String,
}

impl Shim {
    /// `start` for a container, and a connection to what it answers.
    pub(super) fn start(daemon: &Daemon, contender: &Contender, unit: &Unit) -> Self {
        Self::start_in(daemon, contender, unit, None)
    }

    /// The same in a cgroup.
    pub(super) fn start_in(
        daemon: &Daemon,
        contender: &Contender,
        unit: &Unit,
        cgroup: Option<&Path>,
    ) -> Self {
        let mut command = match cgroup {
            None => Command::new(&contender.shim),
            Some(cgroup) => {
                let mut shell = Command::new("/bin/sh");
                shell
                    .args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#])
                    .arg(cgroup)
                    .arg(&contender.shim);
                shell
            }
        };
        let output = command
            .args(["-namespace", NAMESPACE, "-publish-binary", "/bin/true", "-id", &unit.id, "-address"])
            .arg(daemon.path("grpc"))
            .arg("start")
            .env("TTRPC_ADDRESS", daemon.path("ttrpc"))
            .env("GRPC_ADDRESS", daemon.path("grpc"))
            .env("NAMESPACE", NAMESPACE)
            .env("MAX_SHIM_VERSION", "2")
            .env("GOMAXPROCS", "2")
            .current_dir(&unit.dir)
            .stdin(Stdio::null())
            .output()
            .expect("the shim's binary can be executed");
        assert!(output.status.success(), "{}: {}", contender.name, String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        // In JSON or as it is.
        let address = text.split('"').find(|part| part.starts_with("unix://")).unwrap_or(&text);
        let socket = PathBuf::from(address.trim().trim_start_matches("unix://"));
        let service = if text.contains("\"version\":3") { SERVICE_V3 } else { SERVICE_V2 };
        let client = Client::connect(&socket).expect("the shim listens");
        Self {
            client,
            socket,
            service,
            root: daemon.path("runtime").display().to_string(),
            runtime: contender.runtime.clone().unwrap_or_default(),
            binary: contender.shim.clone(),
            first: unit.id.clone(),
        }
    }

    fn call<A: Message, B: Message + Default>(&self, method: &str, request: &A) -> B {
        match self.client.call(self.service, method, request) {
            Ok(answer) => answer,
            Err(error) => panic!("{}: {error}: {:?}", self.binary.display(), error.status()),
        }
    }

    pub(super) fn create_and_start(&self, unit: &Unit) {
        let options =
            Options { root: self.root.clone(), binary_name: self.runtime.clone(), ..Options::default() };
        let _: CreateTaskResponse = self.call(
            method::CREATE,
            &CreateTaskRequest {
                id: unit.id.clone(),
                bundle: unit.dir.display().to_string(),
                options: Some(Any::pack(&options)),
                ..CreateTaskRequest::default()
            },
        );
        let exec_id = String::new();
        let _: StartResponse = self.call(method::START, &StartRequest { id: unit.id.clone(), exec_id });
    }

    pub(super) fn wait_and_delete(&self, unit: &Unit) -> u32 {
        let (id, exec_id) = (unit.id.clone(), String::new());
        let _: WaitResponse = self.call(method::WAIT, &WaitRequest { id, exec_id });
        let (id, exec_id) = (unit.id.clone(), String::new());
        let deleted: DeleteResponse = self.call(method::DELETE, &DeleteRequest { id, exec_id });
        deleted.exit_status
    }

    pub(super) fn kill(&self, unit: &Unit) {
        let request = KillRequest { id: unit.id.clone(), exec_id: String::new(), signal: 9, all: false };
        let _: Empty = self.call(method::KILL, &request);
    }

    /// Its processes: the shim itself, and what it keeps beside it.
    pub(super) fn processes(&self) -> Vec<u32> {
        let pids = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_its = |pid: &u32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = words.split(|byte| *byte == 0);
            words.next() == Some(self.binary.as_os_str().as_bytes())
                && words.any(|word| word == self.first.as_bytes())
        };
        pids.filter(is_its).collect()
    }

    /// Ends it, and waits until it is gone.
    pub(super) fn end(self) {
        let request = ShutdownRequest::default();
        // It may end before it has answered.
        let _ = self.client.call::<_, Empty>(self.service, method::SHUTDOWN, &request);
        until_true("the shim to end", || {
            // We adopted it.
            gantry_sys::process::reap_others(0);
            !self.socket.exists() && self.processes().is_empty()
        });
    }
}
