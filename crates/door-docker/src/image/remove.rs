//! `DELETE /images/{name}`

use gantry_docker_api::image::ImageDeleteItem;
use gantry_engine::image::{ImageRemoval, RemovedImage};

use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// Removes a name, or an image.
pub(super) async fn remove(call: &Call, name: &str) -> Outcome {
    if call.query.get("platforms").is_some_and(|platforms| !platforms.is_empty()) {
        let text = "removing single platforms of an image is not supported: remove the image, and pull what is to stay";
        return Err(Failure::unsupported(text));
    }
    let how =
        ImageRemoval { force: call.query.is_set("force"), prune_parents: !call.query.is_set("noprune") };
    let removed = call.door.engine.image_remove(name, how).await?;
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
