//! Tasks: what runs of the containers that are recorded.
//!
//! The records are the store's, the processes the shims'; this joins them, and writes to the journal what shims can no longer say.

mod checkpoint;
mod forward;
mod heard;
mod lost;
mod metrics;
mod restart;
mod sandboxes;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gantry_metadata::{Container, Opaque, containers};
use gantry_proto_shim::any::Any;
use gantry_proto_shim::mount::Mount as ShimMount;
use gantry_proto_shim::task::{
    CloseIORequest, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, PauseRequest,
    PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, StartRequest, StartResponse, StateResponse,
    UpdateTaskRequest, WaitResponse, method,
};
use gantry_tasks::{CreateRequest, Key};
use gantry_types::{Descriptor, Mount, Namespace};

use crate::{Context, Result, Store};

pub use forward::{EventSource, ShimEvent};
pub use gantry_tasks::{
    DEFAULT_RUNTIME, Key as TaskKey, Limits as TaskLimits, Options as TaskOptions, Recovered, Runtime,
};
pub use metrics::Metric;
pub use restart::RESTART_POLICIES;
pub use sandboxes::{SandboxCreation, SandboxStarted};

#[cfg(feature = "fuzzing")]
pub(crate) use heard::fuzz;

const SIGKILL: u32 = 9;

/// What a task is made of, beside the record of its container.
#[derive(Debug, Clone, Default)]
pub struct TaskRequest {
    /// The container.
    pub container: String,
    /// What its root is mounted from; none if the specification names a directory.
    pub rootfs: Vec<Mount>,
    /// The standard streams: paths or addresses.
    pub stdin: String,
    /// See `stdin`.
    pub stdout: String,
    /// See `stdin`.
    pub stderr: String,
    /// Whether they are a terminal.
    pub terminal: bool,
    /// What it is restored from.
    pub checkpoint: Option<Descriptor>,
    /// Options of the runtime, in place of the record's.
    pub options: Option<Opaque>,
    /// The binary of a shim, in place of the record's runtime.
    pub runtime_path: String,
    /// Who serves the task already: an address such as `ttrpc+unix:///s`, and the version of the Task service.
    pub endpoint: Option<(String, u32)>,
}

/// Another process of a task.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Its name.
    pub exec: String,
    /// The standard streams: paths or addresses.
    pub stdin: String,
    /// See `stdin`.
    pub stdout: String,
    /// See `stdin`.
    pub stderr: String,
    /// Whether they are a terminal.
    pub terminal: bool,
    /// An OCI process, in JSON.
    pub spec: Option<Opaque>,
}

/// Tasks. Clones are the same.
#[derive(Clone)]
pub struct Tasks {
    store: Store,
    tasks: gantry_tasks::Tasks,
    restores: checkpoint::Restores,
}

impl Tasks {
    /// Opens what there is of tasks, and finds again what runs. Needs a tokio runtime.
    ///
    /// `log` is told of the FIFO into which shims log before they are asked for: it has to be read, since some wait for a reader.
    ///
    /// # Errors
    /// What the disk says.
    ///
    /// # Privilege
    /// Root.
    pub async fn open(
        store: Store,
        options: TaskOptions,
        log: impl FnOnce(&Path),
    ) -> Result<(Self, Recovered)> {
        let opened = tokio::task::spawn_blocking(move || gantry_tasks::Tasks::open(&options)).await;
        let (tasks, mut receiver) = opened.map_err(|_| crate::Error::panicked("opening tasks"))??;
        let restores = checkpoint::Restores::new(store.root());
        let tasks = Self { store, tasks, restores };
        log(tasks.tasks.log());
        let pids = lost::running(&tasks.store).await?;
        let recovered = tasks.tasks.recover(pids).await?;
        // What is known of an end comes first: what is left after it has ended unseen.
        lost::record_waiting(&tasks.store, &mut receiver).await;
        tokio::spawn(lost::record(tasks.store.clone(), receiver));
        lost::settle(&tasks, &recovered.ending).await?;
        let found = tasks.clone();
        let find = move || found.restores.find(|key| found.exists(key));
        tokio::task::spawn_blocking(find).await.map_err(|_| crate::Error::panicked("finding checkpoints"))?;
        Ok((tasks, recovered))
    }

    /// Leaves all shims to themselves.
    pub fn let_go(&self) {
        self.tasks.let_go();
    }

