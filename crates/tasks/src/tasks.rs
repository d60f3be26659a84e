//! All tasks, by namespace and container, and what can be done with them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use gantry_proto_shim::any::Any;
use gantry_proto_shim::mount::Mount;
use gantry_proto_shim::options::Options as RuncOptions;
use gantry_proto_shim::task::{
    CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, StateRequest, StateResponse,
    WaitRequest, WaitResponse, method,
};
use gantry_proto_shim::{Message, process::Status};
use gantry_types::{ErrorKind, Namespace};
use serde::Deserialize;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};

use crate::address::Address;
use crate::binary::Program;
use crate::bundle::{Contents, Place};
use crate::burial::{Lost, clean, finish};
use crate::client::Client;
use crate::failpoint::hit;
use crate::launch::{Launch, Launcher, Started};
use crate::shim::{Owned, Shim, connected, watch};
use crate::{Error, Limits, Options};

/// Whose a task is: its namespace and its container.
pub type Key = (Namespace, String);

/// How many shims are asked at the same time.
const LIST_CONCURRENCY: usize = 64;
/// The annotations that make containers of one namespace share a shim, in the order in which they count.
const GROUP_ANNOTATIONS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// What a task is made of.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// The OCI configuration, in JSON.
    pub config: Vec<u8>,
    /// What is mounted on the bundle's `rootfs`, in order.
    pub rootfs: Vec<Mount>,
    /// The standard streams: paths or addresses.
    pub stdin: String,
    /// See `stdin`.
    pub stdout: String,
    /// See `stdin`.
    pub stderr: String,
    /// Whether they are a terminal.
    pub terminal: bool,
    /// The directory of a checkpoint's images, to restore.
    pub checkpoint: String,
    /// The name of the runtime.
    pub runtime: String,
    /// The path of the shim's binary, in place of the one that the name stands for.
    pub runtime_path: String,
    /// The runtime's options.
    pub options: Option<Any>,
    /// The sandbox in which it is made; it has to run.
    pub sandbox: Option<String>,
    /// Who serves its task already, in place of a shim that is started: an address and the version of the Task service.
    pub endpoint: Option<(String, u32)>,
}

/// Tasks. Clones are the same.
#[derive(Clone)]
pub struct Tasks {
    pub(crate) inner: Arc<Inner>,
}

/// What all methods share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) place: Place,
    pub(crate) launcher: Arc<Launcher>,
    pub(crate) limits: Limits,
    tasks: Mutex<BTreeMap<Key, Arc<Shim>>>,
    /// Sandboxes that shims keep.
    sandboxes: Mutex<BTreeMap<Key, Arc<Shim>>>,
    /// Our shims by namespace and group, each behind the lock of who starts or ends it.
    pub(crate) groups: Locks<Option<Arc<Shim>>>,
    /// Who changes a task holds its lock.
    pub(crate) locks: Locks<()>,
    lost: mpsc::UnboundedSender<Lost>,
}

/// A lock for each name that somebody uses.
#[derive(Debug)]
pub(crate) struct Locks<T> {
    all: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<T>>>>,
}

impl<T> Default for Locks<T> {
    fn default() -> Self {
        Self { all: Mutex::default() }
    }
}

impl<T: Default> Locks<T> {
    fn all(&self) -> MutexGuard<'_, HashMap<Key, Arc<tokio::sync::Mutex<T>>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn lock(&self, key: &Key) -> OwnedMutexGuard<T> {
        let lock = Arc::clone(self.all().entry(key.clone()).or_default());
        lock.lock_owned().await
    }

    /// Forgets a lock that nobody else waits for. `empty` says whether what it holds may go.
    pub(crate) fn release(&self, key: &Key, guard: OwnedMutexGuard<T>, empty: bool) {
        let mut all = self.all();
        drop(guard);
        if empty && all.get(key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            all.remove(key);
        }
    }
}

