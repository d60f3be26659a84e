//! Errors that the engine answers.

use gantry_docker_api::message::ErrorResponse;
use http::StatusCode;

/// An answer that is an error.
#[derive(Debug, thiserror::Error)]
#[error("Error response from daemon: {message}")]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl ApiError {
    pub(super) fn of(status: StatusCode, body: &[u8]) -> Self {
        let message = match serde_json::from_slice::<ErrorResponse>(body) {
            Ok(response) if !response.message.is_empty() => response.message.trim_end().to_owned(),
            _ => {
                let text = String::from_utf8_lossy(body);
                let text = text.trim();
                let reason = status.canonical_reason().unwrap_or("unknown");
                if text.is_empty() { format!("{} {reason}", status.as_u16()) } else { text.to_owned() }
            }
        };
        Self { status, message }
    }
}
