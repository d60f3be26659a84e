//! `POST /images/create?fromImage=`

use gantry_docker_api::message::Message;
use gantry_engine::Error;
use gantry_engine::image::{ImageProgress, ImagePull, LayerStep};
use gantry_types::{Digest, ErrorKind, Reference};

use super::board::Board;
use super::from_api;
use crate::failure::Failure;
use crate::http::{Call, Outcome};

/// How many digits of a digest people see.
const SHORT: usize = 12;

/// Pulls an image, or all tags of a repository that is named without one.
pub(super) async fn pull(call: &Call) -> Outcome {
    let named = from_api::with_tag(call.query.text("fromImage"), call.query.text("tag"))?;
    let board = Board::default();
    let request = ImagePull {
        reference: named.reference,
        all_tags: named.is_bare,
        platform: from_api::platform(call.query.text("platform"))?,
        credential: from_api::credential(call),
        listener: board.listener(shows),
    };
    let engine = call.door.engine.clone();
    let name = request.reference.clone();
    board.answer(async move { engine.image_pull(request).await }, move |error| told(error, &name)).await
}

/// What registries refuse may not be there at all: they do not say.
fn told(error: Error, reference: &Reference) -> Failure {
    match error.kind() {
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => {
            let name = reference.familiar();
            let name = name.split(['@']).next().unwrap_or(&name);
            let name =
                name.strip_suffix(&format!(":{}", reference.tag().unwrap_or_default())).unwrap_or(name);
            let why = Failure::from(error).message;
            Failure::not_found(format!(
                "pull access denied for {name}, repository does not exist or may require 'docker login': {why}"
            ))
        }
        _ => match error {
            Error::NotFound { what: "manifest", name } => {
                Failure::not_found(format!("failed to resolve reference {name:?}: {name}: not found"))
            }
            Error::NotFound { what: "platform of the image", name } => {
                Failure::not_found(format!("no matching manifest: {name}"))
            }
            error => error.into(),
        },
    }
}

/// The beginning of a digest.
pub(super) fn short(digest: &Digest) -> &str {
    let hex = digest.hex();
    &hex[..SHORT.min(hex.len())]
}

fn count(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How far something without a name has come.
pub(crate) fn progress(status: &str, done: u64, total: Option<u64>) -> Message {
    Message::progress("", status, count(done), total.map(count).unwrap_or_default())
}

/// What is shown of a pull, in docker's words.
pub(crate) fn shows(progress: ImageProgress) -> Vec<Message> {
    match progress {
        ImageProgress::Pulling(reference) => vec![Message {
            id: title(&reference),
            ..Message::status(format!("Pulling from {}", reference.repository()))
        }],
        ImageProgress::Layer(digest, step) => vec![layer(short(&digest), step)],
        ImageProgress::Pulled(pulled) => {
            let name = pulled.reference.familiar();
            let status = match pulled.newer {
                true => format!("Status: Downloaded newer image for {name}"),
                false => format!("Status: Image is up to date for {name}"),
            };
            vec![Message::status(format!("Digest: {}", pulled.digest)), Message::status(status)]
        }
        ImageProgress::Note(text) => vec![Message::status(text)],
        ImageProgress::Pushed(_) => Vec::new(),
    }
}

/// A tag alone; a digest with its repository.
fn title(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (None, Some(tag)) => tag.to_owned(),
        _ => reference.to_string(),
    }
}

/// What is shown of a step, in docker's words.
pub(super) fn layer(id: &str, step: LayerStep) -> Message {
    match step {
        LayerStep::Waiting => Message::of_layer(id, "Pulling fs layer"),
        LayerStep::Downloading(done, total) => {
            Message::progress(id, "Downloading", count(done), count(total))
        }
        LayerStep::Downloaded => Message::of_layer(id, "Download complete"),
        LayerStep::Extracting(done, total) => Message::progress(id, "Extracting", count(done), count(total)),
        LayerStep::Complete => Message::of_layer(id, "Pull complete"),
        LayerStep::Exists => Message::of_layer(id, "Already exists"),
        LayerStep::Uploading(done, total) => Message::progress(id, "Pushing", count(done), count(total)),
        LayerStep::Uploaded => Message::of_layer(id, "Pushed"),
        LayerStep::UploadedBefore => Message::of_layer(id, "Layer already exists"),
    }
}

#[cfg(test)]
mod tests {
    use gantry_engine::image::ImagePulled;

    use super::*;

    #[test]
    fn pulls_are_told_in_dockers_words() {
        let reference: Reference = "r.example/t/bb:1".parse().unwrap();
        let digest = Digest::sha256(b"x");
        let text =
            |progress| shows(progress).iter().map(|message| message.status.clone()).collect::<Vec<_>>();
        let first = shows(ImageProgress::Pulling(reference.clone()));
        assert_eq!((first[0].id.as_str(), first[0].status.as_str()), ("1", "Pulling from t/bb"));
        let pulled = ImagePulled { reference: reference.clone(), digest: digest.clone(), newer: true };
        assert_eq!(
            text(ImageProgress::Pulled(pulled.clone())),
            [format!("Digest: {digest}"), "Status: Downloaded newer image for r.example/t/bb:1".to_owned()]
        );
        let again = ImagePulled { newer: false, ..pulled };
        assert_eq!(text(ImageProgress::Pulled(again))[1], "Status: Image is up to date for r.example/t/bb:1");
        assert_eq!(title(&reference.with_digest(digest.clone())), format!("r.example/t/bb@{digest}"));
        assert_eq!(text(ImageProgress::Layer(digest, LayerStep::Exists)), ["Already exists"]);
    }
}
