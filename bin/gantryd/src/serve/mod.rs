//! `gantryd serve`: from the settings to a daemon, and to its end.
//!
//! ```text
//!   settings ─► log, traces ─► place ─► sockets ─► store ─► READY
//!                                            │  SIGHUP: settings again
//!                                            │  SIGUSR2: the binary again, with the same sockets (upgrade.rs)
//!                     SIGTERM ─► STOPPING ───┴─► health says so, requests end (a time limit) ─► store is durable
//! ```
//! With the machine, containers end before (machine.rs). A second SIGTERM ends it at once: whatever that leaves, the next start puts right.

mod docker;
mod idle;
mod incoming;
mod log;
mod machine;
mod manager;
mod metrics;
pub(crate) mod place;
pub(crate) mod settings;
mod socket;
pub(crate) mod store;
mod tasks;
mod traces;
mod upgrade;

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::Stream;
use gantry_config::Config;
use gantry_config::docker::DockerDaemon;
use gantry_door_containerd::{About, Door, Limits, Proxy, serve_events};
use gantry_primitives::{Access, Store};
use gantry_types::ErrorKind;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::log::Log;
use self::manager::Manager;
use self::metrics::Metrics;
use self::place::Place;
use self::settings::Settings;
use self::socket::{Remove, Socket};
use self::traces::{Traced, Traces};
use self::upgrade::Upgrade;
use crate::command::Options;

pub(crate) use gantry_door_containerd::VERSION as API_VERSION;

/// Requests wait for disks and networks elsewhere: two threads are enough to move them.
const WORKERS: usize = 2;
/// The most threads that wait for disks, decompress or unpack. Each request has one while it works: with too few, a client that
/// unpacks much would hold up all others.
const MAX_BLOCKING_THREADS: usize = 256;
/// After which a thread without work ends: its stack and its share of the heap go with it.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// What is not used of it costs nothing. Without optimisation, pulls need half of it.
const THREAD_STACK_BYTES: usize = 2 << 20;
/// glibc's heaps.
const ARENAS: i32 = 2;
/// How long requests have to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// How long threads that wait for a disk have after that.
const THREAD_GRACE: Duration = Duration::from_secs(5);
/// The most time that a container has to end when the machine goes down; the unit gives the daemon a little more.
const MACHINE_GRACE: Duration = Duration::from_secs(60);
/// How long nothing is accepted after an error in accepting.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// From which commit this was built; set by whoever builds a release.
const REVISION: Option<&str> = option_env!("GANTRY_REVISION");

/// Prints the configuration that holds without a file.
pub(crate) fn print_default() -> Result<()> {
    print!("{}", gantry_config::Config::default().dump());
    Ok(())
}

/// Prints the configuration that the file and the flags make; what is ignored of it goes to standard error.
pub(crate) fn print_config(options: &Options) -> Result<()> {
    let settings = Settings::load(options)?;
    for ignored in &settings.ignored {
        eprintln!("{}:{}: {} has no counterpart", ignored.path.display(), ignored.line, ignored.key);
    }
    print!("{}", settings.config.dump());
    Ok(())
}

/// Has the daemon of the root execute its binary again.
pub(crate) fn upgrade(options: &Options) -> Result<()> {
    let settings = Settings::load(options)?;
    let pid = place::holder(&settings.config.store.root)?;
    gantry_sys::process::kill(pid, upgrade::SIGUSR2)
        .with_context(|| format!("cannot signal process {pid}"))?;
    println!("process {pid} was asked to execute its binary again");
    Ok(())
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(options: &Options) -> Result<()> {
    gantry_sys::process::limit_arenas(ARENAS);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let settings = Settings::load(options)?;
    let config = &settings.config;
    let (traces, refused) = match Traces::start(&config.tracing) {
        Ok(traces) => (traces, None),
        Err(error) => (None, Some(error)),
    };
    let log = Log::start(config.debug.level, config.debug.format, traces.as_ref())?;
    report(&settings);
    if let Some(error) = refused {
        tracing::warn!(error = format!("{error:#}"), "no traces are sent");
    }
    let place = Place::take(&config.store.root, settings.state())?;
    let daemon = docker::read(config)?;
    let sockets = Sockets::open(config, &daemon)?;
    let mut next = Upgrade::prepare(&sockets)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .thread_stack_size(THREAD_STACK_BYTES)
        .thread_name("gantryd")
        .enable_all()
        .build()
        .context("cannot start threads")?;
    if let Some(traces) = &traces {
        traces.run_on(runtime.handle());
    }
    let root = config.store.root.clone();
    let result = runtime.block_on(serve(options, settings, log, &place, &daemon, sockets, &mut next));
    if let (Some(traces), Ok(_)) = (traces, &result) {
        traces.end();
    }
    runtime.shutdown_timeout(THREAD_GRACE);
    match result.map_err(|error| with_next_step(error, &root))? {
        Ended::ForGood => Ok(()),
        Ended::ForNext => next.execute(),
    }
}

/// Says what is to be done about a damaged database.
fn with_next_step(error: anyhow::Error, root: &Path) -> anyhow::Error {
    let of_database = |cause: &gantry_primitives::Error| match cause {
        gantry_primitives::Error::Metadata(error) => error.kind() == ErrorKind::DataLoss,
        _ => false,
    };
    if !error.chain().filter_map(|cause| cause.downcast_ref()).any(of_database) {
        return error;
    }
    anyhow!("{error:#}: `gantryd repair --root {}` says what can be kept", root.display())
}

/// What comes after the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    ForGood,
    /// Its binary, once more.
    ForNext,
}