impl Inner {
    fn tasks(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Shim>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sandboxes(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Shim>>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is such a task.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.tasks().contains_key(key)
    }

    /// Removes a task from the list; whether it was there.
    pub(crate) fn forget(&self, key: &Key) -> bool {
        self.tasks().remove(key).is_some()
    }

    /// Whether a shim has a task or sandbox that is known, and not only being made.
    pub(crate) fn has_any(&self, shim: &Shim) -> bool {
        let known = |id: String| {
            let key = (shim.namespace.clone(), id);
            self.tasks().contains_key(&key) || self.sandboxes().contains_key(&key)
        };
        shim.containers().into_iter().any(known)
    }

    pub(crate) fn insert(&self, key: Key, shim: &Arc<Shim>, pid: u32) {
        shim.enter(&key.1, pid);
        self.tasks().insert(key, Arc::clone(shim));
    }

    /// Makes a shim of ours the one of its group.
    pub(crate) async fn remember(&self, shim: &Arc<Shim>) {
        let key = (shim.namespace.clone(), shim.group.clone());
        let mut guard = self.groups.lock(&key).await;
        *guard = Some(Arc::clone(shim));
    }

    /// Whether a shim that we hold has this socket.
    pub(crate) fn uses(&self, socket: &std::path::Path) -> bool {
        self.groups.all().keys().any(|(namespace, group)| self.launcher.socket(namespace, group) == socket)
    }

    /// Tells of a task that was lost.
    pub(crate) fn report(&self, lost: Lost) {
        // Nobody listens only at the daemon's end.
        let _ = self.lost.send(lost);
    }

    async fn note_deletion(self: &Arc<Self>, key: Key) {
        let inner = Arc::clone(self);
        let noted = tokio::task::spawn_blocking(move || inner.place.note_deletion(&key.0, &key.1)).await;
        if let Ok(Err(error)) = noted {
            tracing::warn!(%error, "a deletion is not noted");
        }
    }

    pub(crate) async fn remove_bundle(self: &Arc<Self>, namespace: Namespace, id: String) {
        let inner = Arc::clone(self);
        let removed = tokio::task::spawn_blocking(move || inner.place.remove(&namespace, &id)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, "a bundle stays");
        }
    }
}

impl Tasks {
    /// Opens the directories of bundles. What was lost is told through the receiver. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    ///
    /// # Privilege
    /// Root.
    pub fn open(options: &Options) -> Result<(Self, mpsc::UnboundedReceiver<Lost>), Error> {
        let place = Place::open(&options.state, &options.root)?;
        let launcher = Arc::new(Launcher::new(options));
        launcher.make_place()?;
        let (lost, receiver) = mpsc::unbounded_channel();
        let inner = Inner {
            place,
            launcher,
            limits: options.limits,
            tasks: Mutex::default(),
            sandboxes: Mutex::default(),
            groups: Locks::default(),
            locks: Locks::default(),
            lost,
        };
        Ok((Self { inner: Arc::new(inner) }, receiver))
    }

    /// The FIFO into which shims log; somebody has to read it.
    pub fn log(&self) -> &std::path::Path {
        self.inner.place.log()
    }

    fn find(&self, key: &Key) -> Result<Arc<Shim>, Error> {
        let found = self.inner.tasks().get(key).cloned();
        found.ok_or_else(|| Error::NotFound { what: "task", id: key.1.clone() })
    }

    /// Whether the shim that a runtime's name stands for is our own; one that is not there is not.
    pub fn is_own_shim(&self, runtime: &str) -> bool {
        self.inner.launcher.binaries.find(runtime, "").is_ok_and(|program| program.ours)
    }

    /// Whether there is such a task.
    pub fn exists(&self, key: &Key) -> bool {
        self.inner.has(key)
    }

