//! Snapshots by name: containerd's contract over records and drivers.
//!
//! A driver makes directories before the record that names them, and a record goes before its directory does: a directory
//! that no record names is an orphan, removed at the start and by `cleanup`.

mod foreign;
mod locks;
pub mod proxy;
mod remote;

use std::sync::Arc;

use gantry_metadata::{Snapshot, SnapshotKind, snapshots};
use gantry_snapshot::{Driver, Kind, Request, SnapshotNumber};
use gantry_types::{ErrorKind, Labels, Mount, Namespace};

use crate::filter::{Fields, Filters, label};
use crate::store::Inner;
use crate::{Context, Error, Result, Store};

pub(crate) use foreign::Foreign;
pub use gantry_snapshot::Usage;
pub(crate) use locks::{Locks, PendingImplied};
pub(crate) use remote::RemoteLayer;

/// The most layers below a snapshot.
const MAX_PARENTS: usize = 1024;

/// What is asked of a new snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// The snapshotter; empty for the usual one.
    pub snapshotter: String,
    /// The name that it gets.
    pub key: String,
    /// The name of its parent; empty for none.
    pub parent: String,
    /// Its labels.
    pub labels: Labels,
}

/// What a filter sees of a snapshot.
struct SnapshotFields<'a>(&'a Snapshot);

impl Fields for SnapshotFields<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["kind"] => Some(driver_kind(self.0.kind).as_str().to_owned()),
            ["name"] => Some(self.0.name.clone()),
            ["parent"] => Some(self.0.parent.clone().unwrap_or_default()),
            ["labels", rest @ ..] => label(&self.0.labels, rest),
            _ => None,
        }
    }
}

fn driver_kind(kind: SnapshotKind) -> Kind {
    match kind {
        SnapshotKind::View => Kind::View,
        SnapshotKind::Active => Kind::Active,
        SnapshotKind::Committed => Kind::Committed,
    }
}

/// A snapshot with the numbers of what it stands on, nearest first.
pub(crate) struct Stack {
    pub(crate) snapshot: Snapshot,
    pub(crate) parents: Vec<SnapshotNumber>,
}

impl Inner {
    /// A snapshot and what it stands on.
    pub(crate) fn stack(&self, namespace: &Namespace, driver: &str, key: &str) -> Result<Stack> {
        self.read(|view| {
            let snapshot = snapshots::get(view, namespace, driver, key)?;
            let mut parents = Vec::new();
            let mut next = snapshot.parent.clone();
            while let Some(name) = next {
                let parent = snapshots::get(view, namespace, driver, &name)?;
                parents.push(SnapshotNumber(parent.number));
                if parents.len() > MAX_PARENTS {
                    let (count, limit) = (parents.len() as u64, MAX_PARENTS as u64);
                    return Err(Error::Limit { what: "layers of a snapshot", count, limit });
                }
                next = parent.parent;
            }
            Ok(Stack { snapshot, parents })
        })
    }

    /// The numbers that a new snapshot on `parent` stands on, nearest first.
    pub(crate) fn stack_on(
        &self,
        namespace: &Namespace,
        driver: &str,
        parent: &str,
    ) -> Result<Vec<SnapshotNumber>> {
        if parent.is_empty() {
            return Ok(Vec::new());
        }
        let below = self.stack(namespace, driver, parent)?;
        if below.snapshot.kind != SnapshotKind::Committed {
            let reason = format!("{parent:?} is not a committed snapshot");
            return Err(Error::Invalid { what: "parent", reason });
        }
        let mut parents = vec![SnapshotNumber(below.snapshot.number)];
        parents.extend(below.parents);
        Ok(parents)
    }

