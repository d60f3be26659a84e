//! All that is known of a container, and what it changed.

use gantry_docker_api::container::{Change, PathChange};
use gantry_docker_api::image::{OciDescriptor, OciPlatform};
use gantry_docker_api::{ApiVersion, List};
use gantry_engine::{FileChangeKind, Record};

use super::find;
use crate::http::{Answer, Call, Outcome};
use crate::into_api;

/// The first version that tells of manifests.
pub(super) const V1_48: ApiVersion = ApiVersion::new(1, 48);

/// `GET /containers/{name}/json`
pub(super) async fn inspect(call: Call, name: &str) -> Outcome {
    let container = find(&call, name).await?;
    let engine = &call.door.engine;
    let sizes = match call.query.is_set("size") {
        true => Some(engine.container_sizes(&container).await?),
        false => None,
    };
    let record = container.record();
    let manifest = if call.version >= V1_48 { manifest(&call, &record).await } else { None };
    let beside = into_api::Beside {
        settings: engine.settings(),
        engine: &call.door.about.id,
        app_armor_profile: engine.apparmor_profile(&record),
        execs: engine.exec_ids(&container),
        sizes,
        manifest,
    };
    Ok(Answer::json(&into_api::inspect(&record, beside, call.version)))
}

/// The manifest of a container's image, if it is still here.
pub(super) async fn manifest(call: &Call, record: &Record) -> Option<OciDescriptor> {
    let found = call.door.engine.image_of(&record.image).await.ok()?;
    let descriptor = found.descriptor;
    let platform = found.document.platform();
    Some(OciDescriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
        annotations: descriptor.annotations.into_iter().collect(),
        platform: Some(OciPlatform {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..OciPlatform::default()
        }),
        ..OciDescriptor::default()
    })
}

/// `GET /containers/{name}/changes`
pub(super) async fn changes(call: Call, name: &str) -> Outcome {
    let container = find(&call, name).await?;
    let found = call.door.engine.container_changes(&container).await?;
    if found.is_empty() {
        return Ok(Answer::json(&List::<PathChange>::default()));
    }
    let told = found.into_iter().map(|change| PathChange {
        path: change.path,
        kind: match change.kind {
            FileChangeKind::Modified => Change::Modified,
            FileChangeKind::Added => Change::Added,
            FileChangeKind::Deleted => Change::Deleted,
        },
    });
    Ok(Answer::json(&told.collect::<List<_>>()))
}
