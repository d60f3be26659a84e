//! A shim as the daemon holds it: its connection, who is in it, and what happens when it dies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gantry_proto_shim::any::Any;
use gantry_proto_shim::task::{SERVICE_V2, SERVICE_V3, ShutdownRequest, method};
use gantry_proto_shim::{Message, sandbox};
use gantry_ttrpc::client::Options as CallOptions;
use gantry_types::Namespace;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

use crate::address::Address;
use crate::binary::Program;
use crate::burial::{Lost, bury};
use crate::client::{CallError, Client};
use crate::launch::{Launch, Launcher, Started, said};
use crate::tasks::Inner;
use crate::{Error, Limits, Refusal};

/// The metadata that says whose call it is.
pub(crate) const NAMESPACE: &str = "containerd-namespace-ttrpc";
/// A shim that dies so often in so short a time is given up.
const REVIVALS: usize = 3;
const REVIVALS_WITHIN: Duration = Duration::from_secs(10);
/// How long a shim whose connection has ended may take to be dead, if it is dying.
const DYING: Duration = Duration::from_millis(200);
const DYING_PAUSE: Duration = Duration::from_millis(2);

/// Where a shim stands.
#[derive(Debug, Clone)]
enum State {
    Live(Client),
    /// It died, and is started again.
    Reviving,
    /// It ended for good, and a container that it left may still run: nobody can say more of it before it is removed.
    Burying(Arc<str>),
    /// It ended, and why.
    Dead(Arc<str>),
}

/// Who is in a shim.
#[derive(Debug, Default)]
struct Members {
    /// Containers, and their first processes.
    pids: BTreeMap<String, u32>,
    /// Containers that ended with the shim.
    lost: BTreeMap<String, Lost>,
    revived: VecDeque<Instant>,
}

/// A shim. What is in it are the containers of one group.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) limits: Limits,
    pub(crate) namespace: Namespace,
    pub(crate) group: String,
    pub(crate) program: Program,
    pub(crate) options: Option<Any>,
    pub(crate) address: Address,
    /// Of the Task service: 3, or 2.
    version: AtomicI32,
    state: watch::Sender<State>,
    members: Mutex<Members>,
    /// Its end is wanted.
    ending: AtomicBool,
    /// It is left to itself.
    let_go: AtomicBool,
    /// It has answered a call.
    answered: AtomicBool,
    /// Where it says why it cannot begin, until it has answered.
    errors: Mutex<Option<ChildStderr>>,
    /// Its process, if it is known.
    process: Mutex<Option<OwnedFd>>,
}

impl Shim {
    pub(crate) fn new(
        limits: Limits,
        namespace: Namespace,
        group: String,
        program: Program,
        options: Option<Any>,
        address: Address,
        client: Client,
    ) -> Arc<Self> {
        let version = AtomicI32::new(address.version);
        let (state, _) = watch::channel(State::Live(client));
        let members = Mutex::default();
        Arc::new(Self {
            limits,
            namespace,
            group,
            program,
            options,
            address,
            version,
            state,
            members,
            ending: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            errors: Mutex::default(),
            process: Mutex::default(),
        })
    }

