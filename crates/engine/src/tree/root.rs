//! The root of a container as it sees it, for as long as somebody works with it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use gantry_types::ErrorKind;
use tokio::sync::watch;

use super::{process, stopped};
use crate::record::Record;
use crate::userns::Shift;
use crate::{Container, Engine, Error, Moment, Owner, Result};

/// How long it is waited for the end of a container to be written down whose process is gone.
const END: Duration = Duration::from_secs(10);

/// What is wanted of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything that the container sees, for reading.
    All,
    /// The same, for writing.
    AllWritable,
    /// What is in its snapshot alone, without what is mounted in it.
    Snapshot,
}

/// The root.
#[derive(Debug)]
pub(crate) struct Root {
    dir: OwnedFd,
    /// Mounts below the root are there as long as the namespace is, which this keeps.
    namespace: Option<OwnedFd>,
    /// Between its ids and those that are seen here.
    shift: Option<Shift>,
}

impl Root {
    pub(super) fn new(dir: OwnedFd, namespace: Option<OwnedFd>) -> Self {
        Self { dir, namespace, shift: None }
    }

    /// The same of a container in a user namespace, whose mounts show its files in the host's ids.
    pub(super) fn shifted(self, shift: Option<Shift>) -> Self {
        Self { shift, ..self }
    }

    pub(super) fn shift(&self) -> Option<&Shift> {
        self.shift.as_ref()
    }

    pub(super) fn namespace(&self) -> Option<BorrowedFd<'_>> {
        self.namespace.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Engine {
    /// Runs `work` on the root of a container, on a thread that may wait, to its end: whoever waits for it.
    ///
    /// # Errors
    /// NotFound for a container that is gone, Conflict for one that is going, Foreign for writing to one of another door that
    /// does not run, and those of the work.
    pub(super) async fn with_root<T, F>(
        &self,
        container: &Arc<Container>,
        wanted: Wanted,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Root) -> Result<T> + Send + 'static,
    {
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned("working on a container's files", async move {
            loop {
                let gate = container.gate.lock().await;
                let record = container.record();
                // It went while the gate was waited for.
                if container.moment.borrow().removed {
                    return Err(Error::NotFound { what: "container", name: record.name.clone() });
                }
                let (root, _gate, _files) = if record.state.status.is_alive() {
                    let root = engine.running_root(&container, &record, wanted).await?;
                    // It may end meanwhile, but not begin again: its mounts stay as long as the root does.
                    let files = Arc::clone(&container.files).read_owned().await;
                    let mut moments = container.moment.subscribe();
                    let before = moments.borrow_and_update().clone();
                    drop(gate);
                    let Some(root) = root else {
                        ended(&container, moments, before).await?;
                        continue;
                    };
                    (root, None, Some(files))
                } else {
                    // Somebody may still read what its last process had mounted.
                    drop(container.files.write().await);
                    (engine.stopped_root(&container, &record, wanted).await?, Some(gate), None)
                };
                return engine.blocking("working on a container's files", move || work(&root)).await;
            }
        })
        .await
    }

    /// The root of a container that runs, for what is looked up in its files.
    ///
    /// # Errors
    /// Conflict for one that has ended; what the shim and the kernel say.
    pub(crate) async fn pinned_root(&self, container: &Container) -> Result<Root> {
        let record = container.require_alive()?;
        let root = self.running_root(container, &record, Wanted::All).await?;
        root.ok_or_else(|| Error::Conflict(format!("container {} is not running", record.id)))
    }

    /// The root of a container with a process; None if that has ended.
    async fn running_root(
        &self,
        container: &Container,
        record: &Record,
        wanted: Wanted,
    ) -> Result<Option<Root>> {
        let (pid, shift) = (record.state.pid, Shift::of(record));
        let opened = self.blocking("opening a container's root", move || process::Process::open(pid)).await?;
        let Some(process) = opened else { return Ok(None) };
        match self.shared.tasks.state(&container.key(), "").await {
            // Its parent says so after it was opened, and it is not over yet: so it is this one, and not another with its number.
            Ok(state) if state.pid == pid => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        self.blocking("opening a container's root", move || {
            if process.has_ended()? {
                return Ok(None);
            }
            let root = process.into_root();
            let root = if wanted == Wanted::Snapshot { process::alone(root)? } else { root };
            Ok(Some(root.shifted(shift)))
        })
        .await
    }

    /// The root of a container without a process, with the gate held.
    async fn stopped_root(&self, container: &Container, record: &Record, wanted: Wanted) -> Result<Root> {
        if container.owner == Owner::Docker {
            return stopped::open(self, record, wanted).await;
        }
        if wanted == Wanted::AllWritable {
            // Whoever owns it may start it at any time, and mount what would be mounted here.
            container.require_own()?;
        }
        let (context, snapshotter, key) = self.snapshot_of(container).await?;
        match self.shared.store.snapshot_files(context, snapshotter, key).await? {
            Some(dir) => Ok(Root::new(dir, None)),
            None => Err(Error::Conflict(format!("container {} has no files", record.id))),
        }
    }
}

/// Waits until the end of a container is written down.
async fn ended(container: &Container, mut moments: watch::Receiver<Moment>, before: Moment) -> Result<()> {
    let is_over = |moment: &Moment| *moment != before;
    if container.owner == Owner::Docker && tokio::time::timeout(END, moments.wait_for(is_over)).await.is_ok()
    {
        return Ok(());
    }
    Err(Error::Conflict(format!("container {} is ending: try again", container.id)))
}
