//! Activations: mounts that the daemon makes for a client, and keeps until the client or the collector ends them.
//!
//! ```text
//!   <root>/mounts/<number>/<place>     a directory for each mount of an activation, in their order
//! ```
//! The mounts are there before their record, and go before it does; those that no record names are undone at the start.
//! An activation with a lease goes with that; one without stays until it is deactivated or the machine stops.

mod system;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gantry_metadata::{mounts, namespaces};
use gantry_types::{ErrorKind, Labels, Mount};
use serde::{Deserialize, Serialize};

use crate::filter::{Fields, Filters, label};
use crate::store::Inner;
use crate::{Context, Error, Result, Store};

/// The most mounts of an activation (containerd keeps them by one byte).
const MAX_MOUNTS: usize = 255;

/// A mount that the daemon made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveMount {
    /// What was asked for.
    pub mount: Mount,
    /// Where it is.
    pub point: PathBuf,
    /// Since when.
    pub since: SystemTime,
}

/// What is kept of an activation.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    directory: PathBuf,
    active: Vec<ActiveMount>,
}

/// An activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// What the daemon has mounted.
    pub active: Vec<ActiveMount>,
    /// What is left to the client: a bind mount of the last one.
    pub system: Vec<Mount>,
}

/// What is to be activated.
#[derive(Debug, Clone)]
pub struct ActivateRequest {
    /// Its name.
    pub name: String,
    /// The mounts, in their order.
    pub mounts: Vec<Mount>,
    /// Its labels.
    pub labels: Labels,
    /// Whether everything is mounted, so that the files can be looked at.
    pub temporary: bool,
}

impl Fields for Activation {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["name"] => Some(self.name.clone()),
            ["labels", rest @ ..] => label(&self.labels, rest),
            _ => None,
        }
    }
}

fn read(record: mounts::Activation) -> Result<Activation> {
    let state: State = parse(&record.state)?;
    let bind = |last: &ActiveMount| Mount {
        kind: "bind".to_owned(),
        source: last.point.to_string_lossy().into_owned(),
        target: String::new(),
        options: vec!["rbind".to_owned()],
    };
    let system = state.active.last().map(bind).into_iter().collect();
    Ok(Activation { name: record.name, labels: record.labels, active: state.active, system })
}

fn parse(state: &str) -> Result<State> {
    serde_json::from_str(state)
        .map_err(|error| Error::Invalid { what: "recorded activation", reason: error.to_string() })
}

impl State {
    /// Unmounts everything, the last mount first, and removes the directories.
    fn undo(&self, lazily: bool) -> Result<()> {
        for mount in self.active.iter().rev() {
            system::undo(&mount.point, lazily).map_err(Error::file("unmounting", &mount.point))?;
        }
        remove(&self.directory)
    }
}

/// Removes the directories of an activation. Never what is in a mount: each has to be empty.
fn remove(directory: &Path) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::file("reading", directory))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::file("reading", directory))?.path();
        fs::remove_dir(&path).map_err(Error::file("removing", &path))?;
    }
    fs::remove_dir(directory).map_err(Error::file("removing", directory))
}

impl Inner {
    fn mounts_root(&self) -> PathBuf {
        self.options.root.join("mounts")
    }

    fn activate(&self, context: &Context, request: ActivateRequest) -> Result<Activation> {
        let kinds = || request.mounts.iter().map(|mount| mount.kind.as_str()).collect::<Vec<_>>().join(", ");
        if !request.temporary {
            return Err(Error::Unimplemented(format!("mounts of type {} are the client's", kinds())));
        }
        if request.mounts.is_empty() || request.mounts.len() > MAX_MOUNTS {
            let reason = format!("must have 1 to {MAX_MOUNTS} mounts");
            return Err(Error::Invalid { what: "activation", reason });
        }
        // Handlers and transformers of containerd's, such as `format/overlay`.
        if request.mounts.iter().any(|mount| mount.kind.contains('/') || !mount.target.is_empty()) {
            return Err(Error::Unimplemented(format!("activating mounts of type {}", kinds())));
        }
        let known = self.read(|view| Ok(mounts::get(view, &context.namespace, &request.name)?));
        match known {
            Ok(_) => return Err(Error::AlreadyExists { what: "activation", name: request.name }),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let number = self.next_number();
        let _guard = self.snapshot_locks.lock(number);
        let mut state = State { directory: self.mounts_root().join(number.to_string()), active: Vec::new() };
        let made = self.mount_all(&mut state, &request.mounts).and_then(|()| {
            let text = serde_json::to_string(&state)
                .map_err(|error| Error::Invalid { what: "activation", reason: error.to_string() })?;
            let context = context.clone();
            self.write(move |change| {
                let (namespace, lease) = (&context.namespace, context.lease.as_deref());
                Ok(mounts::create(change, namespace, &request.name, &request.labels, &text, lease)?)
            })
        });
        match made {
            Ok(record) => read(record),
            Err(error) => {
                if let Err(left) = state.undo(true) {
                    let left = crate::error::chain(&left);
                    tracing::warn!(error = left, "mounts of a failed activation stay until the next start");
                }
                Err(error)
            }
        }
    }

    fn mount_all(&self, state: &mut State, wanted: &[Mount]) -> Result<()> {
        let root = self.mounts_root();
        make_directory(&root, true)?;
        make_directory(&state.directory, false)?;
        for (place, mount) in wanted.iter().enumerate() {
            let point = state.directory.join(place.to_string());
            make_directory(&point, false)?;
            system::make(mount, &point)?;
            state.active.push(ActiveMount { mount: mount.clone(), point, since: SystemTime::now() });
        }
        Ok(())
    }

    fn deactivate(&self, context: &Context, name: &str) -> Result<()> {
        let record = self.read(|view| Ok(mounts::get(view, &context.namespace, name)?))?;
        // First, and not lazily: who gets an error may try again.
        parse(&record.state)?.undo(false)?;
        let (context, name) = (context.clone(), name.to_owned());
        self.write(move |change| Ok(mounts::remove(change, &context.namespace, &name)?))
    }

    /// Undoes what the collector has released. Blocks.
    pub(crate) fn release_mounts(state: &str) -> Result<()> {
        match parse(state) {
            Ok(state) => state.undo(true),
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::warn!(error, "an activation that cannot be read is forgotten");
                Ok(())
            }
        }
    }

