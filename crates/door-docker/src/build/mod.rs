//! Builds: `POST /build`, and the cache below it.
//!
//! A build reads its archive, or what is elsewhere, and its Dockerfile before it answers: what is wrong with these is a status. From then on it answers with
//! messages, the last of which is an error if it failed. A client that leaves cancels it.

mod from_api;
mod prune;

use bytes::Bytes;
use gantry_build::{Error, Running};
use gantry_docker_api::media_type;
use gantry_docker_api::message::Message;
use http::Method;
use serde_json::json;

use crate::failure::{Failure, chain, status};
use crate::http::{Answer, Call, Outcome, Sender};

/// How many bytes of messages are gathered while others wait.
const MAX_GATHERED_BYTES: usize = 256 << 10;

/// Answers what is below `/build`.
pub(crate) async fn route(call: Call, rest: &[&str]) -> Outcome {
    match (call.method.clone(), rest) {
        (Method::POST, []) => build(call).await,
        (Method::POST, ["prune"]) => prune::prune(&call).await,
        (Method::POST, ["cancel"]) => {
            Err(Failure::unsupported("builds of this builder end when their client leaves"))
        }
        _ => Err(Failure::no_page()),
    }
}

pub(crate) use self::prune::usage;

async fn build(mut call: Call) -> Outcome {
    let request = from_api::request(&call)?;
    let source = crate::image::upload(call.body.take());
    let running = call.door.builder.build(request, source).await?;
    Ok(Answer::stream(media_type::JSON, move |sender| tell(running, sender)))
}

/// Passes messages on until the end of a build.
async fn tell(mut running: Running, sender: Sender) {
    loop {
        let message = tokio::select! {
            message = running.messages.recv() => message,
            // Dropping the messages ends it.
            () = sender.left() => return,
        };
        let Some(message) = message else { break };
        let mut bytes = line(message);
        while bytes.len() < MAX_GATHERED_BYTES
            && let Ok(message) = running.messages.try_recv()
        {
            bytes.extend(line(message));
        }
        if !sender.send(Bytes::from(bytes)).await {
            return;
        }
    }
    let error = match running.end.await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => Message::error_with_code(error.code().into(), text(&error)),
        Err(_) => Message::error("the build ended before its work was done"),
    };
    let _ = sender.send(written(&[error])).await;
}

fn line(message: gantry_build::Message) -> Vec<u8> {
    match message {
        gantry_build::Message::Stream(text) => written(&[Message::stream(text)]),
        gantry_build::Message::Image(digest) => written(&[Message::aux(json!({ "ID": digest.to_string() }))]),
        gantry_build::Message::Download(done, total) => {
            written(&[crate::image::progress("Downloading", done, total)])
        }
        gantry_build::Message::Pull(progress) => written(&crate::image::shows(progress)),
    }
}

/// Messages, each with the line end of docker's.
fn written(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        serde_json::to_writer(&mut bytes, message).expect("the API's types are JSON");
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// What an error says: one of the engine's as everywhere.
fn text(error: &Error) -> String {
    match error {
        Error::Engine(gantry_engine::Error::NotFound { what, name }) => format!("No such {what}: {name}"),
        error => chain(error),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Engine(error) => error.into(),
            error => Self::with(status(error.kind()), text(&error)),
        }
    }
}
