//! More processes in a container.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use gantry_primitives::Opaque;
use gantry_primitives::tasks::ExecRequest;
use gantry_proto_shim::events::TaskExit;
use gantry_types::ErrorKind;
use gantry_types::oci::{Process, Spec};

use super::streams::{Streams, Wants};
use super::user::{self, Identity};
use super::{Container, start};
use crate::engine::Shared;
use crate::timing::Timings;
use crate::{Engine, Error, Result, names};

/// The type of a process in containerd's messages.
const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// The most execs that are remembered of one container.
const MAX_EXECS: usize = 4096;
const NOT_EXECUTABLE: i32 = 126;
/// Of a process that ended with its container.
const SIGKILLED: i32 = 137;
/// How long an exec that has ended can be asked about at least, and how often it is looked for such: docker's.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// A process to be run in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// `KEY=VALUE` beside the container's.
    pub env: Vec<String>,
    /// As who; empty for the container's.
    pub user: String,
    /// Where; empty for the container's.
    pub working_dir: String,
    /// Whether its streams are a terminal.
    pub tty: bool,
    /// Columns and rows of that; zeros for the kernel's.
    pub console_size: (u16, u16),
    /// All capabilities.
    pub privileged: bool,
    /// Whether its input is the client's.
    pub stdin: bool,
    /// Whether its output is.
    pub stdout: bool,
    /// Whether its error output is.
    pub stderr: bool,
    /// What ends the client's place: for the door alone.
    pub detach_keys: String,
}

/// What an exec does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecState {
    /// Whether it was started.
    pub started: bool,
    /// Whether it runs.
    pub running: bool,
    /// Its process on the host; 0 without one.
    pub pid: u32,
    /// How it ended.
    pub exit_code: Option<i32>,
}

/// An exec.
pub struct Exec {
    /// Its name.
    pub id: String,
    /// Its container's id.
    pub container: String,
    /// What was asked for.
    pub options: ExecOptions,
    of: Arc<Container>,
    /// Who it is to be, if that was said.
    identity: Option<Identity>,
    state: Mutex<ExecState>,
    timings: Mutex<Timings>,
    /// Since when nothing will come of it any more.
    over: Mutex<Option<Instant>>,
    /// Who waits for its end.
    ended: tokio::sync::watch::Sender<bool>,
    taken: AtomicBool,
    /// Whether its client has its place, or never will: before that, its streams have to stay.
    settled: tokio::sync::watch::Sender<bool>,
}

