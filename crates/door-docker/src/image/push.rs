//! `POST /images/{name}/push`

use gantry_docker_api::message::{Message, Progress};
use gantry_engine::Error;
use gantry_engine::image::{ImageProgress, ImagePush, LayerStep};

use super::board::Board;
use super::{from_api, pull};
use crate::failure::Failure;
use crate::http::{Call, Outcome};

/// Pushes a tag, or all tags of a repository.
pub(super) async fn push(call: &Call, name: &str) -> Outcome {
    let named = from_api::with_tag(name, call.query.text("tag"))?;
    let board = Board::default();
    let repository = format!("{}/{}", named.reference.host(), named.reference.repository());
    board.put(Message::status(format!("The push refers to repository [{repository}]")));
    let request = ImagePush {
        reference: named.reference,
        all_tags: named.is_bare,
        platform: from_api::platform(call.query.text("platform"))?,
        credential: from_api::credential(call),
        listener: board.listener(shows),
    };
    let engine = call.door.engine.clone();
    board.answer(async move { engine.image_push(request).await }, told).await
}

fn told(error: Error) -> Failure {
    match error {
        Error::NotFound { what: "tag", name } => Failure::not_found(format!("tag does not exist: {name}")),
        Error::NotFound { what: "local image with the tag", name } => {
            Failure::not_found(format!("An image does not exist locally with the tag: {name}"))
        }
        error => error.into(),
    }
}

fn shows(progress: ImageProgress) -> Vec<Message> {
    match progress {
        // Whether the registry has it is not known yet.
        ImageProgress::Layer(digest, LayerStep::Waiting | LayerStep::Uploading(0, _)) => {
            vec![Message::of_layer(pull::short(&digest), "Waiting")]
        }
        ImageProgress::Layer(digest, step) => vec![pull::layer(pull::short(&digest), step)],
        ImageProgress::Pushed(pushed) => {
            let tag = pushed.reference.tag().unwrap_or_default();
            let status = format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size);
            let value =
                serde_json::json!({ "Tag": tag, "Digest": pushed.digest.as_str(), "Size": pushed.size });
            let aux = Message { progress_detail: Some(Progress::default()), ..Message::aux(value) };
            vec![Message::status(status), aux]
        }
        ImageProgress::Note(text) => vec![Message::status(text)],
        ImageProgress::Pulling(_) | ImageProgress::Pulled(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use gantry_engine::image::ImagePushed;
    use gantry_types::Digest;

    use super::*;

    #[test]
    fn pushes_are_told_in_dockers_words() {
        let digest = Digest::sha256(b"x");
        let pushed =
            ImagePushed { reference: "r.example/a:1".parse().unwrap(), digest: digest.clone(), size: 405 };
        let shown = shows(ImageProgress::Pushed(pushed));
        assert_eq!(shown[0].status, format!("1: digest: {digest} size: 405"));
        assert!(shown[1].aux.is_some());
        let error = Error::NotFound { what: "tag", name: "r.example/a:1".into() };
        assert_eq!(told(error).message, "tag does not exist: r.example/a:1");
    }
}
