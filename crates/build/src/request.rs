//! What is asked of a build.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_engine::Resources;
use gantry_engine::image::Credential;
use gantry_types::{Platform, Reference};

/// Whose credentials open a registry: by the name of its host.
pub type CredentialsOf = Arc<dyn Fn(&str) -> Option<Credential> + Send + Sync>;

/// When a build's own containers are removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Remove {
    /// Never.
    Never,
    /// When the step has succeeded.
    #[default]
    OnSuccess,
    /// Always.
    Always,
}

/// Whether steps that were done before are done again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UseCache {
    /// They are not.
    #[default]
    Yes,
    /// They are.
    No,
}

/// Whether images are pulled that are here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pull {
    /// They are not.
    #[default]
    Missing,
    /// They are.
    Always,
}

/// How much is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Each step.
    #[default]
    Steps,
    /// The id of the image, and everything only when there is none.
    Quiet,
}

/// What is asked of a build.
#[derive(Clone, Default)]
pub struct BuildRequest {
    /// The names that the image gets.
    pub tags: Vec<Reference>,
    /// Where the context is: an address, or a repository of git. None for the archive that comes with the request.
    pub remote: Option<String>,
    /// The Dockerfile's path in the context; empty for `Dockerfile`.
    pub dockerfile: String,
    /// How much is told.
    pub verbosity: Verbosity,
    /// Whether the cache is used.
    pub cache: UseCache,
    /// Images whose layers may be used in place of the cache.
    pub cache_from: Vec<String>,
    /// Whether base images are pulled.
    pub pull: Pull,
    /// When containers are removed.
    pub remove: Remove,
    /// Values of arguments; None for one that has none.
    pub arguments: BTreeMap<String, Option<String>>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// The stage that is wanted, by name or number; empty for the last one.
    pub target: String,
    /// What containers may use.
    pub resources: Resources,
    /// Bytes of their /dev/shm; 0 for the engine's.
    pub shm_size: u64,
    /// `default`, `bridge`, `host`, `none`, `container:<name>` or a network's name.
    pub network_mode: String,
    /// `name:address`
    pub extra_hosts: Vec<String>,
    /// Of `--security-opt`.
    pub security_opt: Vec<String>,
    /// For what the image is; None for the machine.
    pub platform: Option<Platform>,
    /// What opens registries.
    pub credentials: Option<CredentialsOf>,
}

impl std::fmt::Debug for BuildRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildRequest")
            .field("tags", &self.tags)
            .field("dockerfile", &self.dockerfile)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
