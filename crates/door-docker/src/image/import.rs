//! `POST /images/create?fromSrc=`

use gantry_docker_api::media_type;
use gantry_docker_api::message::Message;
use gantry_engine::image::{Change, ImageImport};

use super::{from_api, upload};
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// Makes an image of the files that a client sends.
pub(super) async fn import(mut call: Call) -> Outcome {
    match call.query.text("fromSrc") {
        "" => return Err(Failure::invalid("either fromImage or fromSrc has to be given")),
        "-" => {}
        _ => {
            let text = "importing from a URL is not supported: send the archive as the body, with fromSrc=-";
            return Err(Failure::unsupported(text));
        }
    }
    let changes: Vec<String> = call.query.all("changes").map(str::to_owned).collect();
    let request = ImageImport {
        reference: from_api::new_name(&call)?,
        message: call.query.text("message").to_owned(),
        changes: Change::parse(&changes)?,
        platform: from_api::platform(call.query.text("platform"))?,
        source: Box::new(upload::upload(call.body.take())),
    };
    let id = call.door.engine.image_import(request).await?;
    Ok(Answer::stream(media_type::JSON, move |sender| async move {
        sender.line(&Message::status(id.to_string())).await;
    }))
}
