//! `GET /images/get`, `GET /images/{name}/get`

use gantry_docker_api::media_type;
use gantry_engine::image::ImageSave;

use super::from_api;
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// Sends several images as an archive.
pub(super) async fn save_named(call: &Call) -> Outcome {
    let names: Vec<String> =
        call.query.all("names").flat_map(|names| names.split(',')).map(str::to_owned).collect();
    if names.iter().all(String::is_empty) {
        return Err(Failure::invalid("no names of images are given"));
    }
    save(call, names).await
}

/// Sends images as an archive.
pub(super) async fn save(call: &Call, names: Vec<String>) -> Outcome {
    let request = ImageSave { names, platforms: from_api::platforms(call, "platform")? };
    let mut stream = call.door.engine.image_save(request).await?;
    Ok(Answer::stream(media_type::TAR, move |sender| async move {
        loop {
            match stream.next().await {
                Ok(Some(bytes)) => {
                    if !sender.send(bytes).await {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return sender.broken(&error).await,
            }
        }
    }))
}