/// Says what was read, and what of it means nothing here or in this build.
fn report(settings: &Settings) {
    for file in &settings.files {
        tracing::info!(file = %file.display(), "read the configuration");
    }
    for ignored in &settings.ignored {
        let (file, line) = (ignored.path.display(), ignored.line);
        tracing::warn!(%file, line, key = %ignored.key, "a key of containerd's without a counterpart is ignored");
    }
    if settings.config.debug.address.is_some() {
        tracing::warn!(key = "debug.address", "has no effect in this build");
    }
}

/// Where the daemon listens.
struct Sockets {
    /// Clients.
    grpc: Socket,
    /// Shims that have events.
    events: Socket,
    /// Clients of Docker's API.
    docker: docker::Doors,
}

impl Sockets {
    fn open(config: &Config, daemon: &DockerDaemon) -> Result<Self> {
        let mut given = socket::given();
        let (grpc, ttrpc) = (&config.grpc, &config.ttrpc);
        Ok(Self {
            grpc: Socket::open(&grpc.address, grpc.uid, grpc.gid, &mut given)?,
            events: Socket::open(&config.ttrpc_address(), ttrpc.uid, ttrpc.gid, &mut given)?,
            docker: docker::Doors::open(daemon, &mut given)?,
        })
    }
}

/// The connections of a socket, whose file goes with the second.
fn listen(socket: Socket) -> Result<(impl Stream<Item = io::Result<UnixStream>> + Send, Remove)> {
    let (listener, peers, remove) = socket.into_parts();
    Ok((incoming::incoming(Arc::new(UnixListener::from_std(listener)?), peers), remove))
}

async fn serve(
    options: &Options,
    settings: Settings,
    log: Log,
    place: &Place,
    docker: &DockerDaemon,
    sockets: Sockets,
    next: &mut Upgrade,
) -> Result<Ended> {
    let manager = Manager::from_environment();
    let mut signals = Signals::new()?;
    let config = &settings.config;
    let store = store::open(config, Some(&docker.registry)).await?;
    let (serving, ended) = watch::channel(true);
    // Before shims are asked for: they have things to say.
    let (connections, mut remove_events) = listen(sockets.events)?;
    let mut events = tokio::spawn(serve_events(store.clone(), connections, ended.clone()));
    let tasks = tasks::open(config, &store, API_VERSION).await?;
    let metrics = Metrics::new(config.metrics.grpc_histogram, env!("CARGO_PKG_VERSION"));
    let (accesses, access) = watch::channel(store::access(config));
    let engine = docker::open(config, docker, &store, &tasks, access.clone()).await?;
    let builder = gantry_build::Builder::open(engine.clone()).await.context("cannot open the builder")?;
    let docker_door = gantry_door_docker::Door {
        engine: engine.clone(),
        builder,
        about: Arc::new(docker::about(config, docker, &place.uuid, REVISION.unwrap_or_default())),
        limits: gantry_door_docker::Limits::default(),
        observer: None,
        serving: ended.clone(),
    };
    let (listeners, mut remove_docker) = sockets.docker.listeners(docker)?;
    let mut docker_served = tokio::spawn(async move { docker_door.serve(listeners).await });
    let door = Door {
        store: store.clone(),
        tasks: tasks.as_ref().clone(),
        about: Arc::new(about(&settings, place)?),
        observer: Arc::new(Traced(metrics.clone())),
        serving: ended,
        access,
        uploads: config.pull.max_concurrent_uploads.max(1) as usize,
        limits: Limits {
            receive_bytes: store::bytes(config.grpc.max_recv_message_size),
            send_bytes: store::bytes(config.grpc.max_send_message_size),
        },
    };
    let (connections, mut remove) = listen(sockets.grpc)?;
    let mut served = tokio::spawn(async move { door.serve(connections).await });
    let trimming = tokio::spawn(idle::trim(metrics.activity.clone()));
    let address = config.metrics.address;
    let mut figures = tokio::spawn(async move {
        match address {
            Some(address) => metrics::serve(metrics, address).await,
            None => pending().await,
        }
    });
    tracing::info!(address = %config.grpc.address.display(), root = %config.store.root.display(), "serving");
    manager.ready("serving");
    let mut daemon = Daemon { options, settings: settings.clone(), log, manager, accesses, store };
    let ended = loop {
        tokio::select! {
            heard = signals.next() => match heard {
                Heard::End => break Ok(Ended::ForGood),
                Heard::Reload => daemon.reload(),
                Heard::Upgrade => match next.check().await {
                    Ok(()) => break Ok(Ended::ForNext),
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "the binary cannot take over: this one stays");
                    }
                },
            },
            result = &mut served => {
                let result = result.context("the server panicked")?;
                break result.context("the server failed").map(|()| Ended::ForGood);
            }
            result = &mut events => {
                break result.context("the receiver of events panicked").map(|()| Ended::ForGood);
            }
            result = &mut docker_served => {
                break result.context("the Docker door panicked").map(|()| Ended::ForGood);
            }
            result = &mut figures => {
                break result.context("the metrics panicked")?.map(|()| Ended::ForGood);
            }
        }
    };
    figures.abort();
    trimming.abort();
    if matches!(ended, Ok(Ended::ForNext)) {
        daemon.manager.reloading();
        // They are the next one's.
        remove.keep();
        remove_events.keep();
        remove_docker.iter_mut().for_each(socket::Remove::keep);
        tracing::info!("ending, for the next binary");
    } else {
        daemon.manager.stopping();
        if ended.is_ok() && machine::is_going_down().await {
            tracing::info!("ending, with the machine");
            tokio::select! {
                () = engine.end_with_machine(MACHINE_GRACE) => {}
                Heard::End = signals.next() => {}
            }
        } else {
            tracing::info!("ending");
        }
    }
    let _ = serving.send(false);
    if !served.is_finished() {
        drain(&mut signals, &mut served).await?;
    }
    if !events.is_finished() {
        drain(&mut signals, &mut events).await?;
    }
    if !docker_served.is_finished() {
        drain(&mut signals, &mut docker_served).await?;
    }
    tasks.let_go();
    let store = daemon.store;
    let closed = tokio::task::spawn_blocking(move || store.close()).await.context("the store panicked")?;
    closed.context("the store could not be made durable")?;
    ended
}

