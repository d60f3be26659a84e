//! The one object that doors hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use gantry_network::Network;
use gantry_primitives::tasks::Tasks;
use gantry_primitives::{Access, Context, Store};
use gantry_types::{Namespace, Platform};
use tokio::sync::watch;

use crate::container::{Container, Exec};
use crate::options::LogOptions;
use crate::{Error, Result};

/// The containerd namespace of docker's containers.
pub(crate) const NAMESPACE: &str = gantry_primitives::ENGINE_NAMESPACE;
/// The shortest beginning of an id that is looked for is one digit, as with docker; the longest name that can be one.
const ID_DIGITS: usize = 64;

/// What an operator chooses.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where containers' files, volumes and logs are: `/var/lib/gantry`.
    pub root: PathBuf,
    /// What lives as long as the machine runs: `/run/gantry`.
    pub state: PathBuf,
    /// The runtime of containers that name none.
    pub runtime: String,
    /// The runtimes that can be named, with the names of their shims.
    pub runtimes: BTreeMap<String, String>,
    /// Those shims that take the options of runc's: ours, whatever it executes.
    pub runc_like: BTreeSet<String>,
    /// Where output goes unless a container says so.
    pub log: LogOptions,
    /// The parent of containers' cgroups, unless a container says so.
    pub cgroup_parent: String,
    /// Whether systemd makes the cgroups.
    pub systemd_cgroups: bool,
    /// The init that `--init` runs; None where there is none.
    pub init: Option<PathBuf>,
    /// Whether containers have it that do not say.
    pub init_by_default: bool,
    /// Bytes of /dev/shm unless a container says so.
    pub shm_size: u64,
    /// Limits unless a container says so: name, soft, hard.
    pub ulimits: Vec<(String, i64, i64)>,
    /// Servers of names unless a container says so.
    pub dns: Vec<String>,
    /// Domains unless a container says so.
    pub dns_search: Vec<String>,
    /// Options of the resolver unless a container says so.
    pub dns_options: Vec<String>,
    /// The seccomp profile in place of the default one: its text.
    pub seccomp_profile: Option<String>,
    /// Whether processes never gain privileges unless a container says so.
    pub no_new_privileges: bool,
    /// `private` or `host`; empty for docker's (private on cgroup v2).
    pub cgroupns_mode: String,
    /// `private` or `shareable`; empty for private.
    pub ipc_mode: String,
    /// Directories of CDI specifications.
    pub cdi_directories: Vec<PathBuf>,
    /// Whether containers of other doors are listed.
    pub show_foreign: bool,
    /// User namespaces of containers.
    pub userns: crate::UsernsSettings,
}

/// What an engine stands on.
pub struct Parts {
    /// Bytes and records.
    pub store: Store,
    /// Processes.
    pub tasks: Arc<Tasks>,
    /// Addresses and ports.
    pub network: Network,
    /// What an operator chooses.
    pub settings: Settings,
    /// How registries are reached.
    pub access: watch::Receiver<Access>,
}

/// The engine. Clones are the same.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) network: Network,
    pub(crate) settings: Settings,
    pub(crate) access: watch::Receiver<Access>,
    pub(crate) namespace: Namespace,
    pub(crate) host: gantry_spec::Host,
    pub(crate) platform: Platform,
    containers: RwLock<HashMap<String, Arc<Container>>>,
    /// Names, and the ids that have or will have them.
    names: Mutex<BTreeMap<String, String>>,
    pub(crate) execs: Mutex<HashMap<String, Arc<Exec>>>,
    /// What is known of images.
    pub(crate) images: crate::image::Images,
    /// Who has which ids.
    pub(crate) userns: crate::userns::Ranges,
    /// Who the users of images are.
    pub(crate) identities: crate::container::Identities,
    /// Whether the machine goes down.
    pub(crate) closing: AtomicBool,
    /// What is loaded into the kernel for containers.
    pub(crate) profiles: crate::container::Profiles,
    /// What lies upon the layers of images.
    pub(crate) init_layers: crate::container::InitLayers,
    /// One change of a volume at a time.
    pub(crate) volumes: tokio::sync::Mutex<()>,
}

impl Shared {
    fn containers(&self) -> RwLockReadGuard<'_, HashMap<String, Arc<Container>>> {
        self.containers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn containers_mut(&self) -> RwLockWriteGuard<'_, HashMap<String, Arc<Container>>> {
        self.containers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the files of a container are.
    pub(crate) fn directory(&self, id: &str) -> PathBuf {
        self.settings.root.join("containers").join(NAMESPACE).join(id)
    }
}