    /// Runs `operation` to its end, whoever waits for it.
    pub(crate) async fn owned<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        tokio::spawn(operation).await.map_err(|_| Error::Panicked)?
    }

    /// Makes a task, and returns its first process, which waits for [`method::START`].
    ///
    /// # Errors
    /// AlreadyExists; NotFound for a runtime without a shim; what the shim says. Nothing is left then.
    ///
    /// # Cancel safety
    /// Who no longer waits has it undone: what a container's hooks do may have no end.
    pub async fn create(&self, key: Key, request: CreateRequest) -> Result<u32, Error> {
        let inner = Arc::clone(&self.inner);
        let (waiting, gone) = oneshot::channel();
        let made = self.owned(async move {
            let guard = inner.locks.lock(&key).await;
            let made = create(&inner, &key, request, gone).await;
            inner.locks.release(&key, guard, true);
            made
        });
        let made = made.await;
        drop::<oneshot::Sender<()>>(waiting);
        made
    }

    /// Removes a task that has ended, or one that was not started, and says how it ended. Its shim and bundle go in their own time.
    ///
    /// # Errors
    /// NotFound; FailedPrecondition while it runs; what the shim says.
    pub async fn delete(&self, key: Key) -> Result<DeleteResponse, Error> {
        // What is still being made is not there yet, however long that takes.
        self.find(&key)?;
        let inner = Arc::clone(&self.inner);
        let tasks = self.clone();
        self.owned(async move {
            let guard = inner.locks.lock(&key).await;
            let shim = match tasks.find(&key) {
                Ok(shim) => shim,
                Err(error) => {
                    inner.locks.release(&key, guard, true);
                    return Err(error);
                }
            };
            let request = DeleteRequest { id: key.1.clone(), ..Default::default() };
            let answer: Result<DeleteResponse, Error> =
                shim.ask(&key.1, method::DELETE, &request, Some(inner.limits.call)).await;
            hit("delete.answered");
            let left = match &answer {
                Ok(_) => Left::Nothing,
                // It has gone without us.
                Err(error) if error.kind() == ErrorKind::NotFound => Left::unknown_to(&shim),
                Err(_) => {
                    inner.locks.release(&key, guard, true);
                    return answer;
                }
            };
            inner.forget(&key);
            hit("delete.forgotten");
            // The answer does not wait for what is left to be done; who makes a task of that name does.
            tokio::spawn(async move {
                leave(&inner, &key, &shim, left).await;
                inner.locks.release(&key, guard, true);
            });
            answer
        })
        .await
    }

    /// Calls a method of the Task service that changes something.
    ///
    /// # Errors
    /// NotFound; what the shim says; DeadlineExceeded, Unavailable for one that does not answer.
    pub async fn call<B: Message + Default + 'static>(
        &self,
        key: &Key,
        name: &'static str,
        request: impl Message + 'static,
    ) -> Result<B, Error> {
        let shim = self.find(key)?;
        let id = key.1.clone();
        // What may take its time by right.
        let limit = match name {
            method::START | method::CHECKPOINT | method::EXEC => None,
            _ => Some(self.inner.limits.call),
        };
        self.owned(async move {
            let answer = shim.call(&id, name, &request, limit).await;
            match name {
                method::START => hit("start.answered"),
                method::EXEC => hit("exec.answered"),
                method::KILL => hit("kill.answered"),
                method::DELETE => hit("process.deleted"),
                _ => {}
            }
            answer
        })
        .await
    }

    /// Calls a method that changes nothing, or that may be called twice.
    ///
    /// # Errors
    /// As those of [`call`](Self::call).
    pub async fn ask<B: Message + Default>(
        &self,
        key: &Key,
        name: &'static str,
        request: &impl Message,
    ) -> Result<B, Error> {
        let answer = self.find(key)?.ask(&key.1, name, request, Some(self.inner.limits.call)).await;
        if name == method::KILL {
            hit("kill.answered");
        }
        answer
    }

    /// The state of a process; of the first one for an empty `exec`.
    ///
    /// # Errors
    /// As those of [`call`](Self::call).
    pub async fn state(&self, key: &Key, exec: &str) -> Result<StateResponse, Error> {
        let request = StateRequest { id: key.1.clone(), exec_id: exec.to_owned() };
        self.ask(key, method::STATE, &request).await
    }

    /// The states of all tasks of a namespace, by container. A shim that does not answer in time has tasks of unknown state.
    pub async fn list(&self, namespace: &Namespace) -> Vec<StateResponse> {
        let all = self.shims_of(namespace);
        let limit = self.inner.limits.list;
        let states = iter(all).map(|(id, shim)| async move {
            let request = StateRequest { id: id.clone(), ..Default::default() };
            match shim.ask(&id, method::STATE, &request, Some(limit)).await {
                Ok(state) => Some(state),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => {
                    tracing::warn!(container = id, %error, "the state of a task is unknown");
                    let (pid, status) = (shim.pid(&id), Status::Unknown.into());
                    Some(StateResponse { id, pid, status, ..Default::default() })
                }
            }
        });
        let states: Vec<_> = states.buffered(LIST_CONCURRENCY).collect().await;
        states.into_iter().flatten().collect()
    }

    /// The containers of a namespace that have tasks.
    pub fn containers(&self, namespace: &Namespace) -> Vec<String> {
        self.shims_of(namespace).into_iter().map(|(id, _)| id).collect()
    }

    fn shims_of(&self, namespace: &Namespace) -> Vec<(String, Arc<Shim>)> {
        let tasks = self.inner.tasks();
        let first = (namespace.clone(), String::new());
        let own = tasks.range(first..).take_while(|((other, _), _)| other == namespace);
        own.map(|((_, id), shim)| (id.clone(), Arc::clone(shim))).collect()
    }

    /// Waits for the end of a process.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wait(&self, key: &Key, exec: &str) -> Result<WaitResponse, Error> {
        let shim = self.find(key)?;
        let request = WaitRequest { id: key.1.clone(), exec_id: exec.to_owned() };
        match shim.ask(&key.1, method::WAIT, &request, None).await {
            // Its execs ended with it.
            Err(lost @ Error::Lost { .. }) => shim.lost(&key.1).await.map(WaitResponse::from).ok_or(lost),
            answer => answer,
        }
    }

    /// Where clients attach to the streams of a task of our shim's (docs/design/0004-shim.md, Attach); there is nothing for one of
    /// another shim.
    ///
    /// # Errors
    /// NotFound.
    pub fn attach_socket(&self, key: &Key) -> Result<std::path::PathBuf, Error> {
        let shim = self.find(key)?;
        let socket = shim.address.socket().unwrap_or_default();
        let name = std::path::Path::new(&socket).file_name().unwrap_or_default();
        Ok(self.inner.launcher.shim_root().join(name).join("attach"))
    }

    /// What the shim of a runtime says of itself: an encoded `containerd.types.RuntimeInfo`.
    ///
    /// # Errors
    /// NotFound for a runtime without a shim; what its binary says.
    pub async fn info(&self, runtime: &str, path: &str, options: Option<&Any>) -> Result<Vec<u8>, Error> {
        let program = self.inner.launcher.binaries.find(runtime, path)?;
        self.inner.launcher.info(&program, options).await
    }

    /// Leaves all shims to themselves: they go on.
    pub fn let_go(&self) {
        let mut shims: Vec<_> = std::mem::take(&mut *self.inner.tasks()).into_values().collect();
        shims.extend(std::mem::take(&mut *self.inner.sandboxes()).into_values());
        shims.iter().for_each(|shim| shim.let_go());
    }
}

