//! Containers and tasks by a client of our own: no process is started for a request.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_proto_containerd::containers::containers_client::ContainersClient;
use gantry_proto_containerd::containers::{
    Container, CreateContainerRequest, DeleteContainerRequest, GetContainerRequest, UpdateContainerRequest,
    container::Runtime,
};
use gantry_proto_containerd::leases::leases_client::LeasesClient;
use gantry_proto_containerd::leases::{
    CreateRequest as CreateLeaseRequest, DeleteRequest as DeleteLeaseRequest,
};
use gantry_proto_containerd::snapshots::snapshots_client::SnapshotsClient;
use gantry_proto_containerd::snapshots::{
    ListSnapshotsRequest, PrepareSnapshotRequest, RemoveSnapshotRequest,
};
use gantry_proto_containerd::tasks::tasks_client::TasksClient;
use gantry_proto_containerd::tasks::{
    CreateTaskRequest, DeleteProcessRequest, DeleteTaskRequest, ExecProcessRequest, GetRequest, KillRequest,
    ListTasksRequest, MetricsRequest, PauseTaskRequest, ResumeTaskRequest, StartRequest, WaitRequest,
};
use gantry_proto_containerd::version::version_client::VersionClient;
use gantry_proto_containerd::{Any, FieldMask, any, header};
use tokio::runtime::Runtime as Tokio;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::IMAGE;

const NAMESPACE: &str = "default";
const SNAPSHOTTER: &str = "overlayfs";

/// The requests of one connection.
#[derive(Debug, Clone)]
pub struct Api {
    runtime: Arc<Tokio>,
    channel: Channel,
}

/// What containers of one daemon are made from.
#[derive(Debug, Clone)]
pub struct Model {
    spec: Any,
    parent: String,
    runtime: Runtime,
}

fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(header::NAMESPACE, tonic::metadata::MetadataValue::from_static(NAMESPACE));
    request
}