impl Engine {
    /// Opens the engine: reads what is kept, and finds out what became of it. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of the store. What is wrong with one container is logged, and stops no other.
    ///
    /// # Privilege
    /// Root.
    pub async fn open(parts: Parts) -> Result<Self> {
        let Parts { store, tasks, network, settings, access } = parts;
        let namespace = NAMESPACE.parse().expect("a word is a namespace");
        let asked = settings.userns.clone();
        let userns = tokio::task::spawn_blocking(move || crate::userns::Ranges::open(&asked))
            .await
            .map_err(|_| Error::Panicked("reading subordinate ids"))??;
        let host = tokio::task::spawn_blocking(crate::container::host_facts)
            .await
            .map_err(|_| Error::Panicked("looking at the host"))?;
        let shared = Shared {
            store,
            tasks,
            network,
            settings,
            access,
            namespace,
            host,
            platform: Platform::host(),
            containers: RwLock::default(),
            names: Mutex::default(),
            execs: Mutex::default(),
            images: crate::image::Images::default(),
            userns,
            identities: crate::container::Identities::default(),
            closing: AtomicBool::new(false),
            profiles: crate::container::Profiles::default(),
            init_layers: crate::container::InitLayers::default(),
            volumes: tokio::sync::Mutex::default(),
        };
        let engine = Self { shared: Arc::new(shared) };
        // Before anything is asked for: what ends meanwhile is in the journal behind this place.
        let ends = engine.shared.store.events(None).await?;
        crate::container::recover(&engine).await?;
        tokio::spawn(crate::container::watch_ends(Arc::downgrade(&engine.shared), ends));
        tokio::spawn(crate::container::forget_old_execs(Arc::downgrade(&engine.shared)));
        crate::container::resume(&engine).await;
        Ok(engine)
    }

    /// What an operator chose.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The bytes and records below.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.shared.network
    }

    /// The platform of the machine.
    pub fn platform(&self) -> &Platform {
        &self.shared.platform
    }

    pub(crate) fn context(&self) -> Context {
        Context::new(self.shared.namespace.clone())
    }

    /// The engine's own containers, in no order.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        self.shared.containers().values().cloned().collect()
    }

    /// A container by its id, its name (with or without a slash), or the beginning of its id, if only one has that.
    ///
    /// # Errors
    /// NotFound; Conflict for an ambiguous beginning.
    pub fn container(&self, name: &str) -> Result<Arc<Container>> {
        let bare = name.strip_prefix('/').unwrap_or(name);
        let containers = self.shared.containers();
        if let Some(container) = containers.get(bare) {
            return Ok(Arc::clone(container));
        }
        let named = self.names().get(bare).and_then(|id| containers.get(id));
        if let Some(container) = named {
            return Ok(Arc::clone(container));
        }
        let is_beginning =
            !bare.is_empty() && bare.len() <= ID_DIGITS && bare.bytes().all(|b| b.is_ascii_hexdigit());
        let mut found = containers.iter().filter(|(id, _)| is_beginning && id.starts_with(bare));
        match (found.next(), found.next()) {
            (Some((_, container)), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => {
                Err(Error::Conflict(format!("multiple IDs found with provided prefix: {bare}")))
            }
            _ => Err(Error::no_container(name)),
        }
    }

    fn names(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.shared.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a name to an id, if nobody has it.
    ///
    /// # Errors
    /// Conflict.
    pub(crate) fn take_name(&self, name: &str, id: &str) -> Result<()> {
        let mut names = self.names();
        if let Some(owner) = names.get(name) {
            return Err(Error::Conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            )));
        }
        names.insert(name.to_owned(), id.to_owned());
        Ok(())
    }

    /// Lets a name go, if that id has it.
    pub(crate) fn free_name(&self, name: &str, id: &str) {
        let mut names = self.names();
        if names.get(name).is_some_and(|owner| owner == id) {
            names.remove(name);
        }
    }

    pub(crate) fn insert(&self, container: Arc<Container>) {
        self.shared.containers_mut().insert(container.id.clone(), container);
    }

    pub(crate) fn forget(&self, container: &Container) {
        self.free_name(&container.record().name, &container.id);
        self.shared.userns.free(&container.id);
        self.shared.containers_mut().remove(&container.id);
    }
}
