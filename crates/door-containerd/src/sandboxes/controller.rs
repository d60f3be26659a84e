//! What runs of sandboxes: those that a shim keeps.

use std::time::Duration;

use gantry_primitives::Store;
use gantry_primitives::tasks::{SandboxCreation, Tasks};
use gantry_proto_containerd::sandbox::controller_server::Controller;
use gantry_proto_containerd::sandbox::{
    ControllerCreateRequest, ControllerCreateResponse, ControllerMetricsRequest, ControllerMetricsResponse,
    ControllerPlatformRequest, ControllerPlatformResponse, ControllerShutdownRequest,
    ControllerShutdownResponse, ControllerStartRequest, ControllerStartResponse, ControllerStatusRequest,
    ControllerStatusResponse, ControllerStopRequest, ControllerStopResponse, ControllerUpdateRequest,
    ControllerUpdateResponse, ControllerWaitRequest, ControllerWaitResponse,
};
use gantry_proto_containerd::types;
use gantry_types::{ErrorKind, Namespace};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::status::{self, OrStatus as _};
use crate::{from_proto, into_proto, request};

/// The only one that runs sandboxes here.
const SHIM: &str = "shim";

pub(crate) struct ControllerService {
    pub(crate) store: Store,
    pub(crate) tasks: Tasks,
    /// Waits end with it.
    pub(crate) serving: watch::Receiver<bool>,
}

/// Whose sandbox a request is about, if it is for us.
fn key(metadata: &MetadataMap, sandboxer: &str, id: String) -> Result<(Namespace, String), Status> {
    if !sandboxer.is_empty() && sandboxer != SHIM {
        return Err(status::not_found(format!("sandbox controller {sandboxer:?}")));
    }
    if id.is_empty() {
        return Err(status::invalid_argument("sandbox id is required"));
    }
    Ok((request::namespace(metadata)?, id))
}

#[tonic::async_trait]
impl Controller for ControllerService {
    async fn create(
        &self,
        request: Request<ControllerCreateRequest>,
    ) -> Result<Response<ControllerCreateResponse>, Status> {
        let (metadata, _, given) = request.into_parts();
        let (namespace, sandbox_id) = key(&metadata, &given.sandboxer, given.sandbox_id)?;
        let sandbox = match given.sandbox {
            Some(sandbox) => {
                gantry_primitives::Sandbox { id: sandbox_id.clone(), ..from_proto::sandbox(sandbox) }
            }
            None => self.store.sandbox_get(namespace.clone(), sandbox_id.clone()).await.or_status()?,
        };
        let creation = SandboxCreation {
            rootfs: from_proto::mounts(given.rootfs),
            options: given.options.map(from_proto::opaque),
            netns: given.netns_path,
            annotations: given.annotations,
        };
        self.tasks.sandbox_create(namespace, sandbox, creation).await.or_status()?;
        Ok(Response::new(ControllerCreateResponse { sandbox_id }))
    }