impl Api {
    /// Connects, once somebody answers.
    ///
    /// # Errors
    /// When nobody does.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = Arc::new(runtime.map_err(|error| error.to_string())?);
        let end = Instant::now() + patience;
        loop {
            let tried = runtime.block_on(async {
                let channel = crate::caller::connect(socket).await.map_err(|error| error.to_string())?;
                VersionClient::new(channel.clone()).version(()).await.map_err(|error| error.to_string())?;
                Ok::<_, String>(channel)
            });
            match tried {
                Ok(channel) => return Ok(Self { runtime, channel }),
                Err(error) if Instant::now() > end => return Err(format!("{}: {error}", socket.display())),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Runs something to its end.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// What the container `model` is made from, with another runtime and other arguments.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn model(&self, runtime: &str, options: Option<Any>, args: &[&str]) -> Result<Model, Status> {
        let request = within(GetContainerRequest { id: "model".into() });
        let found = ContainersClient::new(self.channel.clone()).get(request).await?.into_inner();
        let container = found.container.ok_or_else(|| Status::internal("no container"))?;
        let spec = container.spec.ok_or_else(|| Status::internal("no specification"))?;
        let mut json: serde_json::Value =
            serde_json::from_slice(&spec.value).map_err(|error| Status::internal(error.to_string()))?;
        json["process"]["args"] = args.iter().copied().collect();
        let value = json.to_string().into_bytes().into();
        let mut snapshots = SnapshotsClient::new(self.channel.clone());
        let listed = ListSnapshotsRequest { snapshotter: SNAPSHOTTER.into(), ..Default::default() };
        let mut listed = snapshots.list(within(listed)).await?.into_inner();
        let mut parent = String::new();
        while let Some(batch) = listed.message().await? {
            let own = batch.info.into_iter().find(|info| info.name == container.snapshot_key);
            parent = own.map_or(parent, |info| info.parent);
        }
        let runtime = Runtime { name: runtime.to_owned(), options };
        Ok(Model { spec: Any { type_url: spec.type_url, value }, parent, runtime })
    }

    /// Makes the record and the snapshot of a container, and what its root is mounted from.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn prepare(
        &self,
        model: &Model,
        id: &str,
    ) -> Result<Vec<gantry_proto_containerd::types::Mount>, Status> {
        // The cgroup has the container's name.
        let spec =
            String::from_utf8_lossy(&model.spec.value).replace("/default/model", &format!("/default/{id}"));
        let container = Container {
            id: id.to_owned(),
            image: IMAGE.into(),
            runtime: Some(model.runtime.clone()),
            spec: Some(Any { type_url: model.spec.type_url.clone(), value: spec.into_bytes().into() }),
            snapshotter: SNAPSHOTTER.into(),
            snapshot_key: id.to_owned(),
            ..Default::default()
        };
        let request = CreateContainerRequest { container: Some(container) };
        // First: the record keeps the snapshot, which a collection would take otherwise.
        ContainersClient::new(self.channel.clone()).create(within(request)).await?;
        let snapshot = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: id.to_owned(),
            parent: model.parent.clone(),
            ..Default::default()
        };
        let mounts = SnapshotsClient::new(self.channel.clone()).prepare(within(snapshot)).await?;
        Ok(mounts.into_inner().mounts)
    }

    /// Creates and starts the task of a container.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn start(
        &self,
        id: &str,
        rootfs: Vec<gantry_proto_containerd::types::Mount>,
        stdout: Option<PathBuf>,
    ) -> Result<(), Status> {
        let mut tasks = TasksClient::new(self.channel.clone());
        let stdout = stdout.map(|path| path.display().to_string()).unwrap_or_default();
        // containerd's shim wants both or none.
        let stderr = stdout.clone();
        let create =
            CreateTaskRequest { container_id: id.to_owned(), rootfs, stdout, stderr, ..Default::default() };
        tasks.create(within(create)).await?;
        let start = StartRequest { container_id: id.to_owned(), ..Default::default() };
        tasks.start(within(start)).await.map(drop)
    }

    /// Runs another process to its end, and returns its status.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn exec(&self, id: &str, exec: &str, args: &[&str]) -> Result<u32, Status> {
        let mut tasks = TasksClient::new(self.channel.clone());
        let process = serde_json::json!({ "args": args, "cwd": "/", "user": { "uid": 0, "gid": 0 } });
        let spec =
            Any { type_url: any::json::PROCESS.to_owned(), value: process.to_string().into_bytes().into() };
        let (container_id, exec_id) = (id.to_owned(), exec.to_owned());
        let request = ExecProcessRequest { container_id, exec_id, spec: Some(spec), ..Default::default() };
        tasks.exec(within(request)).await?;
        let (container_id, exec_id) = (id.to_owned(), exec.to_owned());
        let started = tasks.start(within(StartRequest { container_id, exec_id })).await;
        let (container_id, exec_id) = (id.to_owned(), exec.to_owned());
        let ended = match started {
            Ok(_) => tasks.wait(within(WaitRequest { container_id, exec_id })).await.map(drop),
            Err(status) => Err(status),
        };
        let (container_id, exec_id) = (id.to_owned(), exec.to_owned());
        let deleted = tasks.delete_process(within(DeleteProcessRequest { container_id, exec_id })).await;
        ended?;
        Ok(deleted?.into_inner().exit_status)
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn kill(&self, id: &str, signal: u32) -> Result<(), Status> {
        let kill = KillRequest { container_id: id.to_owned(), signal, ..Default::default() };
        TasksClient::new(self.channel.clone()).kill(within(kill)).await.map(drop)
    }

    /// Freezes a task, and thaws it.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn pause(&self, id: &str) -> Result<(), Status> {
        let mut tasks = TasksClient::new(self.channel.clone());
        tasks.pause(within(PauseTaskRequest { container_id: id.to_owned() })).await?;
        tasks.resume(within(ResumeTaskRequest { container_id: id.to_owned() })).await.map(drop)
    }

    /// The number that stands for the state of a task, and its exit status.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn state(&self, id: &str) -> Result<(i32, u32), Status> {
        let get = GetRequest { container_id: id.to_owned(), ..Default::default() };
        let found = TasksClient::new(self.channel.clone()).get(within(get)).await?.into_inner();
        let process = found.process.unwrap_or_default();
        Ok((process.status, process.exit_status))
    }

    /// How many tasks have metrics.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn metrics(&self) -> Result<usize, Status> {
        let found = TasksClient::new(self.channel.clone()).metrics(within(MetricsRequest::default())).await?;
        Ok(found.into_inner().metrics.len())
    }

    /// Ends a container, and removes everything of it.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn remove(&self, id: &str) -> Result<(), Status> {
        let mut tasks = TasksClient::new(self.channel.clone());
        let id = || id.to_owned();
        let kill = KillRequest { container_id: id(), signal: 9, all: true, ..Default::default() };
        match tasks.kill(within(kill)).await {
            // It may have ended by itself.
            Err(status) if status.code() != tonic::Code::NotFound => return Err(status),
            _ => {}
        }
        tasks.wait(within(WaitRequest { container_id: id(), ..Default::default() })).await?;
        tasks.delete(within(DeleteTaskRequest { container_id: id() })).await?;
        let mut containers = ContainersClient::new(self.channel.clone());
        containers.delete(within(DeleteContainerRequest { id: id() })).await?;
        let remove = RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: id() };
        match SnapshotsClient::new(self.channel.clone()).remove(within(remove)).await {
            // The collector was there before us.
            Err(status) if status.code() != tonic::Code::NotFound => Err(status),
            _ => Ok(()),
        }
    }

    /// How many tasks there are.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn count(&self) -> Result<usize, Status> {
        let listed = TasksClient::new(self.channel.clone()).list(within(ListTasksRequest::default())).await?;
        Ok(listed.into_inner().tasks.len())
    }

    /// Makes a lease.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn lease(&self, id: &str) -> Result<(), Status> {
        let request = CreateLeaseRequest { id: id.to_owned(), ..Default::default() };
        LeasesClient::new(self.channel.clone()).create(within(request)).await.map(drop)
    }

    /// Removes a lease, and waits until what only it kept is gone.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn release(&self, id: &str) -> Result<(), Status> {
        let request = DeleteLeaseRequest { id: id.to_owned(), sync: true };
        LeasesClient::new(self.channel.clone()).delete(within(request)).await.map(drop)
    }

    /// Makes an empty snapshot that a lease keeps.
    ///
    /// # Errors
    /// What the daemon says.
    ///
    /// # Panics
    /// When the lease is no name.
    pub async fn leased_snapshot(&self, key: &str, lease: &str) -> Result<(), Status> {
        let (snapshotter, key) = (SNAPSHOTTER.to_owned(), key.to_owned());
        let mut request = within(PrepareSnapshotRequest { snapshotter, key, ..Default::default() });
        let lease = tonic::metadata::MetadataValue::try_from(lease).expect("a name");
        request.metadata_mut().insert(header::LEASE, lease);
        SnapshotsClient::new(self.channel.clone()).prepare(request).await.map(drop)
    }

    /// Changes one label of a container.
    ///
    /// # Errors
    /// What the daemon says.
    pub async fn label(&self, container: &str, name: &str, value: &str) -> Result<(), Status> {
        let labels = [(name.to_owned(), value.to_owned())].into_iter().collect();
        let container = Some(Container { id: container.to_owned(), labels, ..Default::default() });
        let update_mask = Some(FieldMask { paths: vec![format!("labels.{name}")] });
        let request = UpdateContainerRequest { container, update_mask };
        ContainersClient::new(self.channel.clone()).update(within(request)).await.map(drop)
    }
}