    /// Notes which process it is: a child that was not reaped, or one that has just said so.
    pub(crate) fn set_process(&self, pid: u32) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let opened = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = opened;
    }

    /// Kills it if it is one of ours that nobody is in.
    fn end_by_force(&self, id: &str) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let killed = process
            .as_ref()
            .filter(|_| self.program.ours && self.is_empty())
            .is_some_and(|process| pidfd_send_signal(process, Signal::KILL).is_ok());
        tracing::warn!(container = id, killed, "the shim does not end");
    }

    fn errors(&self) -> MutexGuard<'_, Option<ChildStderr>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it is dead, once it is; nothing for one that lives.
    pub(crate) async fn reason(&self) -> Option<String> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Reviving)).await.ok()?;
        match &*settled {
            State::Burying(reason) | State::Dead(reason) => Some(reason.to_string()),
            _ => None,
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a container is in it.
    pub(crate) fn enter(&self, id: &str, pid: u32) {
        self.members().pids.insert(id.to_owned(), pid);
    }

    /// Notes that a container is no longer in it; whether nobody is left.
    pub(crate) fn leave(&self, id: &str) -> bool {
        let mut members = self.members();
        members.pids.remove(id);
        members.lost.remove(id);
        members.pids.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members().pids.is_empty()
    }

    pub(crate) fn containers(&self) -> BTreeSet<String> {
        self.members().pids.keys().cloned().collect()
    }

    /// The first process of a container, as far as it is known.
    pub(crate) fn pid(&self, id: &str) -> u32 {
        self.members().pids.get(id).copied().unwrap_or_default()
    }

    pub(crate) fn is_dead(&self) -> bool {
        matches!(*self.state.borrow(), State::Dead(_))
    }

    /// The version of its Task service.
    pub(crate) fn version(&self) -> i32 {
        self.version.load(Ordering::Relaxed)
    }

    /// The connection, once there is one.
    async fn client(&self, id: &str) -> Result<Client, Error> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Reviving)).await;
        match settled.as_deref() {
            Ok(State::Live(client)) => Ok(client.clone()),
            Ok(State::Burying(reason) | State::Dead(reason)) => Err(lost(id, reason)),
            Ok(State::Reviving) | Err(_) => Err(lost(id, "it is being started again")),
        }
    }

    /// Calls a method of the Task service for a container.
    ///
    /// # Errors
    /// What the shim says; Unavailable when it dies before it answers.
    pub(crate) async fn call<B: Message + Default>(
        &self,
        id: &str,
        name: &'static str,
        request: &impl Message,
        timeout: Option<Duration>,
    ) -> Result<B, Error> {
        let client = self.client(id).await?;
        let answer = self.call_task(&client, name, request, timeout).await;
        decoded(id, name, answer)
    }

    /// The same for a method that changes nothing, or nothing twice: it is called again when the shim dies meanwhile.
    pub(crate) async fn ask<B: Message + Default>(
        &self,
        id: &str,
        name: &'static str,
        request: &impl Message,
        timeout: Option<Duration>,
    ) -> Result<B, Error> {
        loop {
            let client = self.client(id).await?;
            match self.call_task(&client, name, request, timeout).await {
                Err(CallError::Closed) => self.outlived(&client).await,
                answer => return decoded(id, name, answer),
            }
        }
    }

    /// Waits until the end of a connection has been noticed.
    async fn outlived(&self, client: &Client) {
        client.ended().await;
        let mut state = self.state.subscribe();
        // The supervisor changes the state after it has seen the same.
        let changed = |state: &State| match state {
            State::Live(current) => !current.is(client),
            State::Reviving | State::Burying(_) | State::Dead(_) => true,
        };
        let _ = state.wait_for(changed).await;
    }

    async fn call_task(
        &self,
        client: &Client,
        name: &str,
        request: &impl Message,
        timeout: Option<Duration>,
    ) -> Result<Vec<u8>, CallError> {
        let answer = self.call_version(client, name, request, timeout).await;
        if matches!(answer, Ok(_) | Err(CallError::Status(_))) && !self.answered.swap(true, Ordering::SeqCst)
        {
            *self.errors() = None;
        }
        answer
    }

    async fn call_version(
        &self,
        client: &Client,
        name: &str,
        request: &impl Message,
        timeout: Option<Duration>,
    ) -> Result<Vec<u8>, CallError> {
        let options = self.call_options(timeout);
        let payload = request.encode_to_vec();
        if self.version() >= 3 {
            let answer = client.call(SERVICE_V3, name, payload.clone(), &options).await;
            match answer {
                // It says 3, and serves 2.
                Err(error) if error.is_unimplemented() && !is_rare(name) => {
                    let answer = client.call(SERVICE_V2, name, payload, &options).await;
                    if answer.is_ok() {
                        self.version.store(2, Ordering::Relaxed);
                    }
                    answer
                }
                answer => answer,
            }
        } else {
            client.call(SERVICE_V2, name, payload, &options).await
        }
    }

    fn call_options(&self, timeout: Option<Duration>) -> CallOptions {
        let options = CallOptions::default().metadata(NAMESPACE, self.namespace.as_str());
        match timeout {
            Some(timeout) => options.timeout(timeout),
            None => options,
        }
    }

    /// Calls a method of the Sandbox service.
    ///
    /// # Errors
    /// As those of [`call`](Self::call).
    pub(crate) async fn call_sandbox<B: Message + Default>(
        &self,
        id: &str,
        name: &'static str,
        request: &impl Message,
        timeout: Option<Duration>,
    ) -> Result<B, Error> {
        loop {
            let client = self.client(id).await?;
            let options = self.call_options(timeout);
            let payload = request.encode_to_vec();
            match client.call(sandbox::SERVICE, name, payload, &options).await {
                Err(CallError::Closed) if name == sandbox::method::WAIT_SANDBOX => {
                    self.outlived(&client).await;
                }
                answer => return decoded(id, name, answer),
            }
        }
    }

    /// How a container ended that ended with the shim, once that is known; nothing of one that was never in it.
    pub(crate) async fn lost(&self, id: &str) -> Option<Lost> {
        let lost = || self.members().lost.get(id).cloned();
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| matches!(state, State::Dead(_)) || lost().is_some()).await;
        lost()
    }

    /// Notes how a container ended that ended with the shim, and tells those who wait for that.
    pub(crate) fn note_lost(&self, lost: Lost) {
        self.members().lost.insert(lost.id.clone(), lost);
        self.state.send_modify(|_| {});
    }

    /// From now on nobody waits for an answer, but for the ends of its containers.
    pub(crate) fn note_burial(&self, reason: &str) {
        self.state.send_replace(State::Burying(reason.into()));
    }

    /// Nothing is left of it.
    pub(crate) fn note_death(&self, reason: &str) {
        self.state.send_replace(State::Dead(reason.into()));
    }

    /// Asks it to end; one that has containers stays. Returns when the connection has ended, or after a time.
    pub(crate) async fn shut_down(&self, id: &str) {
        if self.ending.swap(true, Ordering::SeqCst) {
            return;
        }
        let Ok(client) = self.client(id).await else { return };
        let request = ShutdownRequest { id: id.to_owned(), now: false };
        let limit = self.limits.shutdown;
        let answer = self.call_task(&client, method::SHUTDOWN, &request, Some(limit)).await;
        match answer {
            // Others may share it, which it knows and we do not.
            Ok(_) if !self.program.ours => {}
            Ok(_) | Err(CallError::Closed) => {
                if tokio::time::timeout(limit, client.ended()).await.is_err() {
                    self.end_by_force(id);
                }
            }
            Err(CallError::Timeout(_)) => self.end_by_force(id),
            Err(error) => tracing::warn!(container = id, %error, "the shim cannot be shut down"),
        }
        client.close();
    }

    /// From now on its end is no accident.
    pub(crate) fn expect_end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// Waits until an end that was asked for has come; not for ever.
    pub(crate) async fn await_end(&self, id: &str) {
        let Ok(client) = self.client(id).await else { return };
        if tokio::time::timeout(self.limits.shutdown, client.ended()).await.is_err() {
            self.end_by_force(id);
        }
        client.close();
    }

    /// Ends the connection: the shim goes on without us.
    pub(crate) fn let_go(&self) {
        self.let_go.store(true, Ordering::SeqCst);
        if let State::Live(client) = &*self.state.borrow() {
            client.close();
        }
    }
}