    /// Forgets activations that the machine's stop has undone, and undoes those that no record names.
    pub(crate) fn recover_mounts(&self) -> Result<()> {
        let mut known = Vec::new();
        for (namespace, _) in self.read(|view| Ok(namespaces::list(view)?))? {
            for record in self.read(|view| Ok(mounts::list(view, &namespace)?))? {
                let Ok(state) = parse(&record.state) else { continue };
                if state.active.iter().all(|mount| system::is_mounted(&mount.point)) {
                    known.push(state.directory);
                    continue;
                }
                state.undo(true)?;
                let (namespace, name) = (namespace.clone(), record.name);
                self.write(move |change| Ok(mounts::remove(change, &namespace, &name)?))?;
            }
        }
        let root = self.mounts_root();
        let entries = match fs::read_dir(&root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(Error::file("reading", &root))?,
        };
        for entry in entries {
            let directory = entry.map_err(Error::file("reading", &root))?.path();
            if !known.contains(&directory) {
                undo_unrecorded(&directory)?;
            }
        }
        Ok(())
    }
}

fn undo_unrecorded(directory: &Path) -> Result<()> {
    let entries = fs::read_dir(directory).map_err(Error::file("reading", directory))?;
    for entry in entries {
        let point = entry.map_err(Error::file("reading", directory))?.path();
        while system::is_mounted(&point) {
            system::undo(&point, true).map_err(Error::file("unmounting", &point))?;
        }
    }
    remove(directory)
}

fn make_directory(path: &Path, there_is_fine: bool) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if there_is_fine && error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(Error::file("making", path)),
    }
}

impl Store {
    /// Mounts what `mount` says on a directory, in the mount namespace of the calling thread, which looks after its end. Blocks.
    ///
    /// # Errors
    /// Unimplemented for loop devices and id maps; what the kernel says.
    ///
    /// # Privilege
    /// `CAP_SYS_ADMIN`.
    pub fn mount_here(mount: &Mount, target: &Path) -> Result<()> {
        system::make(mount, target)
    }
}

impl Store {
    /// Mounts for a client. The lease of the request keeps it.
    ///
    /// # Errors
    /// Unimplemented for what clients mount themselves, which is everything that is not `temporary`; AlreadyExists for the
    /// name; InvalidArgument; what the kernel says.
    ///
    /// # Privilege
    /// `CAP_SYS_ADMIN`.
    pub async fn mount_activate(&self, context: Context, request: ActivateRequest) -> Result<Activation> {
        self.blocking(move |inner| inner.activate(&context, request)).await
    }

    /// Unmounts, and forgets the name.
    ///
    /// # Errors
    /// NotFound; what the kernel says of mounts in use, and then nothing is forgotten.
    pub async fn mount_deactivate(&self, context: Context, name: String) -> Result<()> {
        self.blocking(move |inner| inner.deactivate(&context, &name)).await
    }

    /// One activation.
    ///
    /// # Errors
    /// NotFound.
    pub async fn mount_info(&self, context: Context, name: String) -> Result<Activation> {
        self.blocking(move |inner| {
            read(inner.read(|view| Ok(mounts::get(view, &context.namespace, &name)?))?)
        })
        .await
    }

    /// Changes labels: those that `fields` name, or all.
    ///
    /// # Errors
    /// NotFound; InvalidArgument for a field or labels.
    pub async fn mount_update(
        &self,
        context: Context,
        name: String,
        labels: Labels,
        fields: Vec<String>,
    ) -> Result<Activation> {
        self.blocking(move |inner| {
            read(inner.write(move |change| {
                Ok(mounts::update(change, &context.namespace, &name, &labels, &fields, None)?)
            })?)
        })
        .await
    }

    /// The activations of the namespace that pass one of `filters` (over `name` and `labels.<key>`), by name.
    ///
    /// # Errors
    /// InvalidArgument for a filter.
    pub async fn mount_list(&self, context: Context, filters: Vec<String>) -> Result<Vec<Activation>> {
        let filters = Filters::parse(&filters)?;
        self.blocking(move |inner| {
            let all = inner.read(|view| Ok(mounts::list(view, &context.namespace)?))?;
            let mut all = all.into_iter().map(read).collect::<Result<Vec<_>>>()?;
            all.retain(|one| filters.passes(one));
            Ok(all)
        })
        .await
    }
}
