//! What became of containers while there was no daemon: records against shims.
//!
//! | record says | shim says | what happens |
//! |---|---|---|
//! | running, paused | running, paused | it goes on, with its address |
//! | running | ended, or nothing | its end is written down, once, and its policy counts |
//! | created, exited | a task | the task is removed: a start or an end that did not come to its end |
//! | restarting | – | its pause begins anew |
//! | removing, dead | – | it is removed |
//! | created, without a directory | – | it is removed: nobody was told of it, as it was not made whole |
//! | created, exited, and to go with its end | – | it is removed: nobody else will |

use std::sync::Arc;
use std::time::Duration;

use gantry_proto_shim::process::Status as TaskStatus;
use gantry_proto_shim::task::StateResponse;
use jiff::Timestamp;

use super::{Container, DOCUMENT, Owner, RemoveRequest, end};
use crate::options::RestartPolicy;
use crate::record::{Record, Status};
use crate::{Engine, Result};

/// Of a process whose end nobody has seen.
const UNKNOWN_EXIT: i32 = 255;

/// Reads what is kept, and compares it with what runs.
///
/// # Errors
/// Those of the database.
pub(crate) async fn recover(engine: &Engine) -> Result<()> {
    for (id, value) in engine.shared.store.documents(DOCUMENT).await? {
        let record: Record = match serde_json::from_slice(&value) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(container = id, %error, "the record of a container cannot be read");
                continue;
            }
        };
        if engine.take_name(&record.name, &record.id).is_err() {
            tracing::error!(container = id, name = record.name, "two containers have one name");
        }
        let key = (engine.shared.namespace.clone(), record.id.clone());
        engine.insert(Arc::new(Container::new(key, Owner::Docker, record)));
    }
    engine.settle_volumes().await;
    let again = engine.clone();
    let swept = engine.blocking("sweeping parts of volumes", move || {
        super::subpath::sweep(&again);
        Ok(())
    });
    if let Err(error) = swept.await {
        tracing::warn!(%error, "parts of volumes stay mounted");
    }
    engine.recover_userns().await;
    // Those of starts and ends that did not come to their end; before addresses are taken over, and before anything is attached.
    let known: Vec<String> = engine.containers().iter().map(|container| container.id.clone()).collect();
    let network = engine.shared.network.clone();
    let swept = engine.blocking("sweeping network namespaces", move || {
        for name in network.netns_names()?.iter().filter(|name| !known.contains(name)) {
            network.remove_netns(name)?;
        }
        Ok(())
    });
    if let Err(error) = swept.await {
        tracing::warn!(%error, "network namespaces of containers that are gone are left");
    }
    let living = engine.containers().into_iter().filter_map(|container| container.record().endpoint.clone());
    let (network, endpoints) = (engine.shared.network.clone(), living.collect());
    let adopted = engine.blocking("taking over addresses", move || Ok(network.adopt(endpoints)?)).await;
    match adopted {
        Ok(lost) => {
            for (port, error) in lost {
                tracing::error!(port = port.host_port, address = %port.host_ip, %error, "a published port is somebody else's now");
            }
        }
        Err(error) => tracing::error!(%error, "the network of containers could not be taken over"),
    }
    look_again(engine).await;
    finish_removals(engine).await;
    Ok(())
}

/// Removes what was on its way out when the daemon died, and what was not made whole.
async fn finish_removals(engine: &Engine) {
    for container in engine.containers() {
        let _gate = container.gate.lock().await;
        let record = container.record();
        let goes = match record.state.status {
            Status::Removing | Status::Dead => true,
            // The directory is the last that is made.
            Status::Created if !engine.shared.directory(&record.id).exists() => true,
            Status::Created | Status::Exited => record.options.auto_remove,
            Status::Running | Status::Paused | Status::Restarting => false,
        };
        if !goes {
            continue;
        }
        let volumes = record.options.auto_remove || record.state.status == Status::Created;
        let request = RemoveRequest { force: true, volumes };
        if let Err(error) = engine.remove_now(&container, request).await {
            tracing::error!(container = %record.id, %error, "a container could not be removed");
        }
    }
}

/// Compares each record with what its shim says.
pub(crate) async fn look_again(engine: &Engine) {
    for container in engine.containers() {
        let _gate = container.gate.lock().await;
        let state = engine.shared.tasks.state(&container.key(), "").await.ok();
        compare(engine, &container, state).await;
    }
}

async fn compare(engine: &Engine, container: &Arc<Container>, task: Option<StateResponse>) {
    let record = container.record();
    let lives = |task: &StateResponse| {
        matches!(task.status(), TaskStatus::Running | TaskStatus::Paused | TaskStatus::Pausing)
    };
    match (record.state.status, task) {
        (Status::Running | Status::Paused, Some(task)) if lives(&task) => {
            let status = if task.status() == TaskStatus::Running { Status::Running } else { Status::Paused };
            note(engine, container, &record, status, task.pid).await;
        }
        (Status::Running | Status::Paused, task) => {
            let mut exit = end::unseen(&record.id, UNKNOWN_EXIT, Timestamp::now());
            if let Some(task) = task.filter(|task| task.status() == TaskStatus::Stopped) {
                exit.exit_status = task.exit_status;
                exit.exited_at = task.exited_at;
                exit.cause = task.cause;
            }
            engine.end(container, exit).await;
        }
        (_, Some(_)) => engine.clear(container).await,
        (_, None) => {}
    }
}

/// It goes on.
async fn note(engine: &Engine, container: &Arc<Container>, record: &Record, status: Status, pid: u32) {
    let ago = record.state.started.map_or(0, |started| Timestamp::now().duration_since(started).as_secs());
    container.note_start(Duration::from_secs(u64::try_from(ago).unwrap_or(0)));
    if record.state.status != status || record.state.pid != pid {
        let mut record = record.clone();
        record.state.status = status;
        record.state.pid = pid;
        engine.save_anyway(container, record, Vec::new()).await;
    }
    engine.watch_health(container);
}

/// Starts what is to run: what was to be started again, and what runs whenever the daemon does.
pub(crate) async fn resume(engine: &Engine) {
    for container in engine.containers() {
        let record = container.record();
        match record.state.status {
            Status::Restarting => engine.restart_after(&container, Duration::ZERO),
            Status::Exited => {
                let wanted = match record.options.restart {
                    RestartPolicy::Always => true,
                    RestartPolicy::UnlessStopped => !record.state.stopped_by_hand,
                    // It would have been started again at once, had not the machine gone down.
                    RestartPolicy::OnFailure(most) => {
                        !record.state.stopped_by_hand
                            && record.state.exit_code != 0
                            && (most == 0 || record.restart_count < most)
                    }
                    RestartPolicy::No => false,
                };
                if wanted {
                    let mut record = (*record).clone();
                    record.state.status = Status::Restarting;
                    engine.save_anyway(&container, record, Vec::new()).await;
                    engine.restart_after(&container, Duration::ZERO);
                }
            }
            _ => {}
        }
    }
}
