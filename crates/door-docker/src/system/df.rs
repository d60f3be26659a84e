//! What takes the disk.

use std::collections::HashMap;

use gantry_docker_api::container::ContainerSummary;
use gantry_docker_api::image::ImageSummary;
use gantry_docker_api::system::{BuildCacheItem, DiskUsage, Usage};
use gantry_docker_api::volume::Volume;
use gantry_docker_api::{ApiVersion, List};
use serde::Serialize;

use crate::container;
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};
use crate::{image, volume};

const V1_52: ApiVersion = ApiVersion::new(1, 52);
const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];

/// What was counted; None for what was not asked for.
#[derive(Default)]
struct Counted {
    layers: u64,
    images: Option<Vec<ImageSummary>>,
    containers: Option<Vec<ContainerSummary>>,
    volumes: Option<Vec<Volume>>,
    build_cache: Option<Vec<BuildCacheItem>>,
}

/// `GET /system/df`
pub(super) async fn df(call: Call) -> Outcome {
    if let Some(kind) = call.query.all("type").find(|kind| !KINDS.contains(kind)) {
        return Err(Failure::invalid(format!("unknown object type: {kind}")));
    }
    let has_kinds = call.query.all("type").next().is_some();
    let wants = |kind: &str| !has_kinds || call.query.all("type").any(|other| other == kind);
    let mut counted = Counted::default();
    if wants("image") {
        let (layers, images) = images(&call).await?;
        (counted.layers, counted.images) = (layers, Some(images));
    }
    if wants("container") {
        counted.containers = Some(container::usage(&call).await?);
    }
    if wants("volume") {
        let mut volumes = Vec::new();
        for volume in call.door.engine.volumes().await? {
            volumes.push(volume::with_usage(&call, &volume).await);
        }
        counted.volumes = Some(volumes);
    }
    if wants("build-cache") {
        counted.build_cache = Some(crate::build::usage(&call.door).await?);
    }
    let is_verbose = call.query.is_set("verbose");
    Ok(Answer::json(&if call.version < V1_52 { lists(counted) } else { totals(&counted, is_verbose) }))
}

/// The images, with what they share, and the bytes of all of them.
async fn images(call: &Call) -> Result<(u64, Vec<ImageSummary>), Failure> {
    let all = call.door.engine.images().await?;
    let mut layers: HashMap<&str, (u64, usize)> = HashMap::new();
    for (layer, bytes) in all.iter().flat_map(|image| &image.layers) {
        layers.entry(layer).or_insert((*bytes, 0)).1 += 1;
    }
    let told = all.iter().map(|image| {
        let shared = image.layers.iter().filter(|(layer, _)| layers[layer.as_str()].1 > 1);
        ImageSummary {
            containers: i64::try_from(image.containers).unwrap_or(i64::MAX),
            shared_size: number(shared.map(|(_, bytes)| bytes).sum()),
            ..image::summary(image, call.version)
        }
    });
    let told = told.collect();
    // Manifests and configurations: each image has its own.
    let rest = |image: &gantry_engine::image::ImageSummary| {
        image.bytes().saturating_sub(image.layers.iter().map(|(_, bytes)| bytes).sum())
    };
    let documents: u64 = all.iter().map(rest).sum();
    let files: u64 = layers.values().map(|(bytes, _)| bytes).sum();
    Ok((files.saturating_add(documents), told))
}

fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// As clients before 1.52 know it. What was not asked for is `null`.
fn lists(counted: Counted) -> DiskUsage {
    fn list<T>(items: Option<Vec<T>>) -> Option<List<T>> {
        Some(items.map_or_else(List::default, List::from))
    }
    DiskUsage {
        layers_size: Some(number(counted.layers)),
        images: list(counted.images),
        containers: list(counted.containers),
        volumes: list(counted.volumes),
        build_cache: list(counted.build_cache),
        ..DiskUsage::default()
    }
}

/// As clients since 1.52 know it.
fn totals(counted: &Counted, is_verbose: bool) -> DiskUsage {
    let images = counted.images.as_ref().map(|images| {
        let free = images.iter().filter(|image| image.containers == 0);
        let free: i64 = free.map(|image| image.size.saturating_sub(image.shared_size.max(0))).sum();
        usage(images, is_verbose, |image| image.containers > 0, |image| image.size, free)
    });
    let containers = counted.containers.as_ref().map(|containers| {
        let is_active = |container: &ContainerSummary| {
            matches!(container.state.as_str(), "running" | "paused" | "restarting")
        };
        let free = containers
            .iter()
            .filter(|container| !is_active(container))
            .map(|container| container.size_rw)
            .sum();
        usage(containers, is_verbose, is_active, |container| container.size_rw, free)
    });
    let volumes = counted.volumes.as_ref().map(|volumes| {
        let size = |volume: &Volume| volume.usage_data.as_ref().map_or(0, |usage| usage.size.max(0));
        let is_active = |volume: &Volume| volume.usage_data.as_ref().is_some_and(|usage| usage.ref_count > 0);
        let free = volumes.iter().filter(|volume| !is_active(volume)).map(size).sum();
        usage(volumes, is_verbose, is_active, size, free)
    });
    let build_cache = counted.build_cache.as_ref().map(|items| {
        let free = items.iter().filter(|item| !item.in_use).map(|item| item.size).sum();
        usage(items, is_verbose, |item| item.in_use, |item| item.size, free)
    });
    DiskUsage {
        image_usage: images,
        container_usage: containers,
        volume_usage: volumes,
        build_cache_usage: build_cache,
        ..DiskUsage::default()
    }
}

fn usage<T: Serialize>(
    items: &[T],
    is_verbose: bool,
    is_active: impl Fn(&T) -> bool,
    size: impl Fn(&T) -> i64,
    reclaimable: i64,
) -> Usage {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    Usage {
        active_count: count(items.iter().filter(|item| is_active(item)).count()),
        items: is_verbose.then(|| serde_json::to_value(items).expect("the API's types are JSON")),
        reclaimable,
        total_count: count(items.len()),
        total_size: items.iter().map(size).sum(),
    }
}
