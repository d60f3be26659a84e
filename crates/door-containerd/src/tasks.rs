//! `containerd.services.tasks.v1`.

use gantry_primitives::tasks::{ExecRequest, TaskRequest, Tasks};
use gantry_proto_containerd::tasks as proto;
use gantry_proto_containerd::tasks::tasks_server::Tasks as Service;
use gantry_proto_containerd::tasks::{
    CheckpointTaskRequest, CheckpointTaskResponse, CloseIoRequest, CreateTaskRequest, CreateTaskResponse,
    DeleteProcessRequest, DeleteResponse, DeleteTaskRequest, ExecProcessRequest, GetRequest, GetResponse,
    KillRequest, ListPidsRequest, ListPidsResponse, ListTasksRequest, ListTasksResponse, MetricsRequest,
    MetricsResponse, PauseTaskRequest, ResizePtyRequest, ResumeTaskRequest, StartRequest, StartResponse,
    UpdateTaskRequest, WaitRequest, WaitResponse,
};
use gantry_proto_containerd::{task, types};
use gantry_proto_shim::own::Cause;
use gantry_proto_shim::{Message as _, task as shim};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::status::{self, OrStatus as _};
use crate::{from_proto, into_proto, request};

pub(crate) struct TasksService {
    pub(crate) tasks: Tasks,
    /// Waits end with it: whoever waits asks the next daemon.
    pub(crate) serving: watch::Receiver<bool>,
}

/// Whose task a request is about.
fn key(metadata: &MetadataMap, container: String) -> Result<(gantry_types::Namespace, String), Status> {
    Ok((request::namespace(metadata)?, container))
}

#[tonic::async_trait]
impl Service for TasksService {
    async fn create(
        &self,
        request: Request<CreateTaskRequest>,
    ) -> Result<Response<CreateTaskResponse>, Status> {
        let context = request::context(request.metadata())?;
        let given = request.into_inner();
        let container_id = given.container_id.clone();
        let request = TaskRequest {
            container: given.container_id,
            rootfs: from_proto::mounts(given.rootfs),
            stdin: given.stdin,
            stdout: given.stdout,
            stderr: given.stderr,
            terminal: given.terminal,
            checkpoint: given.checkpoint.map(from_proto::descriptor).transpose()?,
            options: given.options.map(from_proto::opaque),
            runtime_path: given.runtime_path,
            endpoint: Some((given.task_api_address, given.task_api_version))
                .filter(|(address, _)| !address.is_empty()),
        };
        let pid = self.tasks.create(context, request).await.or_status()?;
        Ok(Response::new(CreateTaskResponse { container_id, pid }))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartResponse>, Status> {
        let (metadata, _, StartRequest { container_id, exec_id }) = request.into_parts();
        let pid = self.tasks.start(key(&metadata, container_id)?, exec_id).await.or_status()?;
        Ok(Response::new(StartResponse { pid }))
    }

    async fn delete(&self, request: Request<DeleteTaskRequest>) -> Result<Response<DeleteResponse>, Status> {
        let (metadata, _, DeleteTaskRequest { container_id }) = request.into_parts();
        let ended = self.tasks.delete(key(&metadata, container_id.clone())?).await.or_status()?;
        Ok(Response::new(deleted(container_id, ended)))
    }

    async fn delete_process(
        &self,
        request: Request<DeleteProcessRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let (metadata, _, DeleteProcessRequest { container_id, exec_id }) = request.into_parts();
        if exec_id.is_empty() {
            return Err(status::invalid_argument("exec id is required"));
        }
        let key = key(&metadata, container_id)?;
        let ended = self.tasks.delete_process(key, exec_id.clone()).await.or_status()?;
        Ok(Response::new(deleted(exec_id, ended)))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let (metadata, _, GetRequest { container_id, exec_id }) = request.into_parts();
        let state = self.tasks.state(&key(&metadata, container_id)?, &exec_id).await.or_status()?;
        Ok(Response::new(GetResponse { process: Some(process(state)) }))
    }

    /// The filter is not looked at, as with containerd.
    async fn list(&self, request: Request<ListTasksRequest>) -> Result<Response<ListTasksResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let tasks = self.tasks.list(&namespace).await.into_iter().map(process).collect();
        Ok(Response::new(ListTasksResponse { tasks }))
    }