/// The options of a request, with what the configuration says where it says nothing.
fn options_of(inner: &Inner, request: &CreateRequest) -> Option<Any> {
    let given = request.options.clone().filter(|any| !any.type_url.is_empty());
    let Some(runtime) = inner.launcher.binaries.runtime(&request.runtime) else { return given };
    let mut options = match &given {
        None => RuncOptions::default(),
        Some(any) => match any.unpack::<RuncOptions>() {
            Ok(options) => options,
            // Of another kind: its owner's business.
            Err(_) => return given,
        },
    };
    if options.binary_name.is_empty() {
        options.binary_name.clone_from(&runtime.binary);
    }
    if options.root.is_empty() {
        options.root.clone_from(&runtime.root);
    }
    options.systemd_cgroup |= runtime.systemd_cgroup;
    if given.is_none() && options == RuncOptions::default() { None } else { Some(Any::pack(&options)) }
}

async fn create(
    inner: &Arc<Inner>,
    key: &Key,
    request: CreateRequest,
    gone: oneshot::Receiver<()>,
) -> Result<u32, Error> {
    let (namespace, id) = key;
    if inner.tasks().contains_key(key) {
        return Err(Error::AlreadyExists { what: "task", id: id.clone() });
    }
    let endpoint =
        request.endpoint.as_ref().map(|(address, version)| Address::of_endpoint(address, *version));
    let endpoint = endpoint
        .transpose()
        .map_err(|error| Error::Invalid { what: "task_api_address", reason: error.to_string() })?;
    let program = match &endpoint {
        // Nobody starts it, and nobody cleans up after it but whoever did.
        Some(_) => Program { path: PathBuf::new(), ours: false },
        None => inner.launcher.binaries.find(&request.runtime, &request.runtime_path)?,
    };
    let options = options_of(inner, &request);
    let group = match &request.sandbox {
        _ if endpoint.is_some() => id.clone(),
        Some(sandbox) => sandbox.clone(),
        None if program.ours => group(&request.config)?.unwrap_or_else(|| id.clone()),
        None => id.clone(),
    };
    let parts = Parts {
        config: Some(request.config),
        options: options.clone(),
        sandbox: request.sandbox.clone(),
        program,
        group: group.clone(),
    };
    let message = CreateTaskRequest {
        id: id.clone(),
        bundle: inner.place.path(namespace, id).display().to_string(),
        rootfs: request.rootfs,
        terminal: request.terminal,
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        checkpoint: request.checkpoint,
        parent_checkpoint: String::new(),
        options,
    };
    let lock_key = (namespace.clone(), group);
    let mut guard = inner.groups.lock(&lock_key).await;
    let shim = match guard.clone().filter(|shim| !shim.is_dead()) {
        Some(shim) => join(inner, key, parts, &shim).await.map(|()| shim),
        None if endpoint.is_some() => start(inner, key, parts, endpoint).await,
        None if request.sandbox.is_some() => {
            let reason = format!("sandbox {:?} does not run", lock_key.1);
            Err(Error::Invalid { what: "sandbox", reason })
        }
        None => start(inner, key, parts, None).await,
    };
    let shim = match shim {
        Ok(shim) => shim,
        Err(error) => {
            // The bundle could not be made, and the others of the group still have their shim.
            let empty = guard.as_ref().is_none_or(|shim| shim.is_dead());
            inner.groups.release(&lock_key, guard, empty);
            return Err(error);
        }
    };
    // Before it is in the list: who comes into the group must not find it ending.
    shim.enter(id, 0);
    *guard = Some(Arc::clone(&shim));
    inner.groups.release(&lock_key, guard, false);
    hit("create.joined");
    let made = tokio::select! {
        made = shim.call::<CreateTaskResponse>(id, method::CREATE, &message, None) => made,
        _ = gone => Err(Error::Cancelled { id: id.clone(), method: method::CREATE }),
    };
    match made {
        Ok(made) => {
            hit("create.answered");
            inner.insert(key.clone(), &shim, made.pid);
            hit("create.recorded");
            Ok(made.pid)
        }
        Err(error) => {
            let error = match (error, shim.reason().await) {
                (Error::Lost { .. }, Some(reason)) => {
                    Error::Start { program: shim.program.path.clone(), reason }
                }
                (error, _) => error,
            };
            // What was begun; that there is nothing is the ordinary case.
            let request = DeleteRequest { id: id.clone(), ..Default::default() };
            let undone: Result<DeleteResponse, Error> =
                shim.call(id, method::DELETE, &request, Some(inner.limits.undo)).await;
            let left = match undone {
                Err(Error::Timeout { .. } | Error::Lost { .. }) => Left::Something,
                _ => Left::Nothing,
            };
            leave(inner, key, &shim, left).await;
            Err(error)
        }
    }
}