    /// Looks after containers that are to be restarted, as long as `tasks` is there.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn watch_restarts(tasks: &Arc<Self>, interval: Duration) -> Result<()> {
        let events = tasks.store.events(None).await?;
        tokio::spawn(restart::monitor(Arc::downgrade(tasks), events, interval));
        Ok(())
    }

    async fn container(&self, namespace: &Namespace, id: &str) -> Result<Container> {
        let (namespace, id) = (namespace.clone(), id.to_owned());
        let get = move |view: &gantry_metadata::View<'_>| Ok(containers::get(view, &namespace, &id)?);
        self.store.blocking(move |inner| inner.read(get)).await
    }

    /// Makes the task of a container, and returns its first process, which waits for its start.
    ///
    /// # Errors
    /// NotFound for the container, its runtime or its checkpoint; AlreadyExists; what the shim says.
    pub async fn create(&self, context: Context, request: TaskRequest) -> Result<u32> {
        let container = self.container(&context.namespace, &request.container).await?;
        let key = (context.namespace.clone(), request.container.clone());
        let restored = match &request.checkpoint {
            // Those of a task that is there are its own; it is refused below.
            Some(descriptor) if !self.tasks.exists(&key) => {
                let of = (request.container.as_str(), descriptor);
                Some(checkpoint::unpack(&self.store, &self.restores, &context, of).await?)
            }
            _ => None,
        };
        let directory = match &restored {
            Some(directory) => directory.path().display().to_string(),
            // The client has the files itself.
            None => checkpoint::path_of(request.options.as_ref()),
        };
        let made = CreateRequest {
            config: container.spec.map(|spec| spec.value).unwrap_or_default(),
            rootfs: request.rootfs.into_iter().map(mount).collect(),
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
            checkpoint: directory,
            runtime: container.runtime,
            runtime_path: request.runtime_path,
            options: request
                .options
                .filter(|options| !options.type_url.is_empty())
                .map(any)
                .or_else(|| container.runtime_options.map(any)),
            endpoint: request.endpoint,
            sandbox: Some(container.sandbox).filter(|sandbox| !sandbox.is_empty()),
        };
        let pid = self.tasks.create(key.clone(), made).await?;
        if let Some(files) = restored {
            self.restores.keep(key, files);
        }
        Ok(pid)
    }

    /// Starts a process that was made; the first one for an empty `exec`.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn start(&self, key: Key, exec: String) -> Result<u32> {
        let is_first = exec.is_empty();
        let request = StartRequest { id: key.1.clone(), exec_id: exec };
        let started: std::result::Result<StartResponse, _> =
            self.tasks.call(&key, method::START, request).await;
        if is_first {
            self.restores.done(&key);
        }
        Ok(started?.pid)
    }

    /// Removes a task that has ended, and says how.
    ///
    /// # Errors
    /// NotFound; FailedPrecondition while it runs.
    pub async fn delete(&self, key: Key) -> Result<DeleteResponse> {
        let deleted = self.tasks.delete(key.clone()).await?;
        self.restores.done(&key);
        Ok(deleted)
    }

    /// Removes a process that is not the first one.
    ///
    /// # Errors
    /// NotFound; FailedPrecondition while it runs.
    pub async fn delete_process(&self, key: Key, exec: String) -> Result<DeleteResponse> {
        let request = DeleteRequest { id: key.1.clone(), exec_id: exec.clone() };
        let response = self.tasks.call(&key, method::DELETE, request).await?;
        let (namespace, container) = key;
        if !exec.is_empty()
            && let Err(error) = self.store.task_forget(namespace, container, exec).await
        {
            // It is gone, and goes from the records with its container.
            tracing::warn!(%error, "an exec that was deleted is still recorded");
        }
        Ok(response)
    }

    /// The state of a process.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn state(&self, key: &Key, exec: &str) -> Result<StateResponse> {
        Ok(self.tasks.state(key, exec).await?)
    }

    /// The states of all tasks of a namespace.
    pub async fn list(&self, namespace: &Namespace) -> Vec<StateResponse> {
        self.tasks.list(namespace).await
    }

    /// Whether the shim that a runtime's name stands for is our own, which does more than others.
    pub fn is_own_shim(&self, runtime: &str) -> bool {
        self.tasks.is_own_shim(runtime)
    }

    /// Whether a container has a task.
    pub fn exists(&self, key: &Key) -> bool {
        self.tasks.exists(key)
    }

    /// Sends a signal to a process, or to all of the task.
    ///
    /// # Errors
    /// NotFound, also for a process that has ended.
    pub async fn kill(&self, key: Key, exec: String, signal: u32, all: bool) -> Result<()> {
        let request = KillRequest { id: key.1.clone(), exec_id: exec, signal, all };
        if signal == SIGKILL {
            // A shim that dies meanwhile does not save it: a second one does no harm.
            let Empty {} = self.tasks.ask(&key, method::KILL, &request).await?;
            return Ok(());
        }
        self.done(key, method::KILL, request).await
    }

    /// Registers another process; its start makes it.
    ///
    /// # Errors
    /// NotFound; AlreadyExists; what the shim says.
    pub async fn exec(&self, key: Key, exec: ExecRequest) -> Result<()> {
        gantry_types::identifier::validate(&exec.exec)
            .map_err(|error| crate::Error::Invalid { what: "exec id", reason: error.to_string() })?;
        let request = ExecProcessRequest {
            id: key.1.clone(),
            exec_id: exec.exec,
            terminal: exec.terminal,
            stdin: exec.stdin,
            stdout: exec.stdout,
            stderr: exec.stderr,
            spec: exec.spec.map(any),
        };
        self.done(key, method::EXEC, request).await
    }

    /// Sets the size of a terminal.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn resize(&self, key: Key, exec: String, width: u32, height: u32) -> Result<()> {
        let request = ResizePtyRequest { id: key.1.clone(), exec_id: exec, width, height };
        self.done(key, method::RESIZE_PTY, request).await
    }

    /// Closes the standard input of a process.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn close_io(&self, key: Key, exec: String, stdin: bool) -> Result<()> {
        let request = CloseIORequest { id: key.1.clone(), exec_id: exec, stdin };
        self.done(key, method::CLOSE_IO, request).await
    }

    /// Freezes a task.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn pause(&self, key: Key) -> Result<()> {
        let request = PauseRequest { id: key.1.clone() };
        self.done(key, method::PAUSE, request).await
    }

    /// Thaws a task.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn resume(&self, key: Key) -> Result<()> {
        let request = ResumeRequest { id: key.1.clone() };
        self.done(key, method::RESUME, request).await
    }

    /// The processes of a task.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn pids(&self, key: &Key) -> Result<PidsResponse> {
        Ok(self.tasks.ask(key, method::PIDS, &PidsRequest { id: key.1.clone() }).await?)
    }

    /// Changes the limits of a task.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn update(
        &self,
        key: Key,
        resources: Option<Opaque>,
        annotations: std::collections::BTreeMap<String, String>,
    ) -> Result<()> {
        let request = UpdateTaskRequest { id: key.1.clone(), resources: resources.map(any), annotations };
        self.done(key, method::UPDATE, request).await
    }

    /// Waits for the end of a process.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wait(&self, key: &Key, exec: &str) -> Result<WaitResponse> {
        Ok(self.tasks.wait(key, exec).await?)
    }

    /// Where clients attach to the streams of a task, if its shim is ours.
    ///
    /// # Errors
    /// NotFound.
    pub fn attach_socket(&self, key: &Key) -> Result<std::path::PathBuf> {
        Ok(self.tasks.attach_socket(key)?)
    }

    /// What the shim of a runtime says of itself: an encoded `containerd.types.RuntimeInfo`.
    ///
    /// # Errors
    /// NotFound for a runtime without a shim; what its binary says.
    pub async fn runtime_info(&self, runtime: &str, path: &str, options: Option<Opaque>) -> Result<Vec<u8>> {
        let options = options.map(any);
        Ok(self.tasks.info(runtime, path, options.as_ref()).await?)
    }

    async fn done(
        &self,
        key: Key,
        name: &'static str,
        request: impl gantry_proto_shim::Message + 'static,
    ) -> Result<()> {
        let Empty {} = self.tasks.call(&key, name, request).await?;
        Ok(())
    }
}

fn any(opaque: Opaque) -> Any {
    Any { type_url: opaque.type_url, value: opaque.value }
}

fn mount(mount: Mount) -> ShimMount {
    let Mount { kind, source, target, options } = mount;
    ShimMount { r#type: kind, source, target, options }
}

/// Of a name and a container.
pub fn key(namespace: &Namespace, container: &str) -> Key {
    (namespace.clone(), container.to_owned())
}