impl Exec {
    /// What it does.
    pub fn state(&self) -> ExecState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the time of its start went.
    pub fn timings(&self) -> Timings {
        self.timings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn step(&self, name: &'static str) {
        self.timings.lock().unwrap_or_else(PoisonError::into_inner).step(name);
    }

    fn change(&self, change: impl FnOnce(&mut ExecState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for its end, and says how it ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wait(&self) -> Option<i32> {
        let mut ended = self.ended.subscribe();
        let _ = ended.wait_for(|ended| *ended).await;
        self.state().exit_code
    }

    fn finish(&self, code: i32) {
        self.change(|state| {
            state.running = false;
            state.pid = 0;
            state.exit_code.get_or_insert(code);
        });
        self.let_go();
        self.ended.send_replace(true);
    }

    /// Its time to be forgotten begins.
    fn let_go(&self) {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    fn is_over_for(&self, time: Duration) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.is_some_and(|since| since.elapsed() >= time)
    }
}

impl Engine {
    fn execs(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Exec>>> {
        self.shared.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a process; its start makes it.
    ///
    /// # Errors
    /// Conflict for a container that does not run; Invalid without a program, and for a user that it does not have.
    pub async fn exec_create(&self, container: &Arc<Container>, options: ExecOptions) -> Result<Arc<Exec>> {
        container.require_running()?;
        if options.cmd.is_empty() {
            return Err(Error::Invalid("No exec command specified".to_owned()));
        }
        let identity = self.exec_identity(container, &options.user).await?;
        let event = container.event(format!("exec_create: {}", options.cmd.join(" ")));
        let exec = Arc::new(Exec {
            id: names::id(),
            container: container.id.clone(),
            options,
            of: Arc::clone(container),
            identity,
            state: Mutex::default(),
            timings: Mutex::default(),
            over: Mutex::default(),
            ended: tokio::sync::watch::Sender::new(false),
            taken: AtomicBool::new(false),
            settled: tokio::sync::watch::Sender::new(false),
        });
        {
            let mut execs = self.execs();
            if execs.values().filter(|other| other.container == container.id).count() >= MAX_EXECS {
                // The oldest that has ended is the least missed; which that is does not matter.
                let ended = execs.values().find(|other| {
                    other.container == container.id && !other.state().running && other.state().started
                });
                match ended.map(|other| other.id.clone()) {
                    Some(id) => drop(execs.remove(&id)),
                    None => return Err(Error::Conflict(format!("{MAX_EXECS} execs run in one container"))),
                }
            }
            execs.insert(exec.id.clone(), Arc::clone(&exec));
        }
        self.announce_exec(event, &exec).await;
        Ok(exec)
    }

    /// Who a user is, by the files that the container has now.
    async fn exec_identity(&self, container: &Arc<Container>, text: &str) -> Result<Option<Identity>> {
        if text.is_empty() {
            return Ok(None);
        }
        // Pinned, and not by the number of a process that may be another one's by now.
        let root = self.pinned_root(container).await?;
        let (text, groups) = (text.to_owned(), container.record().options.process.groups.clone());
        let found = self.blocking("looking up a user", move || user::of(&text, &groups, Some(root.dir())));
        found.await.map(Some)
    }

    async fn announce_exec(&self, mut event: crate::Event, exec: &Exec) {
        event.attributes.insert("execID".to_owned(), exec.id.clone());
        self.announce(&event).await;
    }

    /// An exec by its id.
    ///
    /// # Errors
    /// NotFound.
    pub fn exec(&self, id: &str) -> Result<Arc<Exec>> {
        let found = self.execs().get(id).cloned();
        found.ok_or_else(|| Error::NotFound { what: "exec instance", name: id.to_owned() })
    }

    /// The ids of a container's execs that run.
    pub fn exec_ids(&self, container: &Container) -> Vec<String> {
        let execs = self.execs();
        let own = execs.values().filter(|exec| exec.container == container.id && exec.state().running);
        own.map(|exec| exec.id.clone()).collect()
    }

    /// Starts an exec, and gives its streams if any of them is the client's.
    ///
    /// # Errors
    /// Conflict for one that was started, or whose container does not run; Start for a program that cannot be.
    pub async fn exec_start(&self, exec: &Arc<Exec>) -> Result<Option<Streams>> {
        let container = Arc::clone(&exec.of);
        container.require_running()?;
        if exec.taken.swap(true, Ordering::Relaxed) {
            return Err(Error::Conflict(format!("exec command {} has already run", exec.id)));
        }
        let (engine, exec) = (self.clone(), Arc::clone(exec));
        self.owned("starting an exec", async move {
            let started = engine.run_exec(&container, &exec).await;
            exec.settled.send_replace(true);
            if let Err(error) = &started {
                let code = match error {
                    Error::Start { exit_code, .. } => *exit_code,
                    _ => NOT_EXECUTABLE,
                };
                exec.finish(code);
            }
            started
        })
        .await
    }

    async fn run_exec(&self, container: &Arc<Container>, exec: &Arc<Exec>) -> Result<Option<Streams>> {
        let options = &exec.options;
        *exec.timings.lock().unwrap_or_else(PoisonError::into_inner) = Timings::default();
        let process = self.exec_process(container, exec).await?;
        exec.step("config");
        let attached = |is: bool| if is { "attach:".to_owned() } else { String::new() };
        // One client has all three: what is not asked for is thrown away.
        let any = options.stdin || options.stdout || options.stderr;
        let request = ExecRequest {
            exec: exec.id.clone(),
            stdin: attached(options.stdin),
            stdout: attached(options.stdout || (any && options.tty)),
            stderr: attached(options.stderr && !options.tty),
            terminal: options.tty,
            spec: Some(Opaque { type_url: PROCESS_TYPE.to_owned(), value: process }),
        };
        let tasks = &self.shared.tasks;
        tasks.exec(container.key(), request).await?;
        exec.step("task");
        exec.change(|state| {
            state.started = true;
            state.running = true;
        });
        let pid = match tasks.start(container.key(), exec.id.clone()).await {
            Ok(pid) => pid,
            Err(error) => {
                let _ = tasks.delete_process(container.key(), exec.id.clone()).await;
                return Err(match start::refused(error) {
                    error @ Error::Start { .. } => error,
                    // Whatever it is, the program is none that can be run.
                    error => Error::Start {
                        message: gantry_primitives::chain(&error),
                        exit_code: NOT_EXECUTABLE,
                        kind: error.kind(),
                    },
                });
            }
        };
        exec.step("program");
        exec.change(|state| {
            if state.running {
                state.pid = pid;
            }
        });
        let event = container.event(format!("exec_start: {}", options.cmd.join(" ")));
        let engine = self.clone();
        let told = Arc::clone(exec);
        tokio::spawn(async move { engine.announce_exec(event, &told).await });
        if !any {
            return Ok(None);
        }
        let wants = Wants { stdin: options.stdin, stdout: true, stderr: options.stderr && !options.tty };
        let streams = self.streams(container, &exec.id, wants).await?;
        exec.step("streams");
        // The journal may be later than the end of the output, after which clients ask how it ended.
        let told = Arc::clone(exec);
        Ok(Some(streams.tell_exit(Box::new(move |code| told.finish(code)))))
    }

    /// The process of an exec: the container's own, with what was asked for in place of its parts.
    async fn exec_process(&self, container: &Container, exec: &Exec) -> Result<Vec<u8>> {
        let (namespace, id) = container.key();
        let stored = self.shared.store.container_get(namespace, id).await?;
        let spec = stored.spec.map(|spec| spec.value).unwrap_or_default();
        let (options, identity, host) =
            (exec.options.clone(), exec.identity.clone(), self.shared.host.clone());
        let making = self.blocking("making the process of an exec", move || {
            let spec: Spec = serde_json::from_slice(&spec).map_err(|error| {
                Error::Invalid(format!("the configuration of the container cannot be read: {error}"))
            })?;
            let container = spec.process.unwrap_or_default();
            let wanted = wanted(&container, &options, identity);
            let process = gantry_spec::exec(&container, &wanted, &host)?;
            Ok((serde_json::to_vec(&process).expect("a process is JSON"), process.apparmor_profile))
        });
        let (process, profile) = making.await?;
        self.shared.profiles.ensure(&profile).await?;
        Ok(process)
    }

    /// Sets the size of an exec's terminal.
    ///
    /// # Errors
    /// Conflict for one that does not run; what the shim says.
    pub async fn exec_resize(&self, exec: &Exec, columns: u16, rows: u16) -> Result<()> {
        let container = Arc::clone(&exec.of);
        if !exec.state().running {
            return Err(Error::Conflict(format!("exec {} is not running", exec.id)));
        }
        let (columns, rows) = (columns.into(), rows.into());
        Ok(self.shared.tasks.resize(container.key(), exec.id.clone(), columns, rows).await?)
    }

    /// The end of a process in a container of another door: of an exec, or of the first one, and of all execs with it.
    pub(crate) fn foreign_ended(&self, namespace: &gantry_types::Namespace, exit: &TaskExit) {
        let is_of = |exec: &Exec| exec.of.key.0 == *namespace && exec.of.key.1 == exit.container_id;
        if exit.id.is_empty() || exit.id == exit.container_id {
            for exec in self.execs().values().filter(|exec| is_of(exec)) {
                if exec.state().running { exec.finish(SIGKILLED) } else { exec.let_go() }
            }
        } else if let Ok(exec) = self.exec(&exit.id)
            && is_of(&exec)
        {
            self.exec_ended(&exec.of, exit);
        }
    }

    /// Writes the end of an exec down.
    pub(crate) fn exec_ended(&self, container: &Arc<Container>, exit: &TaskExit) {
        let Ok(exec) = self.exec(&exit.id) else { return };
        let code = i32::try_from(exit.exit_status).unwrap_or(i32::MAX);
        exec.finish(code);
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move {
            let _ = exec.settled.subscribe().wait_for(|settled| *settled).await;
            // What is on its way to the client gets there: the shim keeps its connections until they are empty.
            let deleted = engine.shared.tasks.delete_process(container.key(), exec.id.clone()).await;
            if let Err(error) = deleted
                && error.kind() != ErrorKind::NotFound
            {
                tracing::debug!(exec = %exec.id, %error, "an exec that has ended is left");
            }
            let mut event = container.event("exec_die");
            event.attributes.insert("exitCode".to_owned(), code.to_string());
            engine.announce_exec(event, &exec).await;
        });
    }

    /// What ran in a container that has ended has ended with it.
    pub(crate) fn forget_execs(&self, container: &Container) {
        let mut execs = self.execs();
        execs.retain(|_, exec| {
            if exec.container == container.id && exec.state().running {
                exec.finish(SIGKILLED);
            }
            // What has ended can still be asked about for a while, but not longer than its container.
            exec.container != container.id || container.record().state.status != crate::Status::Removing
        });
    }
}

/// Forgets execs that ended a while ago, as long as there is an engine.
pub(crate) async fn forget_old(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(KEPT).await;
        let Some(shared) = shared.upgrade() else { return };
        forget(&mut Engine { shared }.execs(), KEPT);
    }
}

/// Forgets those that have been over for a time.
fn forget(execs: &mut HashMap<String, Arc<Exec>>, time: Duration) {
    execs.retain(|_, exec| !exec.is_over_for(time));
}

/// What an exec's process is, beside the container's.
fn wanted(container: &Process, options: &ExecOptions, identity: Option<Identity>) -> gantry_spec::Exec {
    let mut base = container.env.clone();
    if options.tty && !base.iter().any(|entry| entry.starts_with("TERM=")) {
        base.push("TERM=xterm".to_owned());
    }
    let mut made = gantry_spec::Exec {
        args: options.cmd.clone(),
        env: gantry_spec::overlay_env(base, &options.env),
        cwd: options.working_dir.clone(),
        tty: options.tty,
        console_size: super::specification::console(options.console_size),
        privileged: options.privileged,
        ..gantry_spec::Exec::default()
    };
    if let Some(identity) = identity {
        made.user = Some(identity.user);
        made.group_add = identity.groups;
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Owner;

    #[test]
    fn execs_that_are_over_are_forgotten_after_their_time() {
        let record = r#"{"id":"c","name":"c","created":"2026-01-01T00:00:00Z","image":{},"options":{},"process":{},"mounts":[],"state":{}}"#;
        let namespace: gantry_types::Namespace = "other".parse().unwrap();
        let owner = Owner::Containerd(namespace.to_string());
        let key = (namespace, "c".to_owned());
        let container = Arc::new(Container::new(key, owner, serde_json::from_str(record).unwrap()));
        let mut execs = HashMap::new();
        for id in ["runs", "ended", "never started"] {
            let exec = Exec {
                id: id.to_owned(),
                container: "c".to_owned(),
                options: ExecOptions::default(),
                of: Arc::clone(&container),
                identity: None,
                state: Mutex::default(),
                timings: Mutex::default(),
                over: Mutex::default(),
                ended: tokio::sync::watch::Sender::new(false),
                taken: AtomicBool::new(false),
                settled: tokio::sync::watch::Sender::new(false),
            };
            execs.insert(id.to_owned(), Arc::new(exec));
        }
        execs["ended"].finish(3);
        forget(&mut execs, KEPT);
        assert_eq!(execs.len(), 3);
        assert_eq!(execs["ended"].state().exit_code, Some(3));
        forget(&mut execs, Duration::ZERO);
        assert!(execs.len() == 2 && !execs.contains_key("ended"));
        execs["never started"].let_go();
        forget(&mut execs, Duration::ZERO);
        assert_eq!(execs.into_keys().collect::<Vec<_>>(), ["runs"]);
    }
}
