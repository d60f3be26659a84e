//! Sandboxes that run: those of shims. Their records are [`Store`]'s.

use std::collections::BTreeMap;
use std::time::Duration;

use gantry_metadata::{Opaque, Sandbox};
use gantry_proto_containerd::{Message, Name, events};
use gantry_proto_shim::any::{Any, Timestamp};
use gantry_proto_shim::sandbox::{
    PlatformRequest, PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, StartSandboxRequest, StartSandboxResponse, StopSandboxRequest,
    StopSandboxResponse, WaitSandboxResponse, method,
};
use gantry_tasks::{Key, SandboxRequest};
use gantry_types::{ErrorKind, Mount, Namespace};

use super::{ShimEvent, Tasks, any, mount};
use crate::Result;

/// How much longer than a stop's own limit its answer is waited for.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What a sandbox is started with, beside its record.
#[derive(Debug, Clone, Default)]
pub struct SandboxCreation {
    /// What its root is mounted from.
    pub rootfs: Vec<Mount>,
    /// What whoever makes it says of it.
    pub options: Option<Opaque>,
    /// The path of its network namespace.
    pub netns: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A sandbox that was started.
#[derive(Debug, Clone)]
pub struct SandboxStarted {
    /// Its first process.
    pub pid: u32,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Its specification, if it has one.
    pub spec: Option<Any>,
    /// Where its tasks are served.
    pub address: String,
    /// In which version of the Task service.
    pub version: u32,
}

impl Tasks {
    /// Makes a sandbox, in a shim of its own.
    ///
    /// # Errors
    /// AlreadyExists; NotFound for its runtime; what the shim says.
    pub async fn sandbox_create(
        &self,
        namespace: Namespace,
        sandbox: Sandbox,
        creation: SandboxCreation,
    ) -> Result<()> {
        let id = sandbox.id.clone();
        let request = SandboxRequest {
            config: sandbox.spec.map(|spec| spec.value),
            rootfs: creation.rootfs.into_iter().map(mount).collect(),
            runtime: sandbox.runtime,
            runtime_options: sandbox.runtime_options.map(any),
            options: creation.options.map(any),
            netns: creation.netns,
            annotations: creation.annotations,
        };
        self.tasks.sandbox_create((namespace.clone(), id.clone()), request).await?;
        self.announce(namespace, "/sandboxes/create", &events::SandboxCreate { sandbox_id: id }).await
    }

    /// Starts a sandbox.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn sandbox_start(&self, key: Key) -> Result<SandboxStarted> {
        let request = StartSandboxRequest { sandbox_id: key.1.clone() };
        let started: StartSandboxResponse =
            self.tasks.sandbox_call(&key, method::START_SANDBOX, request, None).await?;
        let (address, version) = self.tasks.sandbox_address(&key)?;
        let event = events::SandboxStart { sandbox_id: key.1 };
        self.announce(key.0, "/sandboxes/start", &event).await?;
        let StartSandboxResponse { pid, created_at, spec } = started;
        Ok(SandboxStarted { pid, created_at, spec, address, version })
    }

    /// The platform of a sandbox.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn sandbox_platform(&self, key: &Key) -> Result<PlatformResponse> {
        let request = PlatformRequest { sandbox_id: key.1.clone() };
        Ok(self.tasks.sandbox_call(key, method::PLATFORM, request, None).await?)
    }

    /// Stops a sandbox, which has `timeout` for it.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn sandbox_stop(&self, key: &Key, timeout: Duration) -> Result<()> {
        let timeout_secs = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
        let request = StopSandboxRequest { sandbox_id: key.1.clone(), timeout_secs };
        let limit = Some(timeout + STOP_GRACE).filter(|_| !timeout.is_zero());
        let StopSandboxResponse {} =
            self.tasks.sandbox_call(key, method::STOP_SANDBOX, request, limit).await?;
        Ok(())
    }

    /// Waits for the end of a sandbox.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn sandbox_wait(&self, key: &Key) -> Result<WaitSandboxResponse> {
        let ended = self.tasks.sandbox_wait(key).await?;
        let event = events::SandboxExit {
            sandbox_id: key.1.clone(),
            exit_status: ended.exit_status,
            exited_at: ended
                .exited_at
                .map(|time| gantry_proto_containerd::Timestamp { seconds: time.seconds, nanos: time.nanos }),
        };
        self.announce(key.0.clone(), "/sandboxes/exit", &event).await?;
        Ok(ended)
    }

    /// The state of a sandbox, and where its tasks are served.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn sandbox_status(
        &self,
        key: &Key,
        verbose: bool,
    ) -> Result<(SandboxStatusResponse, String, u32)> {
        let request = SandboxStatusRequest { sandbox_id: key.1.clone(), verbose };
        let status = self.tasks.sandbox_call(key, method::SANDBOX_STATUS, request, None).await?;
        let (address, version) = self.tasks.sandbox_address(key)?;
        Ok((status, address, version))
    }

    /// Ends a sandbox and its shim. One that does not run has ended.
    ///
    /// # Errors
    /// What the shim says.
    pub async fn sandbox_shutdown(&self, key: Key) -> Result<()> {
        match self.tasks.sandbox_shutdown(key).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            ended => Ok(ended?),
        }
    }

    /// The counters of a sandbox.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn sandbox_metrics(&self, key: &Key) -> Result<SandboxMetricsResponse> {
        let request = SandboxMetricsRequest { sandbox_id: key.1.clone() };
        Ok(self.tasks.sandbox_call(key, method::SANDBOX_METRICS, request, None).await?)
    }

    async fn announce<E: Message + Name>(&self, namespace: Namespace, topic: &str, event: &E) -> Result<()> {
        let (topic, type_url, value) = (topic.to_owned(), E::full_name(), event.encode_to_vec());
        self.store.forward(None, ShimEvent { namespace, topic, type_url, value }).await.map(drop)
    }
}
