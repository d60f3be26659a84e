//! Whether a registry takes a credential.

use gantry_docker_api::auth::AuthConfig;
use gantry_docker_api::system::AuthResponse;

use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};
use crate::image::credential_of;

/// `POST /auth`. Tokens are the registry's business, and no token is handed out: clients keep what they sent.
pub(super) async fn auth(mut call: Call) -> Outcome {
    let request: AuthConfig = call.json().await?;
    let server = request.server_address.clone();
    let credential = credential_of(request)
        .ok_or_else(|| Failure::invalid("a user name and a password, or a token, are needed to log in"))?;
    call.door.engine.login(&server, credential).await?;
    Ok(Answer::json(&AuthResponse { status: "Login Succeeded".to_owned(), ..AuthResponse::default() }))
}