/// What a bundle is made of, for another thread.
pub(crate) struct Parts {
    pub(crate) config: Option<Vec<u8>>,
    pub(crate) options: Option<Any>,
    pub(crate) sandbox: Option<String>,
    pub(crate) program: Program,
    pub(crate) group: String,
}

impl Parts {
    /// What its shim is started with.
    fn launch<'a>(&'a self, key: &'a Key, bundle: &'a Path) -> Launch<'a> {
        Launch {
            namespace: &key.0,
            id: &key.1,
            bundle,
            group: &self.group,
            options: self.options.as_ref(),
            socket: None,
        }
    }

    fn make(&self, place: &Place, key: &Key, address: Option<&Address>) -> Result<PathBuf, Error> {
        let contents = Contents {
            config: self.config.as_deref(),
            options: self.options.as_ref(),
            sandbox: self.sandbox.as_deref(),
            binary: &self.program.path,
            group: &self.group,
            address,
        };
        place.make(&key.0, &key.1, &contents)
    }
}

/// Makes the bundle of a container that comes into a shim.
async fn join(inner: &Arc<Inner>, key: &Key, parts: Parts, shim: &Arc<Shim>) -> Result<(), Error> {
    let (inner, key, address) = (Arc::clone(inner), key.clone(), shim.address.clone());
    let make = move || parts.make(&inner.place, &key, Some(&address)).map(drop);
    tokio::task::spawn_blocking(make).await.map_err(|_| Error::Panicked)?
}

