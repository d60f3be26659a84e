//! Removing a container.

use std::sync::Arc;

use gantry_primitives::Step;
use gantry_types::ErrorKind;

use super::{Container, DOCUMENT, event_of, mounts};
use crate::record::{Record, Status};
use crate::{Engine, Error, Result};

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveRequest {
    /// Also one that runs.
    pub force: bool,
    /// With its volumes that nobody named.
    pub volumes: bool,
}

impl Engine {
    /// Removes a container.
    ///
    /// # Errors
    /// Conflict for one that runs; what the disk says: it is then `dead`, and can be removed again.
    pub async fn container_remove(&self, container: &Arc<Container>, request: RemoveRequest) -> Result<()> {
        container.require_own()?;
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned("removing a container", async move {
            let _gate = container.gate.lock().await;
            let record = container.record();
            if record.state.status == Status::Removing {
                let id = &record.id;
                return Err(Error::Conflict(format!("removal of container {id} is already in progress")));
            }
            let runs = record.state.status.is_alive() || record.state.status == Status::Restarting;
            if runs && !request.force {
                let way = match record.state.status {
                    Status::Paused => "container is paused and must be unpaused first",
                    Status::Restarting => {
                        "container is restarting: stop the container before removing or force remove"
                    }
                    _ => "container is running: stop the container before removing or force remove",
                };
                return Err(Error::Conflict(format!("cannot remove container \"{}\": {way}", record.name)));
            }
            engine.cancel_restart(&container).await?;
            engine.remove_now(&container, request).await
        })
        .await
    }

    /// The same with the gate held, whatever it does.
    pub(crate) async fn remove_now(&self, container: &Arc<Container>, request: RemoveRequest) -> Result<()> {
        let mut record = (*container.record()).clone();
        let was_alive = record.state.status.is_alive();
        self.stop_health(container);
        record.state.status = Status::Removing;
        container.set(record.clone());
        self.clear(container).await;
        self.leave_network(&mut record).await;
        self.unmount_volumes(&record).await;
        if let Err(error) = self.remove_parts(&record).await {
            record.state.status = Status::Dead;
            self.save_anyway(container, record, Vec::new()).await;
            return Err(error);
        }
        let mut events = Vec::new();
        if was_alive {
            let mut died = event_of(&record, "die");
            died.attributes.insert("exitCode".to_owned(), "137".to_owned());
            events.push(died);
            record.state.exit_code = 137;
        }
        events.push(event_of(&record, "destroy"));
        let mut steps = vec![
            Step::RemoveContainer(record.id.clone()),
            Step::RemoveDocument { kind: DOCUMENT, name: record.id.clone() },
        ];
        steps.extend(events.iter().map(crate::event::Event::step));
        if let Err(error) = self.shared.store.commit(self.shared.namespace.clone(), steps).await {
            record.state.status = Status::Dead;
            self.save_anyway(container, record, Vec::new()).await;
            return Err(error.into());
        }
        self.forget_execs(container);
        self.forget(container);
        if request.volumes {
            for volume in mounts::anonymous(&record.mounts).into_keys() {
                match self.volume_remove(&volume).await {
                    // Somebody else has it, too.
                    Err(Error::Conflict(_) | Error::NotFound { .. }) | Ok(()) => {}
                    Err(error) => tracing::warn!(volume, %error, "a volume is left of a container"),
                }
            }
        }
        container.transient().waiting.clear();
        let code = record.state.exit_code;
        container.moment.send_modify(|moment| {
            moment.removed = true;
            moment.exit_code = code;
            moment.ends += u64::from(was_alive);
        });
        Ok(())
    }

    /// Its snapshot and its files. What is gone already is no error: an earlier try may have come so far.
    async fn remove_parts(&self, record: &Record) -> Result<()> {
        let snapshotter = self.snapshotter().to_owned();
        match self.shared.store.snapshot_remove(self.context(), snapshotter, record.id.clone()).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.remove_views(record).await?;
        let directory = self.shared.directory(&record.id);
        let shm = super::specification::shm(self, &record.id);
        self.blocking("removing files", move || {
            mounts::remove_shm(std::path::Path::new(&shm));
            crate::volume::remove_tree(&directory)
        })
        .await
    }
}