    async fn kill(&self, request: Request<KillRequest>) -> Result<Response<()>, Status> {
        let (metadata, _, KillRequest { container_id, exec_id, signal, all }) = request.into_parts();
        self.tasks.kill(key(&metadata, container_id)?, exec_id, signal, all).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn exec(&self, request: Request<ExecProcessRequest>) -> Result<Response<()>, Status> {
        let (metadata, _, given) = request.into_parts();
        let key = key(&metadata, given.container_id)?;
        if given.exec_id.is_empty() {
            return Err(status::invalid_argument("exec id is required"));
        }
        let exec = ExecRequest {
            exec: given.exec_id,
            stdin: given.stdin,
            stdout: given.stdout,
            stderr: given.stderr,
            terminal: given.terminal,
            spec: given.spec.map(from_proto::opaque),
        };
        self.tasks.exec(key, exec).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn resize_pty(&self, request: Request<ResizePtyRequest>) -> Result<Response<()>, Status> {
        let (metadata, _, given) = request.into_parts();
        let ResizePtyRequest { container_id, exec_id, width, height } = given;
        self.tasks.resize(key(&metadata, container_id)?, exec_id, width, height).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn close_io(&self, request: Request<CloseIoRequest>) -> Result<Response<()>, Status> {
        let (metadata, _, CloseIoRequest { container_id, exec_id, stdin }) = request.into_parts();
        self.tasks.close_io(key(&metadata, container_id)?, exec_id, stdin).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn pause(&self, request: Request<PauseTaskRequest>) -> Result<Response<()>, Status> {
        let (metadata, _, PauseTaskRequest { container_id }) = request.into_parts();
        self.tasks.pause(key(&metadata, container_id)?).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn resume(&self, request: Request<ResumeTaskRequest>) -> Result<Response<()>, Status> {
        let (metadata, _, ResumeTaskRequest { container_id }) = request.into_parts();
        self.tasks.resume(key(&metadata, container_id)?).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn list_pids(
        &self,
        request: Request<ListPidsRequest>,
    ) -> Result<Response<ListPidsResponse>, Status> {
        let (metadata, _, ListPidsRequest { container_id }) = request.into_parts();
        let found = self.tasks.pids(&key(&metadata, container_id)?).await.or_status()?;
        let process = |process: gantry_proto_shim::process::ProcessInfo| task::ProcessInfo {
            pid: process.pid,
            info: process.info.map(into_proto::shim_any),
        };
        Ok(Response::new(ListPidsResponse { processes: found.processes.into_iter().map(process).collect() }))
    }

    async fn checkpoint(
        &self,
        request: Request<CheckpointTaskRequest>,
    ) -> Result<Response<CheckpointTaskResponse>, Status> {
        let context = request::context(request.metadata())?;
        let CheckpointTaskRequest { container_id, options, .. } = request.into_inner();
        let options = options.map(from_proto::opaque);
        let made = self.tasks.checkpoint(context, container_id, options).await.or_status()?;
        let descriptors = made.iter().map(into_proto::descriptor).collect();
        Ok(Response::new(CheckpointTaskResponse { descriptors }))
    }

    async fn update(&self, request: Request<UpdateTaskRequest>) -> Result<Response<()>, Status> {
        let (metadata, _, UpdateTaskRequest { container_id, resources, annotations }) = request.into_parts();
        let resources = resources.map(from_proto::opaque);
        self.tasks.update(key(&metadata, container_id)?, resources, annotations).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn metrics(&self, request: Request<MetricsRequest>) -> Result<Response<MetricsResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let found = self.tasks.metrics(&namespace, request.into_inner().filters).await.or_status()?;
        let metrics = found.into_iter().map(|metric| types::Metric {
            timestamp: into_proto::timestamp(metric.time),
            id: metric.id,
            data: Some(into_proto::shim_any(metric.data)),
        });
        Ok(Response::new(MetricsResponse { metrics: metrics.collect() }))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<WaitResponse>, Status> {
        let (metadata, _, WaitRequest { container_id, exec_id }) = request.into_parts();
        let key = key(&metadata, container_id)?;
        let mut serving = self.serving.clone();
        let ended = tokio::select! {
            ended = self.tasks.wait(&key, &exec_id) => ended.or_status()?,
            _ = serving.wait_for(|serving| !serving) => return Err(status::unavailable("the daemon ends")),
        };
        Ok(Response::new(WaitResponse {
            exit_status: ended.exit_status,
            exited_at: ended.exited_at.map(into_proto::shim_time),
            cause: cause(ended.cause),
        }))
    }
}

fn deleted(id: String, ended: shim::DeleteResponse) -> proto::DeleteResponse {
    DeleteResponse {
        id,
        pid: ended.pid,
        exit_status: ended.exit_status,
        exited_at: ended.exited_at.map(into_proto::shim_time),
        cause: cause(ended.cause),
    }
}

/// Why a process ended, as it is passed on: what our shim says in full, of which other clients know nothing.
fn cause(given: Option<Cause>) -> Vec<u8> {
    given.map(|cause| cause.encode_to_vec()).unwrap_or_default()
}

fn process(state: shim::StateResponse) -> task::Process {
    task::Process {
        container_id: state.id.clone(),
        // Of the first process the container's, as with containerd.
        id: if state.exec_id.is_empty() { state.id } else { state.exec_id },
        pid: state.pid,
        status: state.status,
        stdin: state.stdin,
        stdout: state.stdout,
        stderr: state.stderr,
        terminal: state.terminal,
        exit_status: state.exit_status,
        exited_at: state.exited_at.map(into_proto::shim_time),
        cause: cause(state.cause),
    }
}
