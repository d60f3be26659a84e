//! The door: what all requests share.

use std::sync::Arc;
use std::time::Duration;

use gantry_engine::Engine;
use http::{Method, StatusCode};
use tokio::sync::watch;

use crate::http::Limits;

/// Who serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Gantry's version.
    pub version: String,
    /// The commit that it was built of; may be empty.
    pub commit: String,
    /// When it was built, RFC 3339; may be empty.
    pub build_time: String,
    /// The compiler.
    pub compiler: String,
    /// What tells this engine from others for as long as its data exist; a UUID.
    pub id: String,
    /// Where containerd's API is served; empty for nowhere.
    pub containerd_address: String,
    /// Labels that an operator gave the engine.
    pub labels: Vec<String>,
    /// Whether containers live on when the daemon does not.
    pub live_restore: bool,
    /// Registries that are reached without TLS, as `host:port` or as a range of addresses.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub.
    pub mirrors: Vec<String>,
    /// Whether the log is that of developers.
    pub debug: bool,
}

/// Gets the requests that were answered.
pub trait Observer: Send + Sync + 'static {
    /// `route` is the path with its names replaced by `{}`, of those that exist; `hijacked` streams are told when they begin.
    fn answered(&self, method: &Method, status: StatusCode, took: Duration);
}

/// Everything that requests need. Clones are the same door.
#[derive(Clone)]
pub struct Door {
    /// What is served.
    pub engine: Engine,
    /// What builds images for it.
    pub builder: gantry_build::Builder,
    /// Who serves.
    pub about: Arc<About>,
    /// How much of anything a client may send.
    pub limits: Limits,
    /// Is told of every request.
    pub observer: Option<Arc<dyn Observer>>,
    /// False from when the end has begun: streams that would never end do.
    pub serving: watch::Receiver<bool>,
}

impl Door {
    /// Resolves when the end of the daemon has begun.
    pub(crate) async fn stopping(&self) {
        let mut serving = self.serving.clone();
        // A sender that is gone is an end, too.
        let _ = serving.wait_for(|serving| !serving).await;
    }
}