    /// Makes an active snapshot or a view: directories, then the record.
    pub(crate) fn make_snapshot(
        &self,
        context: &Context,
        request: &SnapshotRequest,
        kind: Kind,
    ) -> Result<(SnapshotNumber, Vec<Mount>)> {
        let driver = self.driver(&request.snapshotter)?;
        let name = driver.name().to_owned();
        let parents = self.stack_on(&context.namespace, &name, &request.parent)?;
        let number = self.next_number();
        let wanted = Request { kind, labels: &request.labels, volatile: false };
        let _guard = self.snapshot_locks.lock(number);
        match driver.prepare(number, &parents, &wanted) {
            Err(error) if kind == Kind::Active && self.has_remotely(driver.as_ref(), request, &error) => {
                self.adopt_remote(context, driver.as_ref(), request, number, &parents)?;
                let name =
                    request.labels.get(gantry_types::labels::SNAPSHOT_REF).cloned().unwrap_or_default();
                return Err(Error::AlreadyExists { what: "snapshot", name });
            }
            prepared => prepared?,
        }
        let (context, owned) = (context.clone(), request.clone());
        let recorded = self.write(move |change| {
            let new = snapshots::Creation {
                driver: &name,
                key: &owned.key,
                parent: Some(owned.parent.as_str()).filter(|parent| !parent.is_empty()),
                labels: &owned.labels,
                number: Some(number.0),
                lease: context.lease.as_deref(),
            };
            match kind {
                Kind::View => snapshots::view(change, &context.namespace, &new)?,
                _ => snapshots::prepare(change, &context.namespace, &new)?,
            };
            Ok(())
        });
        if let Err(error) = recorded {
            // An orphan if that fails, too.
            if let Err(left) = driver.remove(&[number]) {
                tracing::warn!(number = number.0, error = %left, "a directory without a record stays until the next cleanup");
            }
            return Err(error);
        }
        let mounts = driver.mounts(number, &parents, &wanted)?;
        Ok((number, mounts))
    }

    /// What a snapshot takes now.
    fn usage_of(&self, driver: &Arc<dyn Driver>, snapshot: &Snapshot) -> Result<Usage> {
        let number = SnapshotNumber(snapshot.number);
        match snapshot.kind {
            SnapshotKind::Active => {
                let _guard = self.snapshot_locks.lock(number);
                Ok(driver.usage(number)?)
            }
            _ => Ok(Usage { size: snapshot.usage.size, inodes: snapshot.usage.inodes }),
        }
    }

    /// Commits an active snapshot of a client.
    fn commit_snapshot(
        &self,
        context: &Context,
        snapshotter: &str,
        name: &str,
        key: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<()> {
        let driver = self.driver(snapshotter)?;
        let stack = self.stack(&context.namespace, driver.name(), key)?;
        let number = SnapshotNumber(stack.snapshot.number);
        let rebase = stack.snapshot.parent.is_none() && !parent.is_empty();
        if rebase && !driver.capabilities().rebase {
            return Err(Error::Unimplemented(format!("snapshotter {} cannot rebase", driver.name())));
        }
        let parents =
            if rebase { self.stack_on(&context.namespace, driver.name(), parent)? } else { stack.parents };
        let _guard = self.snapshot_locks.lock(number);
        if let Some(implied) = self.implied.take(number)
            && rebase
        {
            self.rebase(driver.as_ref(), number, &parents, &implied)?;
        }
        let usage = driver.commit(number, &parents)?;
        let driver = driver.name().to_owned();
        let (context, name, key) = (context.clone(), name.to_owned(), key.to_owned());
        let parent = Some(parent.to_owned()).filter(|parent| !parent.is_empty());
        self.write(move |change| {
            let commit = snapshots::Commit {
                driver: &driver,
                key: &key,
                name: &name,
                parent: parent.as_deref(),
                labels: &labels,
                usage: gantry_metadata::Usage { size: usage.size, inodes: usage.inodes },
                chain: None,
                lease: context.lease.as_deref(),
            };
            snapshots::commit(change, &context.namespace, &commit)?;
            Ok(())
        })
    }

    /// Does for a layer what it could not do before the layers below were known.
    pub(crate) fn rebase(
        &self,
        driver: &dyn Driver,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
        implied: &gantry_layer::Implied,
    ) -> Result<()> {
        use std::os::fd::AsFd;
        if implied.is_empty() {
            return Ok(());
        }
        let target = driver.layers(number, parents)?;
        let lower: Vec<_> = target.lower.iter().map(AsFd::as_fd).collect();
        Ok(gantry_layer::rebase(target.upper.as_fd(), &lower, implied)?)
    }
}

impl Store {
    /// The snapshotters, and what each can do beyond the contract.
    pub fn snapshotters(&self) -> Vec<(String, Vec<&'static str>)> {
        let drivers = self.inner.drivers.values();
        drivers.map(|driver| (driver.name().to_owned(), driver.capabilities().names())).collect()
    }

    /// What is known of a snapshot.
    ///
    /// # Errors
    /// NotFound for the snapshotter or the name.
    pub async fn snapshot_stat(
        &self,
        context: Context,
        snapshotter: String,
        key: String,
    ) -> Result<Snapshot> {
        self.blocking(move |inner| {
            let driver = inner.driver(&snapshotter)?;
            let name = driver.name();
            let snapshot = inner.read(|view| Ok(snapshots::get(view, &context.namespace, name, &key)?))?;
            Ok(with_shown_label(driver.as_ref(), snapshot))
        })
        .await
    }