/// Whether shims may lack a method in all versions.
fn is_rare(name: &str) -> bool {
    [method::CHECKPOINT, method::UPDATE, method::STATS].contains(&name)
}

fn lost(id: &str, reason: &str) -> Error {
    Error::Lost { id: id.to_owned(), reason: reason.to_owned() }
}

fn decoded<B: Message + Default>(
    id: &str,
    method: &'static str,
    answer: Result<Vec<u8>, CallError>,
) -> Result<B, Error> {
    let id = || id.to_owned();
    match answer {
        Ok(bytes) => B::decode(&*bytes).map_err(|_| Error::Answer { id: id(), method }),
        Err(CallError::Status(status)) => Err(Error::Shim(Refusal(status))),
        Err(CallError::Timeout(limit)) => Err(Error::Timeout { id: id(), method, limit }),
        Err(CallError::Closed) => Err(lost(&id(), "it ended before it answered")),
        Err(CallError::Request(error)) => {
            Err(Error::TooLarge { id: id(), method, reason: error.to_string() })
        }
    }
}

/// Watches a shim until its end. `child` is reaped.
pub(crate) async fn watch(inner: Arc<Inner>, shim: Arc<Shim>, client: Client, child: Option<Child>) {
    let (mut client, mut child) = (client, child);
    loop {
        if let Some(child) = &mut child {
            shim.set_process(child.id());
            *shim.errors() = child.stderr.take();
        }
        client.ended().await;
        if shim.let_go.load(Ordering::SeqCst) {
            // It lives on; who comes after us is not its parent either.
            return;
        }
        if !shim.ending.load(Ordering::SeqCst) {
            shim.state.send_replace(State::Reviving);
            if let Some(again) = reconnect(&shim, child.as_mut()).await {
                tracing::warn!(namespace = %shim.namespace, group = shim.group, "the connection to a shim broke, and was made anew");
                shim.state.send_replace(State::Live(again.clone()));
                client = again;
                continue;
            }
        }
        let how = obituary(&shim, child.take()).await;
        if shim.ending.load(Ordering::SeqCst) {
            shim.state.send_replace(State::Dead("it was shut down".into()));
            return;
        }
        tracing::warn!(namespace = %shim.namespace, group = shim.group, "a shim has died: {how}");
        if !shim.answered.swap(false, Ordering::SeqCst) && !inner.has_any(&shim) {
            // Who wanted it is told. One that was started again has containers, whether it was asked for anything or not.
            shim.state.send_replace(State::Dead(how.into()));
            return;
        }
        shim.state.send_replace(State::Reviving);
        if shim.program.ours && may_revive(&shim) {
            match revive(&inner, &shim).await {
                Ok((newer, started)) => {
                    tracing::info!(namespace = %shim.namespace, group = shim.group, "a shim was started again");
                    shim.state.send_replace(State::Live(newer.clone()));
                    (client, child) = (newer, started);
                    continue;
                }
                Err(error) => {
                    tracing::error!(namespace = %shim.namespace, group = shim.group, %error, "a shim cannot be started again");
                }
            }
        }
        bury(&inner, &shim).await;
        return;
    }
}

