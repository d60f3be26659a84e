//! The list of containers.

use std::collections::HashMap;
use std::sync::Arc;

use gantry_docker_api::container::ContainerSummary;
use gantry_docker_api::image::OciDescriptor;
use gantry_engine::{Container, Record};
use jiff::Timestamp;

use super::filter::{Filter, is_active};
use super::inspect::{V1_48, manifest};
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};
use crate::into_api;

/// What several containers of one image have in common: its name or id, and its manifest.
type Images = HashMap<(String, String), (String, Option<OciDescriptor>)>;

/// `GET /containers/json`
pub(super) async fn list(call: Call) -> Outcome {
    let filter = Filter::new(call.filters()?)?;
    let limit = call.query.number::<i64>("limit")?.unwrap_or(0);
    let limit = usize::try_from(limit).unwrap_or(0);
    let with_all = call.query.is_set("all") || limit > 0 || filter.asks_for_states();
    let found = select(&call, &filter, with_all).await?;
    let with_sizes = call.query.is_set("size");
    let most = if limit > 0 { limit } else { usize::MAX };
    let mut told = Vec::new();
    let mut images = Images::new();
    for container in found.into_iter().take(most) {
        told.push(line(&call, &container, with_sizes, &mut images).await);
    }
    Ok(Answer::json(&told))
}

/// All containers with their sizes, for the usage of the disk.
///
/// # Errors
/// Those of the database.
pub(crate) async fn usage(call: &Call) -> Result<Vec<ContainerSummary>, Failure> {
    let mut told = Vec::new();
    let mut images = Images::new();
    for container in select(call, &Filter::default(), true).await? {
        told.push(line(call, &container, true, &mut images).await);
    }
    Ok(told)
}

/// The containers that a filter asks for, the youngest first.
async fn select(call: &Call, filter: &Filter, with_all: bool) -> Result<Vec<Arc<Container>>, Failure> {
    let engine = &call.door.engine;
    let mut all = engine.containers();
    all.extend(engine.foreign_containers().await?);
    all.sort_by_key(|container| std::cmp::Reverse(container.record().created));
    let mut bounds = [None, None];
    for (bound, name) in bounds.iter_mut().zip(["before", "since"]) {
        if let Some(other) = filter.other(name) {
            *bound = Some(engine.any_container(other).await?.record().created);
        }
    }
    let [before, since] = bounds;
    let ancestors = ancestors(call, filter).await;
    let id = call.door.about.id.clone();
    let network_id = |network: &str| into_api::network_id(&id, network);
    all.retain(|container| {
        let record = container.record();
        (with_all || is_active(&record))
            && before.is_none_or(|before| record.created < before)
            && since.is_none_or(|since| record.created > since)
            && filter.matches(&record, &network_id)
            && (filter.ancestors.is_empty() || ancestors.iter().any(|ancestor| is_of(&record, ancestor)))
    });
    Ok(all)
}

/// The digests of the images that are asked for, and their names as they are: a container may be older than the image that has its
/// name now.
async fn ancestors(call: &Call, filter: &Filter) -> Vec<String> {
    let mut all = Vec::new();
    for name in &filter.ancestors {
        if let Ok(image) = call.door.engine.image_record(name).await {
            all.push(image.target.digest.to_string());
        }
        all.push(name.clone());
    }
    all
}

fn is_of(record: &Record, ancestor: &str) -> bool {
    let image = &record.image;
    let digests = [&image.target, &image.manifest, &image.config];
    image.reference == ancestor || digests.into_iter().flatten().any(|digest| digest.as_str() == ancestor)
}

async fn line(
    call: &Call,
    container: &Arc<Container>,
    with_sizes: bool,
    images: &mut Images,
) -> ContainerSummary {
    let record = container.record();
    let key = (record.image.reference.clone(), into_api::image_id(&record));
    if !images.contains_key(&key) {
        let found = image(call, &record).await;
        images.insert(key.clone(), found);
    }
    let (image, manifest) = images[&key].clone();
    // One that is being removed has no size.
    let sizes = if with_sizes { call.door.engine.container_sizes(container).await.ok() } else { None };
    let beside = into_api::BesideSummary { image, manifest, sizes };
    into_api::summary(&record, beside, &call.door.about.id, call.version, Timestamp::now())
}

/// How the image of a container is named: by its id, where its name is another one's by now, or nobody's.
async fn image(call: &Call, record: &Record) -> (String, Option<OciDescriptor>) {
    let manifest = if call.version >= V1_48 { manifest(call, record).await } else { None };
    let reference = &record.image.reference;
    // Images of other doors' containers have their names elsewhere.
    let Some(target) = &record.image.target else { return (reference.clone(), manifest) };
    let found = call.door.engine.image_record(reference).await;
    let is_its = found.is_ok_and(|found| found.target.digest == *target);
    (if is_its { reference.clone() } else { into_api::image_id(record) }, manifest)
}