    /// Changes labels: those that `fields` name, or all.
    ///
    /// # Errors
    /// NotFound; InvalidArgument for a field or labels.
    pub async fn snapshot_update(
        &self,
        context: Context,
        snapshotter: String,
        key: String,
        labels: Labels,
        fields: Vec<String>,
    ) -> Result<Snapshot> {
        self.blocking(move |inner| {
            let driver = inner.driver(&snapshotter)?.name().to_owned();
            inner.write(move |change| {
                Ok(snapshots::update(change, &context.namespace, &driver, &key, &labels, &fields)?)
            })
        })
        .await
    }

    /// What a snapshot takes of the disk: of an active one as it is now.
    ///
    /// # Errors
    /// NotFound.
    pub async fn snapshot_usage(&self, context: Context, snapshotter: String, key: String) -> Result<Usage> {
        self.blocking(move |inner| {
            let driver = inner.driver(&snapshotter)?;
            let name = driver.name();
            let snapshot = inner.read(|view| Ok(snapshots::get(view, &context.namespace, name, &key)?))?;
            inner.usage_of(driver, &snapshot)
        })
        .await
    }

    /// The mounts of an active snapshot or a view.
    ///
    /// # Errors
    /// NotFound; FailedPrecondition for a committed one.
    pub async fn snapshot_mounts(
        &self,
        context: Context,
        snapshotter: String,
        key: String,
    ) -> Result<Vec<Mount>> {
        self.blocking(move |inner| {
            let driver = inner.driver(&snapshotter)?;
            let stack = inner.stack(&context.namespace, driver.name(), &key)?;
            let kind = driver_kind(stack.snapshot.kind);
            if kind == Kind::Committed {
                let reason = "is committed: prepare or view it first".to_owned();
                return Err(Error::Refused { what: "snapshot", name: key, reason });
            }
            let request = Request { kind, labels: &stack.snapshot.labels, volatile: false };
            Ok(driver.mounts(SnapshotNumber(stack.snapshot.number), &stack.parents, &request)?)
        })
        .await
    }

    /// The files of an active snapshot or a view, for reading alone: a detached mount, also of one that a container uses. There is
    /// none of a snapshot without layers.
    ///
    /// # Errors
    /// NotFound; FailedPrecondition for a committed one; Unimplemented for mounts that are neither binds nor overlays.
    ///
    /// # Privilege
    /// `CAP_SYS_ADMIN` where there are several layers.
    pub async fn snapshot_files(
        &self,
        context: Context,
        snapshotter: String,
        key: String,
    ) -> Result<Option<std::os::fd::OwnedFd>> {
        let mounts = self.snapshot_mounts(context, snapshotter, key.clone()).await?;
        let [mount] = &mounts[..] else {
            return Err(Error::Unimplemented(format!("reading {} mounts at once", mounts.len())));
        };
        let parts = crate::diff::view::parts(mount)?;
        tokio::task::spawn_blocking(move || parts.open())
            .await
            .map_err(|_| Error::panicked("opening a snapshot"))?
    }

    /// Makes an active snapshot, and gives its mounts.
    ///
    /// # Errors
    /// AlreadyExists for the key, or for what the label `containerd.io/snapshot.ref` names; NotFound for the parent;
    /// InvalidArgument for labels or a parent that is not committed.
    pub async fn snapshot_prepare(&self, context: Context, request: SnapshotRequest) -> Result<Vec<Mount>> {
        self.blocking(move |inner| {
            inner.refuse_existing(&context, &request)?;
            Ok(inner.make_snapshot(&context, &request, Kind::Active)?.1)
        })
        .await
    }

    /// Makes a view, and gives its mounts.
    ///
    /// # Errors
    /// As of [`snapshot_prepare`](Self::snapshot_prepare).
    pub async fn snapshot_view(&self, context: Context, request: SnapshotRequest) -> Result<Vec<Mount>> {
        self.blocking(move |inner| Ok(inner.make_snapshot(&context, &request, Kind::View)?.1)).await
    }

