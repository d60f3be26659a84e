//! A shim of others that hangs in one method of the Task service.
//!
//! Its `start` is a script, and what serves then is this program again, running the test [`serve`]. As with shims in the world, one
//! call that hangs holds up all that come after it on the same connection.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gantry_proto_shim::Message;
use gantry_proto_shim::process;
use gantry_proto_shim::task::{
    ConnectResponse, CreateTaskResponse, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
    PauseRequest, PidsRequest, PidsResponse, StateRequest, StateResponse, method,
};
use gantry_tasks::{CreateRequest, Key, Limits, Lost, Options, Tasks};
use gantry_ttrpc::{Code, Status};
use gantry_types::ErrorKind;
use tokio::sync::mpsc::UnboundedReceiver;

/// Says to this program that it is a shim, and on which socket.
const SOCKET: &str = "GANTRY_FAKE_SHIM";

const SHORT: Duration = Duration::from_millis(200);
/// Longer than any limit, and shorter than a hang.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// Not a test of its own: what serves as a shim. Its working directory is the bundle.
#[test]
fn serve() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let config: serde_json::Value = serde_json::from_slice(&fs::read("config.json").unwrap()).unwrap();
    let hangs = config["annotations"]["hangs"].as_str().unwrap_or_default().to_owned();
    let server = gantry_ttrpc::server::serve(Path::new(&socket), move |call| {
        if call.method == hangs {
            loop {
                std::thread::park();
            }
        }
        let pid = std::process::id();
        let first = config["annotations"]["pid"].as_u64().map_or(pid, |pid| pid.try_into().unwrap());
        if call.method == method::STATE && config["annotations"]["unknown"] == "yes" {
            return Err(Status::new(Code::NotFound, "no such container"));
        }
        Ok(match call.method.as_str() {
            method::CREATE => CreateTaskResponse { pid: first }.encode_to_vec(),
            method::CONNECT => {
                ConnectResponse { shim_pid: pid, task_pid: pid, ..Default::default() }.encode_to_vec()
            }
            method::STATE => {
                StateResponse { pid, status: process::Status::Running.into(), ..Default::default() }
                    .encode_to_vec()
            }
            method::DELETE => DeleteResponse { pid, ..Default::default() }.encode_to_vec(),
            method::SHUTDOWN => std::process::exit(0),
            _ => Vec::new(),
        })
    });
    let _server = server.unwrap();
    // As long as somebody has the bundle.
    while Path::new("config.json").exists() && PathBuf::from(&socket).parent().unwrap().exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tasks in a directory of their own. The shim's verbs but `start` fail as long as there is a file `fails`, and are noted in `verbs`.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) tasks: Tasks,
}

pub(crate) fn options(dir: &Path) -> Options {
    Options {
        state: dir.join("state"),
        root: dir.join("root"),
        events: dir.join("events"),
        grpc: dir.join("grpc"),
        shim: "/nowhere".into(),
        runtimes: Default::default(),
        version: String::new(),
        debug: false,
        core_scheduling: false,
        limits: Limits {
            call: SHORT,
            list: SHORT,
            connect: SHORT,
            undo: SHORT,
            shutdown: SHORT,
            verb: Duration::from_secs(20),
        },
    }
}

impl Fixture {
    fn new() -> Self {
        // Nobody listens.
        Self::listening().0
    }

