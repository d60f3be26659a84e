//! `GET /images/json`

use std::collections::HashMap;

use gantry_docker_api::image::ImageSummary;
use gantry_docker_api::{ApiVersion, Filters, List, Map};
use gantry_engine::image;
use jiff::Timestamp;

use super::prune::until;
use super::{glob, into_api};
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// The first version that has nothing for images without names, not even `<none>`.
const WITHOUT_NONE: ApiVersion = ApiVersion::new(1, 43);
/// The first version without `VirtualSize`.
const WITHOUT_VIRTUAL: ApiVersion = ApiVersion::new(1, 44);
/// The first version with descriptors and manifests.
const WITH_MANIFESTS: ApiVersion = ApiVersion::new(1, 48);
/// The first version that counts the containers of each image.
const WITH_CONTAINERS: ApiVersion = ApiVersion::new(1, 51);
/// The first version in which the filter `reference` is one.
const WITH_REFERENCE: ApiVersion = ApiVersion::new(1, 41);

const FILTERS: [&str; 7] = ["dangling", "label", "label!", "before", "since", "until", "reference"];

/// Which images are listed.
struct Wanted {
    all: bool,
    dangling: Option<bool>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    references: Vec<String>,
    filters: Filters,
}

impl Wanted {
    async fn of(call: &Call) -> Result<Self, Failure> {
        let mut filters = call.filters()?;
        if call.version < WITH_REFERENCE
            && let Some(reference) = call.query.get("filter").filter(|reference| !reference.is_empty())
        {
            filters.add("reference", reference);
        }
        filters.check(&FILTERS)?;
        let before = [point(call, &filters, "before").await?, until(&filters)?];
        Ok(Self {
            all: call.query.is_set("all"),
            dangling: filters.boolean("dangling")?,
            before: before.into_iter().flatten().min(),
            since: point(call, &filters, "since").await?,
            references: filters.values("reference").map(str::to_owned).collect(),
            filters,
        })
    }

    /// Whether an image is listed; its names are reduced to those that are asked for.
    fn takes(&self, image: &mut image::ImageSummary) -> bool {
        if !self.references.is_empty() {
            let is_meant = |name: &String| self.references.iter().any(|pattern| glob::matches(pattern, name));
            image.tags.retain(is_meant);
            image.digests.retain(is_meant);
            if image.is_dangling() {
                return false;
            }
        }
        let label = |key: &str| image.labels.get(key).map(String::as_str);
        let excluded = self.filters.values("label!").any(|wanted| match wanted.split_once('=') {
            Some((key, value)) => label(key) == Some(value),
            None => label(wanted).is_some(),
        });
        let created = image.created.unwrap_or(Timestamp::UNIX_EPOCH);
        let is_intermediate = image.is_dangling() && image.has_children;
        self.dangling.is_none_or(|dangling| dangling == image.is_dangling())
            && self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
            && self.filters.matches_labels("label", label)
            && !excluded
            && (self.all || !is_intermediate)
    }
}

/// When the image that a filter names was made.
async fn point(call: &Call, filters: &Filters, name: &str) -> Result<Option<Timestamp>, Failure> {
    let mut found: Option<Timestamp> = None;
    for image in filters.values(name) {
        let details = call.door.engine.image_details(image, None).await?;
        let created = details.found.document.created_at().unwrap_or(Timestamp::UNIX_EPOCH);
        found = Some(match (found, name) {
            (Some(known), "before") => known.min(created),
            (Some(known), _) => known.max(created),
            (None, _) => created,
        });
    }
    Ok(found)
}

/// The images.
pub(super) async fn list(call: &Call) -> Outcome {
    let wanted = Wanted::of(call).await?;
    let all = call.door.engine.images().await?;
    let shared = call.query.is_set("shared-size").then(|| shared_layers(&all));
    let with_manifests = call.version >= WITH_MANIFESTS && call.query.is_set("manifests");
    let mut summaries = Vec::new();
    for mut image in all {
        if wanted.takes(&mut image) {
            let mut summary = summary(&image, call.version);
            if let Some(shared) = &shared {
                summary.shared_size = into_api::bytes(shared_bytes(&image, shared));
            }
            if with_manifests {
                summary.manifests = image.manifests.iter().map(into_api::manifest).collect();
            }
            summaries.push(summary);
        }
    }
    Ok(Answer::json(&summaries))
}

/// How many images have each layer.
fn shared_layers(all: &[image::ImageSummary]) -> HashMap<String, usize> {
    let mut count = HashMap::new();
    for (layer, _) in all.iter().flat_map(|image| &image.layers) {
        *count.entry(layer.clone()).or_default() += 1;
    }
    count
}

fn shared_bytes(image: &image::ImageSummary, layers: &HashMap<String, usize>) -> u64 {
    let shared = image.layers.iter().filter(|(layer, _)| layers.get(layer).is_some_and(|count| *count > 1));
    shared.map(|(_, bytes)| bytes).sum()
}

/// An image as clients of a version know it.
pub(crate) fn summary(image: &image::ImageSummary, version: ApiVersion) -> ImageSummary {
    let none = version < WITHOUT_NONE && image.is_dangling();
    let names = |names: &[String], otherwise: &str| -> List<String> {
        if none { vec![otherwise.to_owned()].into() } else { names.to_vec().into() }
    };
    let size = into_api::bytes(image.bytes());
    ImageSummary {
        containers: match version >= WITH_CONTAINERS {
            true => i64::try_from(image.containers).unwrap_or(i64::MAX),
            false => -1,
        },
        created: image.created.map_or(0, Timestamp::as_second),
        id: image.target.digest.to_string(),
        labels: if image.labels.is_empty() { Map::default() } else { image.labels.clone().into() },
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        manifests: List::default(),
        descriptor: (version >= WITH_MANIFESTS).then(|| into_api::descriptor(&image.target)),
        repo_digests: names(&image.digests, "<none>@<none>"),
        repo_tags: names(&image.tags, "<none>:<none>"),
        shared_size: -1,
        size,
        virtual_size: if version < WITHOUT_VIRTUAL { size } else { 0 },
    }
}