    /// Makes of the active snapshot `key` the committed one `name`. With a `parent` that it did not have, it is rebased.
    ///
    /// # Errors
    /// AlreadyExists for the name; NotFound for key or parent; FailedPrecondition for one that is not active; Unimplemented
    /// for a snapshotter that cannot rebase.
    pub async fn snapshot_commit(
        &self,
        context: Context,
        snapshotter: String,
        name: String,
        key: String,
        parent: String,
        labels: Labels,
    ) -> Result<()> {
        self.blocking(move |inner| {
            inner.commit_snapshot(&context, &snapshotter, &name, &key, &parent, labels)
        })
        .await
    }

    /// Removes a snapshot. Its key can be used again at once; its files go in the background.
    ///
    /// # Errors
    /// NotFound; FailedPrecondition for one that has children.
    pub async fn snapshot_remove(&self, context: Context, snapshotter: String, key: String) -> Result<()> {
        self.blocking(move |inner| {
            let driver = inner.driver(&snapshotter)?.name().to_owned();
            inner.write(move |change| {
                let lease = context.lease.as_deref();
                snapshots::remove(change, &context.namespace, &driver, &key, lease)?;
                Ok(())
            })
        })
        .await
    }

    /// The snapshots that pass one of `filters` (over `name`, `parent`, `kind`, `labels.<key>`), by name.
    ///
    /// # Errors
    /// NotFound for the snapshotter; InvalidArgument for a filter.
    pub async fn snapshot_list(
        &self,
        context: Context,
        snapshotter: String,
        filters: Vec<String>,
    ) -> Result<Vec<Snapshot>> {
        let filters = Filters::parse(&filters)?;
        self.blocking(move |inner| {
            let driver = inner.driver(&snapshotter)?;
            let mut found = Vec::new();
            if let Some(names) = filters.only("name") {
                let mut names = names;
                names.sort_unstable();
                names.dedup();
                for name in names {
                    let one =
                        inner.read(|view| Ok(snapshots::get(view, &context.namespace, driver.name(), name)?));
                    match one {
                        Ok(snapshot) => found.push(snapshot),
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            } else {
                found = inner.read(|view| Ok(snapshots::list(view, &context.namespace, driver.name())?))?;
            }
            found.retain(|snapshot| filters.passes(&SnapshotFields(snapshot)));
            Ok(found.into_iter().map(|snapshot| with_shown_label(driver.as_ref(), snapshot)).collect())
        })
        .await
    }

    /// Removes directories that no record names, and what removed snapshots still take.
    ///
    /// # Errors
    /// NotFound for the snapshotter; those of the file system.
    pub async fn snapshot_cleanup(&self, snapshotter: String) -> Result<()> {
        self.blocking(move |inner| {
            let driver = Arc::clone(inner.driver(&snapshotter)?);
            inner.database.flush()?;
            crate::collect::unlink(inner)?;
            inner.remove_orphans(&driver)?;
            while driver.collect()? > 0 {}
            Ok(())
        })
        .await
    }
}

impl Inner {
    /// The answer of a snapshotter that has what a client is about to unpack.
    fn refuse_existing(&self, context: &Context, request: &SnapshotRequest) -> Result<()> {
        let Some(target) = request.labels.get(gantry_types::labels::SNAPSHOT_REF) else { return Ok(()) };
        let driver = self.driver(&request.snapshotter)?.name();
        match self.read(|view| Ok(snapshots::get(view, &context.namespace, driver, target)?)) {
            Ok(_) => Err(Error::AlreadyExists { what: "snapshot", name: target.clone() }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes directories that no record names and that are not being made.
    pub(crate) fn remove_orphans(&self, driver: &Arc<dyn Driver>) -> Result<()> {
        // Whatever is made after this has a larger number.
        let below = self.next_number().0;
        let known: std::collections::BTreeSet<u64> =
            self.read(|view| Ok(snapshots::driver_numbers(view, driver.name())?))?.into_iter().collect();
        let spared = |number: SnapshotNumber| {
            number.0 >= below || known.contains(&number.0) || self.snapshot_locks.is_locked(number)
        };
        let removed = driver.cleanup(&spared)?;
        if !removed.is_empty() {
            tracing::info!(
                snapshotter = driver.name(),
                count = removed.len(),
                "directories without a record were removed"
            );
        }
        Ok(())
    }
}

fn with_shown_label(driver: &dyn Driver, mut snapshot: Snapshot) -> Snapshot {
    if let Some((key, value)) = driver.shown_label(SnapshotNumber(snapshot.number)) {
        snapshot.labels.insert(key.to_owned(), value);
    }
    snapshot
}
