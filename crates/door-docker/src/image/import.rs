//! `POST /images/create?fromSrc=`

use gantry_docker_api::media_type;
use gantry_docker_api::message::Message;
use gantry_engine::Error;
use gantry_engine::image::{Change, ImageImport, WebFile};

use super::board::Board;
use super::{from_api, pull, upload};
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// Makes an image of the files that a client sends, or that are at an address.
pub(super) async fn import(mut call: Call) -> Outcome {
    let from = match call.query.text("fromSrc") {
        "" => return Err(Failure::invalid("either fromImage or fromSrc has to be given")),
        from => from.to_owned(),
    };
    let changes: Vec<String> = call.query.all("changes").map(str::to_owned).collect();
    let mut request = ImageImport {
        reference: from_api::new_name(&call)?,
        message: call.query.text("message").to_owned(),
        changes: Change::parse(&changes)?,
        platform: from_api::platform(call.query.text("platform"))?,
        source: Box::new(std::io::empty()),
    };
    if from != "-" {
        // As with docker, the web is meant where nothing else is said.
        let url = if from.contains("://") { from } else { format!("http://{from}") };
        let file = call.door.engine.web_file(&url).await?;
        return import_file(&call, request, url, file).await;
    }
    request.source = Box::new(upload::upload(call.body.take()));
    let id = call.door.engine.image_import(request).await?;
    Ok(Answer::stream(media_type::JSON, move |sender| async move {
        sender.line(&Message::status(id.to_string())).await;
    }))
}

/// The same of a file that comes while the client is told of it.
async fn import_file(call: &Call, mut request: ImageImport, url: String, file: WebFile) -> Outcome {
    let shown = gantry_engine::image::redacted(&url);
    let board = Board::default();
    board.put(Message::status(format!("Downloading from {shown}")));
    if request.message.is_empty() {
        request.message = format!("Imported from {shown}");
    }
    let (progress, messages) = (board.clone(), board.clone());
    let listener = Box::new(move |done, total| progress.put(pull::progress("Importing", done, total)));
    request.source = Box::new(file.into_source(Vec::new(), listener));
    let engine = call.door.engine.clone();
    let operation = async move {
        let id = engine.image_import(request).await?;
        messages.put(Message::status(id.to_string()));
        Ok(())
    };
    board.answer(operation, told).await
}

fn told(error: Error) -> Failure {
    error.into()
}
