//! `POST /build/prune`, and the part of `GET /system/df` about the cache.

use gantry_build::{CacheItem, CachePrune, Scope};
use gantry_docker_api::List;
use gantry_docker_api::system::BuildCacheItem;
use serde::Serialize;

use crate::door::Door;
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// What the kind of a record is called.
const KIND: &str = "regular";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pruned {
    caches_deleted: Vec<String>,
    space_reclaimed: u64,
}

/// Gives up entries of the cache.
pub(super) async fn prune(call: &Call) -> Outcome {
    let filters = call.filters()?;
    filters.check(&[
        "until",
        "unused-for",
        "id",
        "inuse",
        "type",
        "parent",
        "description",
        "shared",
        "private",
    ])?;
    for name in ["inuse", "type", "parent", "description", "shared", "private"] {
        if filters.values(name).next().is_some() {
            return Err(Failure::unsupported(format!(
                "the filter {name} of the build cache is not supported"
            )));
        }
    }
    let size = |name: &str| call.query.number::<u64>(name).map(Option::unwrap_or_default);
    let keep_bytes = match size("reserved-space")? {
        0 => size("keep-storage")?,
        bytes => bytes,
    };
    let which = CachePrune {
        scope: if call.query.is_set("all") { Scope::All } else { Scope::Unused },
        until: crate::image::until(&filters)?,
        ids: filters.values("id").map(str::to_owned).collect(),
        keep_bytes,
    };
    let pruned = call.door.builder.prune(which).await?;
    Ok(Answer::json(&Pruned { caches_deleted: pruned.ids, space_reclaimed: pruned.bytes }))
}

/// What the cache holds.
///
/// # Errors
/// Those of the store.
pub(crate) async fn usage(door: &Door) -> Result<Vec<BuildCacheItem>, Failure> {
    Ok(door.builder.cache().await?.into_iter().map(item).collect())
}

fn item(item: CacheItem) -> BuildCacheItem {
    BuildCacheItem {
        id: item.id,
        parents: List::from(item.parents),
        kind: KIND.to_owned(),
        description: item.description,
        in_use: item.in_use,
        // An image that is named has its layers, too.
        shared: item.in_use,
        size: i64::try_from(item.size).unwrap_or(i64::MAX),
        created_at: item.created.to_string(),
        last_used_at: Some(item.used.to_string()),
        usage_count: i64::try_from(item.uses).unwrap_or(i64::MAX),
    }
}
