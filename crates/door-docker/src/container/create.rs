//! Making a container.

use std::time::Instant;

use gantry_docker_api::container::{ContainerCreateRequest, ContainerCreateResponse};
use gantry_types::Platform;
use http::StatusCode;

use crate::failure::Failure;
use crate::from_api;
use crate::http::{Answer, Call, Outcome};

/// `POST /containers/create`
pub(super) async fn create(mut call: Call) -> Outcome {
    let Some(mut request) = call.json_if_any::<ContainerCreateRequest>().await? else {
        return Err(Failure::invalid("invalid JSON: got EOF while reading request body"));
    };
    let platform = match call.query.text("platform") {
        "" => None,
        text => Some(text.parse::<Platform>().map_err(|_| {
            Failure::invalid(format!("{text:?}: cannot parse platform specifier: invalid argument"))
        })?),
    };
    if let Some(host) = &mut request.host_config {
        for mode in [&mut host.network_mode, &mut host.ipc_mode, &mut host.pid_mode] {
            by_id(&call, mode);
        }
    }
    let asked = from_api::container(request, call.version)?;
    if !asked.options.stop_signal.is_empty() {
        gantry_engine::signal(&asked.options.stop_signal)?;
    }
    let name = call.query.get("name");
    let began = Instant::now();
    let made = call.door.engine.container_create(name, &asked.image, platform, asked.options).await?;
    let took = began.elapsed();
    let mut warnings = asked.warnings;
    warnings
        .extend(made.warnings.into_iter().filter(|warning| !warnings.contains(warning)).collect::<Vec<_>>());
    let answer = ContainerCreateResponse { id: made.id, warnings: warnings.into() };
    Ok(Answer::json_with(StatusCode::CREATED, &answer).timing(took, &made.timings))
}

/// Puts the id of another container in place of its name, which may change.
fn by_id(call: &Call, mode: &mut String) {
    if let Some(other) = mode.strip_prefix("container:")
        && !other.is_empty()
        && let Ok(other) = call.door.engine.container(other)
    {
        *mode = format!("container:{}", other.id);
    }
}