/// Makes a bundle, starts its shim, and watches that. Nothing is left if it cannot be started.
pub(crate) async fn start(
    inner: &Arc<Inner>,
    key: &Key,
    parts: Parts,
    endpoint: Option<Address>,
) -> Result<Arc<Shim>, Error> {
    let started = match endpoint {
        Some(address) => start_foreign(inner, key, parts, Some(address)).await,
        None if parts.program.ours => start_ours(inner, key, parts).await,
        None => start_foreign(inner, key, parts, None).await,
    };
    let (started, parts) = match started {
        Ok(started) => started,
        Err(error) => {
            inner.remove_bundle(key.0.clone(), key.1.clone()).await;
            return Err(error);
        }
    };
    let (client, address, child) = connected(started).await?;
    let Parts { options, program, group, .. } = parts;
    Ok(adopt(inner, key.0.clone(), group, program, options, address, client, child))
}

/// On one thread from the first directory to the connection: this is the way of every container.
async fn start_ours(inner: &Arc<Inner>, key: &Key, parts: Parts) -> Result<(Started, Parts), Error> {
    let (inner, key) = (Arc::clone(inner), key.clone());
    let start = move || {
        let address = inner.launcher.address(&key.0, &parts.group);
        let bundle = parts.make(&inner.place, &key, Some(&address))?;
        let launch = parts.launch(&key, &bundle);
        let started = inner.launcher.start_ours(&parts.program, &launch)?;
        Ok((started, parts))
    };
    tokio::task::spawn_blocking(start).await.map_err(|_| Error::Panicked)?
}

/// `endpoint` is somebody who serves already.
async fn start_foreign(
    inner: &Arc<Inner>,
    key: &Key,
    parts: Parts,
    endpoint: Option<Address>,
) -> Result<(Started, Parts), Error> {
    let (bundle, parts) = {
        let (inner, key) = (Arc::clone(inner), key.clone());
        let make = move || parts.make(&inner.place, &key, None).map(|bundle| (bundle, parts));
        tokio::task::spawn_blocking(make).await.map_err(|_| Error::Panicked)??
    };
    let launch = parts.launch(key, &bundle);
    let started = match endpoint {
        Some(address) => Launcher::reach(address).await?,
        None => inner.launcher.start_foreign(&parts.program, &launch).await?,
    };
    let (inner, address) = (Arc::clone(inner), started.address.clone());
    let write = move || inner.place.set_address(&bundle, &address);
    tokio::task::spawn_blocking(write).await.map_err(|_| Error::Panicked)??;
    hit("foreign.addressed");
    Ok((started, parts))
}

