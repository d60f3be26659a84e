//! `GET /images/{name}/json`, `GET /images/{name}/history`

use gantry_docker_api::container::{ContainerConfig, GraphDriver};
use gantry_docker_api::image::{HistoryItem, ImageConfig, ImageInspect, ImageMetadata, RootFs};
use gantry_docker_api::timestamp::ZERO;
use gantry_docker_api::{ApiVersion, List, Map};
use gantry_engine::image::ImageDetails;
use jiff::Timestamp;

use super::{from_api, into_api};
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// The first version without `VirtualSize`.
const WITHOUT_VIRTUAL: ApiVersion = ApiVersion::new(1, 44);
/// The first version without the container that an image was made of.
const WITHOUT_CONTAINER: ApiVersion = ApiVersion::new(1, 45);
/// The first version with descriptors and manifests.
const WITH_MANIFESTS: ApiVersion = ApiVersion::new(1, 48);
/// The first version in which a platform can be asked for.
const WITH_PLATFORM: ApiVersion = ApiVersion::new(1, 49);
/// The first version that leaves out what only the classic builder fills, where it has not.
const WITHOUT_EMPTY: ApiVersion = ApiVersion::new(1, 52);

/// All that is known of an image.
pub(super) async fn inspect(call: &Call, name: &str) -> Outcome {
    let platform = match call.version >= WITH_PLATFORM {
        true => from_api::platform(call.query.text("platform"))?,
        false => None,
    };
    let with_manifests = call.version >= WITH_MANIFESTS && call.query.is_set("manifests");
    if with_manifests && platform.is_some() {
        return Err(Failure::invalid(
            "conflicting options: manifests and platform options cannot both be set",
        ));
    }
    let details = call.door.engine.image_details(name, platform.as_ref()).await?;
    let mut inspect = inspected(&details, call.version);
    if platform.is_some() {
        // Of an index, its manifest is what is meant.
        inspect.id = details.found.descriptor.digest.to_string();
        inspect.descriptor = Some(into_api::descriptor(&details.found.descriptor));
    }
    if with_manifests {
        inspect.manifests = details.summary.manifests.iter().map(into_api::manifest).collect();
    }
    Ok(Answer::json(&inspect))
}

fn inspected(details: &ImageDetails, version: ApiVersion) -> ImageInspect {
    let ImageDetails { found, summary } = details;
    let document = &found.document;
    let size = into_api::bytes(details.content_bytes());
    let old = |value: String| (version < WITHOUT_EMPTY || !value.is_empty()).then_some(value);
    let comment = document.history.last().map(|entry| entry.comment.clone()).unwrap_or_default();
    let is_first = version < WITHOUT_CONTAINER;
    ImageInspect {
        id: summary.target.digest.to_string(),
        repo_tags: summary.tags.clone().into(),
        repo_digests: summary.digests.clone().into(),
        parent: old(summary.parent.as_ref().map(ToString::to_string).unwrap_or_default()),
        comment: old(comment),
        created: document.created.clone().unwrap_or_default(),
        container: is_first.then(String::new),
        container_config: is_first.then(ContainerConfig::default),
        docker_version: old(String::new()),
        author: old(document.author.clone()),
        config: Some(ImageConfig::for_version(into_api::config(&document.config), version)),
        architecture: document.architecture.clone(),
        variant: document.variant.clone(),
        os: document.platform().os,
        os_version: document.os_version.clone(),
        size,
        virtual_size: if version < WITHOUT_VIRTUAL { size } else { 0 },
        graph_driver: Some(GraphDriver { data: Map::default(), name: "overlayfs".to_owned() }),
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: document.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: ImageMetadata { last_tag_time: time(summary.tagged) },
        descriptor: (version >= WITH_MANIFESTS).then(|| into_api::descriptor(&summary.target)),
        manifests: List::default(),
        identity: None,
    }
}

fn time(at: Timestamp) -> String {
    if at == Timestamp::UNIX_EPOCH { ZERO.to_owned() } else { at.to_string() }
}

/// How an image was made, the last step first.
pub(super) async fn history(call: &Call, name: &str) -> Outcome {
    let platform = from_api::platform(call.query.text("platform"))?;
    let steps = call.door.engine.image_history(name, platform.as_ref()).await?;
    let items = steps.into_iter().map(|step| HistoryItem {
        comment: step.comment,
        created: step.created.map_or(0, Timestamp::as_second),
        created_by: step.created_by,
        id: step.id,
        size: into_api::bytes(step.bytes),
        tags: into_api::some(step.tags),
    });
    Ok(Answer::json(&items.collect::<Vec<_>>()))
}
