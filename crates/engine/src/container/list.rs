//! Containers of other doors, as far as their records and shims tell of them; and what runs in a container.

use std::sync::Arc;

use gantry_primitives::Container as Stored;
use gantry_proto_shim::process::Status as TaskStatus;
use gantry_proto_shim::task::StateResponse;
use gantry_types::Namespace;
use gantry_types::oci::Spec;
use jiff::Timestamp;

use super::{Container, Owner, end};
use crate::options::Options;
use crate::record::{Command, ImageOf, Record, State, Status};
use crate::{Engine, Error, Result};

/// The label by which people name containers that have long ids.
const NAME_LABELS: [&str; 2] = ["nerdctl/name", "io.kubernetes.container.name"];

impl Engine {
    /// The containers of other doors.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn foreign_containers(&self) -> Result<Vec<Arc<Container>>> {
        let mut found = Vec::new();
        if !self.shared.settings.show_foreign {
            return Ok(found);
        }
        for (namespace, _) in self.shared.store.namespace_list().await? {
            let states = self.shared.tasks.list(&namespace).await;
            for stored in self.shared.store.container_list(namespace.clone(), Vec::new()).await? {
                let is_ours = namespace == self.shared.namespace && self.container(&stored.id).is_ok();
                if !is_ours {
                    let state = states.iter().find(|state| state.id == stored.id);
                    found.push(Arc::new(foreign(&namespace, stored, state)));
                }
            }
        }
        Ok(found)
    }

    /// A container of any door: ours by [`Engine::container`], others by their ids or the beginnings of these.
    ///
    /// # Errors
    /// NotFound; Conflict for an ambiguous beginning.
    pub async fn any_container(&self, name: &str) -> Result<Arc<Container>> {
        let missing = match self.container(name) {
            Err(error @ Error::NotFound { .. }) => error,
            result => return result,
        };
        let bare = name.strip_prefix('/').unwrap_or(name);
        let all = self.foreign_containers().await?;
        let whole = all.iter().find(|other| other.id == bare || other.record().name == bare);
        if let Some(container) = whole {
            return Ok(Arc::clone(container));
        }
        let mut beginning = all.into_iter().filter(|other| other.id.starts_with(bare));
        match (beginning.next(), beginning.next()) {
            (Some(container), None) => Ok(container),
            (Some(_), Some(_)) => {
                Err(Error::Conflict(format!("multiple IDs found with provided prefix: {bare}")))
            }
            _ => Err(missing),
        }
    }

    /// The pids of what runs in a container, on the host.
    ///
    /// # Errors
    /// Conflict for one that does not run; what the shim says.
    pub async fn container_pids(&self, container: &Arc<Container>) -> Result<Vec<u32>> {
        container.require_alive()?;
        let answer = self.shared.tasks.pids(&container.key()).await?;
        Ok(answer.processes.into_iter().map(|process| process.pid).collect())
    }
}

/// What can be said of a container that the engine did not make.
fn foreign(namespace: &Namespace, stored: Stored, task: Option<&StateResponse>) -> Container {
    let spec: Spec =
        stored.spec.as_ref().and_then(|spec| serde_json::from_slice(&spec.value).ok()).unwrap_or_default();
    let process = spec.process.unwrap_or_default();
    let name = NAME_LABELS.iter().find_map(|label| stored.labels.get(*label)).unwrap_or(&stored.id);
    let created = Timestamp::from_nanosecond(stored.created.as_nanosecond()).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut options = Options::default();
    options.process.tty = process.terminal;
    let record = Record {
        id: stored.id.clone(),
        name: name.clone(),
        created,
        image: ImageOf { reference: stored.image.clone(), name: stored.image.clone(), ..ImageOf::default() },
        process: Command {
            cmd: process.args,
            env: process.env,
            working_dir: process.cwd,
            user: format!("{}:{}", process.user.uid, process.user.gid),
            hostname: spec.hostname.clone(),
            ..Command::default()
        },
        mounts: Vec::new(),
        state: task.map_or_else(State::default, |task| state(task, created)),
        endpoint: None,
        userns: None,
        restart_count: 0,
        log_path: None,
        labels: stored.labels.into_iter().collect(),
        options,
    };
    let key = (namespace.clone(), stored.id);
    Container::new(key, Owner::Containerd(namespace.to_string()), record)
}

fn state(task: &StateResponse, created: Timestamp) -> State {
    let status = match task.status() {
        TaskStatus::Running => Status::Running,
        TaskStatus::Paused | TaskStatus::Pausing => Status::Paused,
        TaskStatus::Stopped => Status::Exited,
        TaskStatus::Created | TaskStatus::Unknown => Status::Created,
    };
    let over = status == Status::Exited;
    State {
        status,
        pid: if over { 0 } else { task.pid },
        // Its start is not written down anywhere; it is not before its creation.
        started: (status != Status::Created).then_some(created),
        finished: over.then(|| end::time(task.exited_at.as_ref())),
        exit_code: i32::try_from(task.exit_status).unwrap_or(i32::MAX),
        cause: task.cause.as_ref().map(end::cause_of),
        ..State::default()
    }
}