    /// One, and what is told of lost tasks.
    pub(crate) fn listening() -> (Self, UnboundedReceiver<Lost>) {
        let dir = tempfile::tempdir().unwrap();
        let shim = dir.path().join("shim");
        let program = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\nfor verb; do :; done\n\
             if test \"$verb\" != start; then echo $verb >> '{0}/verbs'; ! test -e '{0}/fails'; exit; fi\n\
             {SOCKET}=$PWD/s '{1}' --exact hanging::serve --nocapture </dev/null >/dev/null 2>&1 &\n\
             echo $! > shim.pid\nuntil test -S s; do sleep 0.01; done\necho unix://$PWD/s\n",
            dir.path().display(),
            program.display()
        );
        fs::write(&shim, script).unwrap();
        fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).unwrap();
        let (tasks, lost) = Tasks::open(&options(dir.path())).unwrap();
        (Self { dir, tasks }, lost)
    }

    fn request(&self, hangs: &str) -> CreateRequest {
        self.annotated(serde_json::json!({ "hangs": hangs }))
    }

    /// A container with these annotations, which the fake shim reads.
    pub(crate) fn annotated(&self, annotations: serde_json::Value) -> CreateRequest {
        let config = serde_json::json!({ "annotations": annotations }).to_string().into_bytes();
        let runtime = self.dir.path().join("shim").display().to_string();
        CreateRequest { config, runtime, ..CreateRequest::default() }
    }

    async fn create(&self, id: &str, hangs: &str) -> Key {
        let key = key(id);
        self.tasks.create(key.clone(), self.request(hangs)).await.unwrap();
        key
    }

    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.dir.path().join("state/task/n").join(id)
    }

    /// Removes a task, which waits for what is left to be done.
    async fn remove(&self, key: Key) {
        self.tasks.delete(key.clone()).await.unwrap();
        self.await_gone(&key.1).await;
    }

    pub(crate) async fn await_gone(&self, id: &str) {
        let end = Instant::now() + SOON;
        while self.bundle(id).exists() {
            assert!(Instant::now() < end, "the bundle of {id} stays");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) fn key(id: &str) -> Key {
    ("n".parse().unwrap(), id.to_owned())
}

/// Runs a call that has to end in time, and another container's that must not be held up.
async fn is_refused<T: std::fmt::Debug>(
    fixture: &Fixture,
    other: &Key,
    call: impl Future<Output = Result<T, gantry_tasks::Error>>,
) {
    let begin = Instant::now();
    let (answer, served) = tokio::join!(call, async {
        fixture.tasks.state(other, "").await.unwrap();
        begin.elapsed()
    });
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert!(begin.elapsed() < SOON && served < SHORT, "{:?} {served:?}", begin.elapsed());
}

#[tokio::test]
async fn calls_of_a_shim_that_hangs_end_at_their_limit_and_hold_up_nobody() {
    let fixture = Fixture::new();
    let other = fixture.create("other", "").await;
    for name in [method::STATE, method::KILL, method::PAUSE, method::PIDS, method::DELETE] {
        let key = fixture.create(name, name).await;
        let id = || key.1.clone();
        let tasks = &fixture.tasks;
        match name {
            method::STATE => is_refused(&fixture, &other, tasks.state(&key, "")).await,
            method::KILL => {
                let request = KillRequest { id: id(), signal: 9, ..KillRequest::default() };
                is_refused(&fixture, &other, tasks.call::<Empty>(&key, name, request)).await;
            }
            method::PAUSE => {
                let request = PauseRequest { id: id() };
                is_refused(&fixture, &other, tasks.call::<Empty>(&key, name, request)).await;
            }
            method::PIDS => {
                let request = PidsRequest { id: id() };
                is_refused(&fixture, &other, tasks.ask::<PidsResponse>(&key, name, &request)).await;
            }
            _ => is_refused(&fixture, &other, tasks.delete(key.clone())).await,
        }
        let states = tasks.list(&key.0).await;
        let status = |key: &Key| states.iter().find(|state| state.id == key.1).map(StateResponse::status);
        // It may be asked on the connection on which another call hangs.
        assert_eq!(status(&key), Some(process::Status::Unknown), "{name}");
    }
}

#[tokio::test]
async fn a_create_that_hangs_is_undone_when_its_caller_goes() {
    let fixture = Fixture::new();
    let create = fixture.tasks.create(key("a"), fixture.request(method::CREATE));
    assert!(tokio::time::timeout(SHORT * 5, create).await.is_err());
    fixture.await_gone("a").await;
    let key = fixture.create("a", "").await;
    fixture.remove(key).await;
}

#[tokio::test]
async fn a_start_of_the_daemon_waits_for_a_shim_that_hangs_once() {
    let fixture = Fixture::new();
    for name in [method::CONNECT, method::STATE] {
        fixture.create(name, name).await;
    }
    let well = fixture.create("well", "").await;
    fixture.tasks.let_go();
    let (again, _lost) = Tasks::open(&options(fixture.dir.path())).unwrap();
    let begin = Instant::now();
    let recovered = again.recover(BTreeMap::new()).await.unwrap();
    assert_eq!((recovered.tasks, recovered.lost), (3, 0));
    assert!(begin.elapsed() < SHORT * 4, "{:?}", begin.elapsed());
    assert!(again.state(&well, "").await.is_ok());
    let request = StateRequest { id: method::STATE.into(), ..StateRequest::default() };
    let asked = again.ask::<StateResponse>(&key(method::STATE), method::STATE, &request).await;
    assert_eq!(asked.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
}

#[tokio::test]
async fn an_exec_that_hangs_ends_with_its_caller_and_holds_up_nobody() {
    let fixture = Fixture::new();
    let key = fixture.create("a", method::EXEC).await;
    let other = fixture.create("other", "").await;
    let request = ExecProcessRequest { id: key.1.clone(), exec_id: "e".into(), ..Default::default() };
    let exec = fixture.tasks.call::<Empty>(&key, method::EXEC, request);
    assert!(tokio::time::timeout(SHORT, exec).await.is_err());
    fixture.remove(other).await;
}