/// Takes a connected shim among ours.
#[expect(clippy::too_many_arguments, reason = "what a shim is made of")]
pub(crate) fn adopt(
    inner: &Arc<Inner>,
    namespace: Namespace,
    group: String,
    program: Program,
    options: Option<Any>,
    address: Address,
    client: Client,
    child: Option<std::process::Child>,
) -> Arc<Shim> {
    let shim = Shim::new(inner.limits, namespace, group, program, options, address, client.clone());
    tokio::spawn(watch(Arc::clone(inner), Arc::clone(&shim), client, child));
    shim
}

/// What a shim leaves of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It has removed it.
    Nothing,
    /// It hangs, is gone, or does not know it: its binary has to remove it.
    Something,
}

impl Left {
    /// What a shim leaves of a container that it says it does not know. Ours has taken up what its records say before it says that.
    pub(crate) fn unknown_to(shim: &Shim) -> Self {
        if shim.program.ours { Self::Nothing } else { Self::Something }
    }
}

/// Takes a container out of its shim, ends that if it was the last one, and removes the bundle.
pub(crate) async fn leave(inner: &Arc<Inner>, key: &Key, shim: &Arc<Shim>, left: Left) {
    inner.note_deletion(key.clone()).await;
    hit("delete.noted");
    let lock_key = (shim.namespace.clone(), shim.group.clone());
    let mut guard = inner.groups.lock(&lock_key).await;
    if shim.leave(&key.1) {
        shim.shut_down(&key.1).await;
        if shim.program.ours
            && let Some(socket) = shim.address.socket()
        {
            let owned = Owned {
                namespace: key.0.clone(),
                id: key.1.clone(),
                bundle: inner.place.path(&key.0, &key.1),
                group: shim.group.clone(),
                options: shim.options.clone(),
                socket: None,
            };
            finish(inner, &shim.program, owned, &socket).await;
        }
        if guard.as_ref().is_some_and(|current| Arc::ptr_eq(current, shim)) {
            *guard = None;
        }
    }
    hit("shim.ended");
    let empty = guard.is_none();
    inner.groups.release(&lock_key, guard, empty);
    match left {
        Left::Nothing => inner.remove_bundle(key.0.clone(), key.1.clone()).await,
        Left::Something => {
            let owned = Owned {
                namespace: key.0.clone(),
                id: key.1.clone(),
                bundle: inner.place.path(&key.0, &key.1),
                group: shim.group.clone(),
                options: shim.options.clone(),
                socket: None,
            };
            clean(inner, &shim.program, owned, 0, || {}).await;
        }
    }
}

/// The group that a configuration names.
///
/// # Errors
/// InvalidArgument for what is no configuration.
fn group(config: &[u8]) -> Result<Option<String>, Error> {
    #[derive(Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: Option<BTreeMap<String, String>>,
    }
    let config: Annotated = serde_json::from_slice(config)
        .map_err(|error| Error::Invalid { what: "container.Spec", reason: error.to_string() })?;
    let annotations = config.annotations.unwrap_or_default();
    Ok(GROUP_ANNOTATIONS
        .iter()
        .find_map(|name| annotations.get(*name))
        .filter(|name| !name.is_empty())
        .cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_by_annotations() {
        let table = [
            ("{}", None),
            (r#"{"annotations":null}"#, None),
            (r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"p"},"process":{"args":["a"]}}"#, Some("p")),
            (
                r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"p","io.containerd.runc.v2.group":"g"}}"#,
                Some("g"),
            ),
        ];
        for (config, expected) in table {
            assert_eq!(group(config.as_bytes()).unwrap().as_deref(), expected, "{config}");
        }
        assert_eq!(group(b"{").unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[tokio::test]
    async fn locks_go_with_their_last_user() {
        let locks = Locks::<()>::default();
        let key: Key = ("n".parse().unwrap(), "a".into());
        let guard = locks.lock(&key).await;
        assert_eq!(locks.all().len(), 1);
        locks.release(&key, guard, true);
        assert!(locks.all().is_empty());
    }
}
