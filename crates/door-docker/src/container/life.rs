//! What changes the state of a container.

use std::time::{Duration, Instant};

use gantry_engine::RemoveRequest;

use super::{find, size};
use crate::failure::Failure;
use crate::from_api::timeout;
use crate::http::{Answer, Call, Outcome};

/// `POST /containers/{name}/start`
pub(super) async fn start(call: Call, name: &str) -> Outcome {
    let container = find(&call, name).await?;
    if !call.query.text("checkpoint").is_empty() {
        return Err(Failure::unsupported("checkpoints are not supported by this door"));
    }
    let began = Instant::now();
    call.door.engine.container_start(&container).await?;
    Ok(Answer::none().timing(began.elapsed(), &container.timings()))
}

/// The signal and the time that a request names.
fn patience(call: &Call) -> Result<Option<Duration>, Failure> {
    Ok(call.query.number::<i64>("t")?.map(timeout))
}

/// `POST /containers/{name}/stop`
pub(super) async fn stop(call: Call, name: &str) -> Outcome {
    let patience = patience(&call)?;
    let container = find(&call, name).await?;
    // For what does not run, none is needed.
    let is_alive = container.record().state.status.is_alive();
    let signal = call.query.get("signal").filter(|text| is_alive && !text.is_empty());
    if let Some(Err(error)) = signal.map(gantry_engine::signal) {
        let failure = Failure::from(error);
        let message = format!("cannot stop container: {name}: {}", failure.message);
        return Err(Failure { message, ..failure });
    }
    call.door.engine.container_stop(&container, signal, patience).await?;
    Ok(Answer::none())
}

/// `POST /containers/{name}/restart`
pub(super) async fn restart(call: Call, name: &str) -> Outcome {
    let patience = patience(&call)?;
    let container = find(&call, name).await?;
    call.door.engine.container_restart(&container, call.query.get("signal"), patience).await?;
    Ok(Answer::none())
}

/// `POST /containers/{name}/kill`
pub(super) async fn kill(call: Call, name: &str) -> Outcome {
    let words = |failure: Failure| {
        let prefix = "cannot kill container: ";
        let message = failure.message.strip_prefix(prefix).unwrap_or(&failure.message);
        // The engine's names the id, docker's what was asked for.
        let message = message
            .split_once(": container ")
            .map_or(message.to_owned(), |(_, rest)| format!("container {rest}"));
        Failure { message: format!("{prefix}{name}: {message}"), ..failure }
    };
    let container = find(&call, name).await.map_err(words)?;
    let killed = call.door.engine.container_kill(&container, call.query.text("signal")).await;
    killed.map_err(|error| words(error.into()))?;
    Ok(Answer::none())
}

/// `POST /containers/{name}/pause`
pub(super) async fn pause(call: Call, name: &str) -> Outcome {
    let container = find(&call, name).await?;
    call.door.engine.container_pause(&container).await?;
    Ok(Answer::none())
}

/// `POST /containers/{name}/unpause`
pub(super) async fn unpause(call: Call, name: &str) -> Outcome {
    let container = find(&call, name).await?;
    call.door.engine.container_unpause(&container).await?;
    Ok(Answer::none())
}

/// `POST /containers/{name}/rename`
pub(super) async fn rename(call: Call, name: &str) -> Outcome {
    let container = find(&call, name).await?;
    let new = call.query.text("name");
    if new.is_empty() {
        return Err(Failure::invalid("Neither old nor new names may be empty"));
    }
    let renamed = call.door.engine.container_rename(&container, new).await;
    renamed.map_err(|error| {
        let failure = Failure::from(error);
        let of_name =
            failure.message.starts_with("Invalid container name") || failure.message.starts_with("Conflict.");
        let prefix = if of_name { "Error when allocating new name: " } else { "" };
        Failure { message: format!("{prefix}{}", failure.message), ..failure }
    })?;
    Ok(Answer::none())
}

/// `POST /containers/{name}/resize`
pub(super) async fn resize(call: Call, name: &str) -> Outcome {
    let (rows, columns) = size(&call)?;
    let container = find(&call, name).await?;
    let record = container.record();
    if !record.state.status.is_alive() {
        return Err(Failure::conflict(format!("container {} is not running", record.id)));
    }
    // Without a terminal there is nothing to be done, and that is done.
    if record.options.process.tty {
        call.door.engine.container_resize(&container, columns, rows).await?;
    }
    Ok(Answer::status(http::StatusCode::OK))
}

/// `DELETE /containers/{name}`
pub(super) async fn remove(call: Call, name: &str) -> Outcome {
    let container = find(&call, name).await?;
    if call.query.is_set("link") {
        return Err(Failure::conflict("Conflict, cannot remove the default link name of the container"));
    }
    let request = RemoveRequest { force: call.query.is_set("force"), volumes: call.query.is_set("v") };
    call.door.engine.container_remove(&container, request).await?;
    Ok(Answer::none())
}
