use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gantry_proto_shim::task::DeleteResponse;
use gantry_testkit::{Bundle, until_true};
use tempfile::TempDir;

use super::binary::{Answer, Call, delete_response, is_ours};
use super::events::EventServer;
use super::fifo::Input;
use super::shim::Shim;
use super::task::Task;

/// What the tests' daemon is called.
const NAMESPACE: &str = "gantry-it";

/// A daemon: directories, the service for events, and the shims that it has started.
#[derive(Debug)]
pub(crate) struct Daemon {
    dir: TempDir,
    events: EventServer,
    shims: Mutex<Vec<Arc<Shim>>>,
    logs: Mutex<Vec<Input>>,
    /// Shims that are our children.
    children: Mutex<Vec<Child>>,
}

impl Daemon {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("gantry-shim.").tempdir().expect("a temporary directory");
        let events = EventServer::new(&dir.path().join("ttrpc"));
        Self { dir, events, shims: Mutex::default(), logs: Mutex::default(), children: Mutex::default() }
    }

    pub(crate) fn namespace(&self) -> &'static str {
        NAMESPACE
    }

    /// The address that stands for the daemon in names of sockets.
    pub(crate) fn address(&self) -> PathBuf {
        self.dir.path().join("grpc")
    }

    /// Where events go.
    pub(crate) fn ttrpc_address(&self) -> PathBuf {
        self.dir.path().join("ttrpc")
    }

    /// The directory of our shim's state.
    pub(crate) fn state_root(&self) -> PathBuf {
        self.dir.path().join("shim")
    }

    /// The directory of the runtime's state.
    pub(crate) fn runtime_root(&self) -> PathBuf {
        self.dir.path().join("runtime")
    }

    /// A new path for a FIFO, a log or a socket.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        self.dir.path().join(format!("{name}{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn events(&self) -> &EventServer {
        &self.events
    }

    /// A call of the binary with the flags and the environment that containerd gives.
    pub(crate) fn call(&self, id: &str, directory: &Path) -> Call {
        Call::new()
            .args(["-namespace", NAMESPACE, "-address"])
            .args([self.address()])
            .args(["-publish-binary", "/bin/true", "-id", id])
            .env("TTRPC_ADDRESS", self.ttrpc_address())
            .env("GRPC_ADDRESS", self.address())
            .env("NAMESPACE", NAMESPACE)
            .env("MAX_SHIM_VERSION", "2")
            .env("GOMAXPROCS", "2")
            .env("GANTRY_SHIM_ROOT", self.state_root())
            .directory(directory)
    }

    /// `start` in a bundle, with these bytes on standard input.
    #[track_caller]
    pub(crate) fn start(&self, id: &str, bundle: &Bundle, stdin: Vec<u8>) -> Answer {
        self.open_log(bundle);
        Answer::parse(&self.call(id, bundle.path()).args(["start"]).stdin(stdin).good())
    }

    /// `delete` of a container whose shim is gone.
    #[track_caller]
    pub(crate) fn delete(&self, id: &str, bundle: &Path) -> DeleteResponse {
        let call = self.call(id, bundle).args(["-bundle"]).args([bundle]).args(["delete"]);
        delete_response(&call.good())
    }

    /// The shim of an answer, connected.
    #[track_caller]
    pub(crate) fn connect(&self, answer: &Answer, id: &str) -> Arc<Shim> {
        let mut shims = self.shims.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shims.iter().find(|shim| shim.answer() == answer && !shim.was_killed()) {
            return Arc::clone(known);
        }
        let shim = Arc::new(Shim::connect(answer.clone(), id));
        shims.push(Arc::clone(&shim));
        shim
    }

    /// Sees to it that a shim is waited for.
    pub(crate) fn own(&self, child: Child) {
        self.children.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    }

    /// Waits for the end of a shim that is our child.
    #[track_caller]
    pub(crate) fn reap(&self, pid: u32) -> ExitStatus {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        let index = children.iter().position(|child| child.id() == pid).expect("a child of ours");
        children.swap_remove(index).wait().expect("it is our child")
    }

    /// The FIFO for a shim's own messages, which every daemon makes and reads.
    fn open_log(&self, bundle: &Bundle) {
        let log = Input::new(bundle.path().join("log"));
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).push(log);
    }

    /// A container that is not created yet, and its shim, started for it.
    #[track_caller]
    pub(crate) fn task(&self, bundle: Bundle) -> Task<'_> {
        let id = name_of(&bundle);
        let shim = self.connect(&self.start(&id, &bundle, Vec::new()), &id);
        Task::new(self, shim, bundle, id)
    }

    /// As [`Self::task`], created and started.
    #[track_caller]
    pub(crate) fn running(&self, bundle: Bundle) -> Task<'_> {
        let mut task = self.task(bundle);
        task.create();
        task.start();
        task
    }

    /// The containers whose state the runtime has, and the pods whose state our shim has.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let below =
            |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let visible =
            |path: &PathBuf| !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        let containers = below(self.runtime_root().join(NAMESPACE)).filter(visible);
        containers.chain(below(self.state_root()).filter(visible)).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let shims = std::mem::take(&mut *self.shims.lock().unwrap_or_else(PoisonError::into_inner));
        if std::thread::panicking() {
            shims.iter().for_each(|shim| shim.kill());
            let children = self.children.get_mut().unwrap_or_else(PoisonError::into_inner);
            children.iter_mut().for_each(|child| drop(child.kill()));
            return;
        }
        for shim in &shims {
            shim.end();
        }
        for shim in &shims {
            until_true("the shim to end", || shim.is_gone());
            let socket = shim.answer().socket();
            // A killed one had no time to remove it; containerd 2 leaves those of groups.
            let may_stay = shim.was_killed() || (!is_ours() && shim.answer().version > 2);
            assert!(may_stay || !socket.exists(), "{} is left", socket.display());
            let _ = fs::remove_file(socket);
        }
        for child in self.children.get_mut().unwrap_or_else(PoisonError::into_inner) {
            child.wait().expect("it is our child");
        }
        let killed = shims.iter().any(|shim| shim.was_killed());
        let left = self.leftovers();
        assert!(killed || left.is_empty(), "left: {left:?}");
    }
}

/// The name of a bundle's container: the last part of its path, as containerd has it and shims rely on it.
pub(crate) fn name_of(bundle: &Bundle) -> String {
    bundle.path().file_name().expect("a bundle has a name").to_string_lossy().into_owned()
}
