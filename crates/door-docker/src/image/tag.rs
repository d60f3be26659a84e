//! `POST /images/{name}/tag`

use http::StatusCode;

use super::from_api;
use crate::http::{Answer, Call, Outcome};

/// Gives an image another name.
pub(super) async fn tag(call: &Call, name: &str) -> Outcome {
    // Without a name dockerd does nothing, and says so by the status.
    let Some(reference) = from_api::new_name(call)? else { return Ok(Answer::status(StatusCode::OK)) };
    call.door.engine.image_tag(name, &reference).await?;
    Ok(Answer::status(StatusCode::CREATED))
}