/// Waits until the open requests have ended, for a while.
///
/// # Errors
/// A second signal.
async fn drain<T>(signals: &mut Signals, served: &mut JoinHandle<T>) -> Result<()> {
    let deadline = tokio::time::sleep(GRACE);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            _ = &mut *served => return Ok(()),
            heard = signals.next() => if heard == Heard::End {
                bail!("ended by a second signal");
            },
            () = &mut deadline => {
                tracing::warn!("requests are still open and are cut off");
                served.abort();
                return Ok(());
            }
        }
    }
}

fn about(settings: &Settings, place: &Place) -> Result<About> {
    let mut proxies = BTreeMap::new();
    for (name, plugin) in &settings.config.proxy_plugins {
        let platform = plugin.platform.as_ref().map(|platform| platform.parse()).transpose();
        let mut exports = plugin.exports.clone();
        exports.insert("address".to_owned(), plugin.address.display().to_string());
        let platform = platform.with_context(|| format!("proxy_plugins.{name}.platform"))?;
        let capabilities = plugin.capabilities.clone();
        proxies.insert(name.clone(), Proxy { platform, exports, capabilities });
    }
    Ok(About {
        revision: REVISION.unwrap_or_default().to_owned(),
        uuid: place.uuid.clone(),
        root: settings.config.store.root.clone(),
        state: settings.state().to_owned(),
        proxies,
    })
}

/// What a reload changes.
struct Daemon<'a> {
    options: &'a Options,
    settings: Settings,
    log: Log,
    manager: Manager,
    accesses: watch::Sender<Access>,
    store: Store,
}

impl Daemon<'_> {
    /// Reads the configuration again. One that is wrong changes nothing.
    fn reload(&mut self) {
        self.manager.reloading();
        match Settings::load(self.options) {
            Ok(newer) => {
                report(&newer);
                let late = self.settings.needs_restart(&newer.config);
                if !late.is_empty() {
                    tracing::warn!(changed = late.join(", "), "takes effect at the next start");
                }
                self.log.set(newer.config.debug.level);
                self.accesses.send_replace(store::access(&newer.config));
                self.settings = newer;
                tracing::info!("read the configuration again");
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the configuration stays as it was");
            }
        }
        self.manager.ready("serving");
    }
}

/// The signals that mean something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            user: listen(SignalKind::user_defined2())?,
        })
    }

    /// The next one.
    async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::End,
            _ = self.interrupt.recv() => Heard::End,
            _ = self.hangup.recv() => Heard::Reload,
            _ = self.user.recv() => Heard::Upgrade,
        }
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    End,
    Reload,
    Upgrade,
}