/// Connects to a shim that lives on though the connection has ended.
async fn reconnect(shim: &Shim, child: Option<&mut Child>) -> Option<Client> {
    let deadline = Instant::now() + DYING;
    match child {
        Some(child) => loop {
            match child.try_wait() {
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(DYING_PAUSE).await,
                Ok(None) => break,
                _ => return None,
            }
        },
        // It may be about to be gone, with the connection first and the socket after that.
        None => tokio::time::sleep(DYING_PAUSE).await,
    }
    Client::reach(&shim.address).await.ok()
}

/// Reaps a shim that has ended, if it is our child, and says how it ended and what it said.
async fn obituary(shim: &Arc<Shim>, child: Option<Child>) -> String {
    let Some(mut child) = child else { return "its connection ended".to_owned() };
    let errors = shim.errors().take();
    let reap = move || {
        let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        match errors.map(said).filter(|said| !said.is_empty()) {
            Some(said) => format!("{status}: {said}"),
            None => status,
        }
    };
    tokio::task::spawn_blocking(reap).await.unwrap_or_else(|_| "its connection ended".to_owned())
}

fn may_revive(shim: &Shim) -> bool {
    let mut members = shim.members();
    let now = Instant::now();
    members.revived.retain(|at| now.duration_since(*at) < REVIVALS_WITHIN);
    members.revived.push_back(now);
    members.revived.len() <= REVIVALS
}

/// Starts another shim for the group, which adopts what the last one left.
async fn revive(inner: &Arc<Inner>, shim: &Arc<Shim>) -> Result<(Client, Option<Child>), Error> {
    let Some(id) = shim.containers().into_iter().next() else {
        return Err(lost(&shim.group, "it has no containers"));
    };
    let owned = Owned {
        namespace: shim.namespace.clone(),
        bundle: inner.place.path(&shim.namespace, &id),
        id,
        group: shim.group.clone(),
        options: shim.options.clone(),
        socket: None,
    };
    let (client, _, child) = open(&inner.launcher, &shim.program, owned).await?;
    Ok((client, child))
}

/// What a launch is for, for another thread.
#[derive(Debug, Clone)]
pub(crate) struct Owned {
    pub(crate) namespace: Namespace,
    pub(crate) id: String,
    pub(crate) bundle: std::path::PathBuf,
    pub(crate) group: String,
    pub(crate) options: Option<Any>,
    /// Where one of ours is to serve, if not at its group's place.
    pub(crate) socket: Option<std::path::PathBuf>,
}

impl Owned {
    pub(crate) fn launch(&self) -> Launch<'_> {
        Launch {
            namespace: &self.namespace,
            id: &self.id,
            bundle: &self.bundle,
            group: &self.group,
            options: self.options.as_ref(),
            socket: self.socket.as_deref(),
        }
    }
}

/// Starts a shim of either kind, and connects to it.
pub(crate) async fn open(
    launcher: &Arc<Launcher>,
    program: &Program,
    owned: Owned,
) -> Result<(Client, Address, Option<Child>), Error> {
    let started = if program.ours {
        let (launcher, program) = (Arc::clone(launcher), program.clone());
        let start = move || launcher.start_ours(&program, &owned.launch());
        tokio::task::spawn_blocking(start).await.map_err(|_| Error::Panicked)??
    } else {
        launcher.start_foreign(program, &owned.launch()).await?
    };
    connected(started).await
}

/// The parts of a shim that was started.
pub(crate) async fn connected(started: Started) -> Result<(Client, Address, Option<Child>), Error> {
    let Started { address, child, stream } = started;
    let failed = || Error::file("connecting to", &address.address);
    let stream = tokio::net::UnixStream::from_std(stream).map_err(failed())?;
    let client = Client::of(address.protocol(), stream).await.map_err(failed())?;
    Ok((client, address, child))
}
