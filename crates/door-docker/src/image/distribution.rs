//! `GET /distribution/{name}/json`

use gantry_docker_api::image::DistributionInspect;
use gantry_engine::Error;
use http::Method;

use super::{from_api, into_api};
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// What a registry has under a name.
pub(crate) async fn distribution(call: Call, rest: &[&str]) -> Outcome {
    let (&Method::GET, [parts @ .., "json"]) = (&call.method, rest) else { return Err(Failure::no_page()) };
    let name = parts.join("/");
    let reference = from_api::named(&name)?.reference;
    let found = call.door.engine.distribution(&reference, from_api::credential(&call)).await;
    let found = found.map_err(|error| match error {
        Error::NotFound { what: "manifest", name } => Failure::not_found(format!("manifest unknown: {name}")),
        error => error.into(),
    })?;
    Ok(Answer::json(&DistributionInspect {
        descriptor: into_api::descriptor(&found.descriptor),
        platforms: found.platforms.iter().map(into_api::platform).collect(),
    }))
}
