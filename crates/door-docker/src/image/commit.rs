//! `POST /commit`

use gantry_docker_api::container::ContainerConfig;
use gantry_docker_api::image::CommitResponse;
use gantry_engine::image::{Change, CommitRequest};
use http::{Method, StatusCode};

use super::{from_api, into_api};
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// Makes an image of a container.
pub(crate) async fn commit(mut call: Call) -> Outcome {
    if call.method != Method::POST {
        return Err(Failure::no_page());
    }
    let config: ContainerConfig = call.json().await?;
    let reference = from_api::new_name(&call)?;
    let name = call.query.text("container").to_owned();
    if name.is_empty() {
        return Err(Failure::invalid("invalid name or ID supplied: \"\""));
    }
    let container = call.door.engine.container(&name)?;
    let changes: Vec<String> = call.query.all("changes").map(str::to_owned).collect();
    let request = CommitRequest {
        reference,
        author: call.query.text("author").to_owned(),
        message: call.query.text("comment").to_owned(),
        config: into_api::settings(config),
        changes: Change::parse(&changes)?,
        without_pause: !call.query.is_set_or("pause", true),
    };
    let id = call.door.engine.container_commit(&container, request).await?;
    Ok(Answer::json_with(StatusCode::CREATED, &CommitResponse { id: id.to_string() }))
}
