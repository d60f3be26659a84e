//! `POST /images/load`

use gantry_docker_api::message::Message;
use gantry_engine::Error;
use gantry_engine::image::Loaded;

use super::board::Board;
use super::{from_api, upload};
use crate::failure::Failure;
use crate::http::{Call, Outcome};

/// Loads the images of an archive.
pub(super) async fn load(mut call: Call) -> Outcome {
    let platforms = from_api::platforms(&call, "platform")?;
    let source = Box::new(upload::upload(call.body.take()));
    let (engine, board) = (call.door.engine.clone(), Board::default());
    let messages = board.clone();
    let operation = async move {
        for loaded in engine.image_load(source, platforms).await? {
            messages.put(Message::stream(match loaded {
                Loaded::Name(name) => format!("Loaded image: {name}\n"),
                Loaded::Id(id) => format!("Loaded image ID: {id}\n"),
            }));
        }
        Ok(())
    };
    // As dockerd, whose clients look for errors in the stream: the answer has begun before the archive is looked at.
    Ok(board.stream(operation, told))
}

fn told(error: Error) -> Failure {
    Failure::from(error)
}