    async fn start(
        &self,
        request: Request<ControllerStartRequest>,
    ) -> Result<Response<ControllerStartResponse>, Status> {
        let (metadata, _, given) = request.into_parts();
        let key = key(&metadata, &given.sandboxer, given.sandbox_id)?;
        let sandbox_id = key.1.clone();
        let started = match self.tasks.sandbox_start(key.clone()).await {
            // What was only recorded is made: `ctr sandboxes run` calls nothing else.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let (namespace, id) = key.clone();
                let sandbox = self.store.sandbox_get(namespace.clone(), id).await.or_status()?;
                let creation = SandboxCreation::default();
                self.tasks.sandbox_create(namespace, sandbox, creation).await.or_status()?;
                self.tasks.sandbox_start(key).await.or_status()?
            }
            started => started.or_status()?,
        };
        Ok(Response::new(ControllerStartResponse {
            sandbox_id,
            pid: started.pid,
            created_at: started.created_at.map(into_proto::shim_time),
            labels: Default::default(),
            address: started.address,
            version: started.version,
            spec: started.spec.map(into_proto::shim_any),
        }))
    }

    async fn platform(
        &self,
        request: Request<ControllerPlatformRequest>,
    ) -> Result<Response<ControllerPlatformResponse>, Status> {
        let (metadata, _, given) = request.into_parts();
        let key = key(&metadata, &given.sandboxer, given.sandbox_id)?;
        let answer = self.tasks.sandbox_platform(&key).await.or_status()?;
        let platform = answer.platform.map(|platform| types::Platform {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
            os_version: platform.os_version,
            os_features: platform.os_features,
        });
        Ok(Response::new(ControllerPlatformResponse { platform }))
    }

    async fn stop(
        &self,
        request: Request<ControllerStopRequest>,
    ) -> Result<Response<ControllerStopResponse>, Status> {
        let (metadata, _, given) = request.into_parts();
        let key = key(&metadata, &given.sandboxer, given.sandbox_id)?;
        let timeout = Duration::from_secs(given.timeout_secs.into());
        self.tasks.sandbox_stop(&key, timeout).await.or_status()?;
        Ok(Response::new(ControllerStopResponse {}))
    }

    async fn wait(
        &self,
        request: Request<ControllerWaitRequest>,
    ) -> Result<Response<ControllerWaitResponse>, Status> {
        let (metadata, _, given) = request.into_parts();
        let key = key(&metadata, &given.sandboxer, given.sandbox_id)?;
        let mut serving = self.serving.clone();
        let ended = tokio::select! {
            ended = self.tasks.sandbox_wait(&key) => ended.or_status()?,
            _ = serving.wait_for(|serving| !serving) => return Err(status::unavailable("the daemon ends")),
        };
        Ok(Response::new(ControllerWaitResponse {
            exit_status: ended.exit_status,
            exited_at: ended.exited_at.map(into_proto::shim_time),
        }))
    }

    async fn status(
        &self,
        request: Request<ControllerStatusRequest>,
    ) -> Result<Response<ControllerStatusResponse>, Status> {
        let (metadata, _, given) = request.into_parts();
        let key = key(&metadata, &given.sandboxer, given.sandbox_id)?;
        let found = self.tasks.sandbox_status(&key, given.verbose).await.or_status()?;
        let (state, address, version) = found;
        Ok(Response::new(ControllerStatusResponse {
            sandbox_id: key.1,
            pid: state.pid,
            state: state.state,
            info: state.info,
            created_at: state.created_at.map(into_proto::shim_time),
            exited_at: state.exited_at.map(into_proto::shim_time),
            extra: state.extra.map(into_proto::shim_any),
            address,
            version,
        }))
    }

    async fn shutdown(
        &self,
        request: Request<ControllerShutdownRequest>,
    ) -> Result<Response<ControllerShutdownResponse>, Status> {
        let (metadata, _, given) = request.into_parts();
        let key = key(&metadata, &given.sandboxer, given.sandbox_id)?;
        self.tasks.sandbox_shutdown(key).await.or_status()?;
        Ok(Response::new(ControllerShutdownResponse {}))
    }

    async fn metrics(
        &self,
        request: Request<ControllerMetricsRequest>,
    ) -> Result<Response<ControllerMetricsResponse>, Status> {
        let (metadata, _, given) = request.into_parts();
        let key = key(&metadata, &given.sandboxer, given.sandbox_id)?;
        let answer = self.tasks.sandbox_metrics(&key).await.or_status()?;
        let metrics = answer.metrics.map(|metric| types::Metric {
            timestamp: metric.timestamp.map(into_proto::shim_time),
            id: metric.id,
            data: metric.data.map(into_proto::shim_any),
        });
        Ok(Response::new(ControllerMetricsResponse { metrics }))
    }

    /// No shim takes a change of its sandbox; the record's is the store's. containerd answers the same.
    async fn update(
        &self,
        request: Request<ControllerUpdateRequest>,
    ) -> Result<Response<ControllerUpdateResponse>, Status> {
        let (metadata, _, given) = request.into_parts();
        key(&metadata, &given.sandboxer, given.sandbox_id)?;
        Ok(Response::new(ControllerUpdateResponse {}))
    }
}
