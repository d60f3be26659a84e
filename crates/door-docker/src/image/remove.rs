//! `DELETE /images/{name}`

use gantry_docker_api::image::ImageDeleteItem;
use gantry_engine::image::{ImageRemoval, RemovedImage};

use super::from_api;
use crate::http::{Answer, Call, Outcome};

/// Removes a name, an image, or what is here of it for single platforms.
pub(super) async fn remove(call: &Call, name: &str) -> Outcome {
    let platforms = from_api::platforms(call, "platforms")?;
    let (engine, force) = (&call.door.engine, call.query.is_set("force"));
    let removed = match platforms.is_empty() {
        true => {
            let how = ImageRemoval { force, prune_parents: !call.query.is_set("noprune") };
            engine.image_remove(name, how).await?
        }
        // Clients older than the parameter do not send it: nobody who does means the whole image.
        false => engine.image_remove_platforms(name, platforms, force).await?,
    };
    let items: Vec<ImageDeleteItem> = removed.into_iter().map(item).collect();
    Ok(Answer::json(&items))
}

/// What went, as clients are told of it.
pub(super) fn item(removed: RemovedImage) -> ImageDeleteItem {
    match removed {
        RemovedImage::Untagged(untagged) => ImageDeleteItem { untagged, ..ImageDeleteItem::default() },
        RemovedImage::Deleted(digest) => {
            ImageDeleteItem { deleted: digest.to_string(), ..ImageDeleteItem::default() }
        }
    }
}
