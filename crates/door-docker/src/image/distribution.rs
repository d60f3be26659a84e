//! `GET /distribution/{name}/json`, `GET /images/search`

use gantry_docker_api::image::{DistributionInspect, SearchResult};
use gantry_engine::Error;
use http::Method;

use super::{from_api, into_api};
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// The most results of a search.
const MAX_RESULTS: u32 = 100;
/// How many there are unless a client says so.
const RESULTS: u32 = 25;

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

/// Looks for repositories.
pub(super) async fn search(call: &Call) -> Outcome {
    let limit = call.query.number::<u32>("limit")?.unwrap_or(RESULTS);
    if limit == 0 || limit > MAX_RESULTS {
        return Err(Failure::invalid(format!("limit {limit} is outside the range of [1, {MAX_RESULTS}]")));
    }
    let found = call.door.engine.image_search(call.query.text("term"), limit).await?;
    let results = found.into_iter().map(|one| SearchResult {
        star_count: i64::try_from(one.stars).unwrap_or(i64::MAX),
        is_official: one.official,
        name: one.name,
        is_automated: false,
        description: one.description,
    });
    Ok(Answer::json(&results.collect::<Vec<_>>()))
}
