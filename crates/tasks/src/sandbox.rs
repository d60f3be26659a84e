//! Sandboxes that a shim keeps: its Sandbox service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gantry_proto_shim::Message;
use gantry_proto_shim::any::Any;
use gantry_proto_shim::mount::Mount;
use gantry_proto_shim::sandbox::{
    CreateSandboxRequest, CreateSandboxResponse, ShutdownSandboxRequest, ShutdownSandboxResponse,
    WaitSandboxRequest, WaitSandboxResponse, method,
};
use gantry_types::ErrorKind;

use crate::shim::Shim;
use crate::tasks::{Inner, Parts, start};
use crate::{Error, Key, Tasks};

/// What a sandbox is made of.
#[derive(Debug, Clone, Default)]
pub struct SandboxRequest {
    /// An OCI configuration in JSON, if it has one.
    pub config: Option<Vec<u8>>,
    /// What its root is mounted from.
    pub rootfs: Vec<Mount>,
    /// The name of its runtime.
    pub runtime: String,
    /// The runtime's options.
    pub runtime_options: Option<Any>,
    /// What whoever makes it says of it.
    pub options: Option<Any>,
    /// The path of its network namespace.
    pub netns: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Tasks {
    /// Starts a shim for a sandbox, and has it make that.
    ///
    /// # Errors
    /// AlreadyExists; NotFound for a runtime without a shim; what the shim says. Nothing is left then.
    pub async fn sandbox_create(&self, key: Key, request: SandboxRequest) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        self.owned(async move {
            let guard = inner.groups.lock(&key).await;
            if guard.as_ref().is_some_and(|shim| !shim.is_dead()) {
                inner.groups.release(&key, guard, false);
                return Err(Error::AlreadyExists { what: "sandbox", id: key.1 });
            }
            let mut guard = guard;
            let made = create(&inner, &key, request).await;
            let empty = made.is_err();
            if let Ok(shim) = &made {
                *guard = Some(Arc::clone(shim));
                inner.sandboxes().insert(key.clone(), Arc::clone(shim));
            }
            inner.groups.release(&key, guard, empty);
            made.map(drop)
        })
        .await
    }

    fn sandbox(&self, key: &Key) -> Result<Arc<Shim>, Error> {
        let found = self.inner.sandboxes().get(key).cloned();
        found.ok_or_else(|| Error::NotFound { what: "sandbox", id: key.1.clone() })
    }

    /// Calls a method of the Sandbox service. `limit` is its caller's; a minute without one.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn sandbox_call<B: Message + Default + 'static>(
        &self,
        key: &Key,
        name: &'static str,
        request: impl Message + 'static,
        limit: Option<Duration>,
    ) -> Result<B, Error> {
        let (shim, id) = (self.sandbox(key)?, key.1.clone());
        let limit = limit.unwrap_or(self.inner.limits.call);
        self.owned(async move { shim.call_sandbox(&id, name, &request, Some(limit)).await }).await
    }

    /// Where the tasks of a sandbox are served, and in which version.
    ///
    /// # Errors
    /// NotFound.
    pub fn sandbox_address(&self, key: &Key) -> Result<(String, u32), Error> {
        let shim = self.sandbox(key)?;
        Ok((shim.address.endpoint(), shim.version().unsigned_abs()))
    }

    /// Waits for the end of a sandbox.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn sandbox_wait(&self, key: &Key) -> Result<WaitSandboxResponse, Error> {
        let request = WaitSandboxRequest { sandbox_id: key.1.clone() };
        self.sandbox(key)?.call_sandbox(&key.1, method::WAIT_SANDBOX, &request, None).await
    }

    /// Ends a sandbox and its shim, and removes its bundle.
    ///
    /// # Errors
    /// NotFound; what the shim says.
    pub async fn sandbox_shutdown(&self, key: Key) -> Result<(), Error> {
        let shim = self.sandbox(&key)?;
        let inner = Arc::clone(&self.inner);
        self.owned(async move {
            let mut guard = inner.groups.lock(&key).await;
            let ended = shut_down(&inner, &key, &shim).await;
            let empty = ended.is_ok();
            if empty {
                *guard = None;
            }
            inner.groups.release(&key, guard, empty);
            ended
        })
        .await
    }
}

async fn create(inner: &Arc<Inner>, key: &Key, request: SandboxRequest) -> Result<Arc<Shim>, Error> {
    let program = inner.launcher.binaries.find(&request.runtime, "")?;
    let parts = Parts {
        config: request.config,
        options: request.runtime_options,
        sandbox: Some(key.1.clone()),
        program,
        group: key.1.clone(),
    };
    let message = CreateSandboxRequest {
        sandbox_id: key.1.clone(),
        bundle_path: inner.place.path(&key.0, &key.1).display().to_string(),
        rootfs: request.rootfs,
        options: request.options,
        netns_path: request.netns,
        annotations: request.annotations,
    };
    let shim = start(inner, key, parts, None).await?;
    shim.enter(&key.1, 0);
    let made: Result<CreateSandboxResponse, Error> =
        shim.call_sandbox(&key.1, method::CREATE_SANDBOX, &message, Some(inner.limits.call)).await;
    match made {
        Ok(CreateSandboxResponse {}) => Ok(shim),
        Err(error) => {
            shim.leave(&key.1);
            shim.shut_down(&key.1).await;
            inner.remove_bundle(key.0.clone(), key.1.clone()).await;
            Err(error)
        }
    }
}

async fn shut_down(inner: &Arc<Inner>, key: &Key, shim: &Arc<Shim>) -> Result<(), Error> {
    let request = ShutdownSandboxRequest { sandbox_id: key.1.clone() };
    shim.expect_end();
    let answer: Result<ShutdownSandboxResponse, Error> =
        shim.call_sandbox(&key.1, method::SHUTDOWN_SANDBOX, &request, Some(inner.limits.call)).await;
    match answer {
        Ok(ShutdownSandboxResponse {}) | Err(Error::Lost { .. }) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    shim.leave(&key.1);
    shim.await_end(&key.1).await;
    inner.sandboxes().remove(key);
    inner.remove_bundle(key.0.clone(), key.1.clone()).await;
    Ok(())
}
