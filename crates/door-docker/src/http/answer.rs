//! What a handler answers.

use std::time::Duration;

use bytes::Bytes;
use gantry_docker_api::media_type;
use gantry_docker_api::message::ErrorResponse;
use gantry_engine::Timings;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

use super::body::{Body, Broken};
use super::hijack::Hijack;
use crate::failure::Failure;

/// How many pieces of a streamed body wait for a slow client.
const QUEUE: usize = 4;

/// What a handler answers: this, or an error that becomes one.
pub(crate) type Outcome = Result<Answer, Failure>;

/// An answer.
pub(crate) enum Answer {
    /// One of HTTP.
    Response(Response<Body>),
    /// The connection is taken over.
    Hijack(Hijack),
}

/// Sends a body, piece by piece.
pub(crate) struct Sender(mpsc::Sender<Result<Bytes, Broken>>);

impl Sender {
    /// Sends a piece, when the client has taken enough of the others; false if it has left.
    pub(crate) async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(Ok(bytes.into())).await.is_ok()
    }

    /// Sends a value of JSON with a line end.
    pub(crate) async fn line(&self, value: &impl Serialize) -> bool {
        let mut line = json(value);
        line.push(b'\n');
        self.send(line).await
    }

    /// Breaks the connection, so that the client does not take what it has for the whole.
    pub(crate) async fn broken(&self, why: &(dyn std::fmt::Display + Sync)) {
        tracing::debug!(%why, "an answer was not sent to its end");
        let _ = self.0.send(Err(Broken(why.to_string()))).await;
    }

    /// Resolves when the client has left.
    pub(crate) async fn left(&self) {
        self.0.closed().await;
    }
}

impl Answer {
    /// A status without a body.
    pub(crate) fn status(status: StatusCode) -> Self {
        Self::with(status, None, Body::Empty)
    }

    /// 204.
    pub(crate) fn none() -> Self {
        Self::status(StatusCode::NO_CONTENT)
    }

    /// 200 and a value.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        Self::json_with(StatusCode::OK, value)
    }

    /// Another status and a value.
    pub(crate) fn json_with(status: StatusCode, value: &impl Serialize) -> Self {
        let mut body = json(value);
        // As Go's encoder ends each value.
        body.push(b'\n');
        Self::with(status, Some(media_type::JSON), Body::Full(body.into()))
    }

    /// 200 and plain text.
    pub(crate) fn text(text: &'static str) -> Self {
        Self::with(
            StatusCode::OK,
            Some("text/plain; charset=utf-8"),
            Body::Full(Bytes::from_static(text.as_bytes())),
        )
    }

    /// 200 and a body of a media type.
    pub(crate) fn body(media_type: &'static str, body: Body) -> Self {
        Self::with(StatusCode::OK, Some(media_type), body)
    }

    /// 200 and a body that a task sends, which begins now and ends with the client at the latest.
    pub(crate) fn stream<F>(media_type: &'static str, send: impl FnOnce(Sender) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(send(Sender(sender)));
        Self::body(media_type, Body::Channel(receiver))
    }

    /// Tells how long an operation of the engine took, and its steps (Server-Timing, W3C), for whoever looks for milliseconds.
    pub(crate) fn timing(self, took: Duration, timings: &Timings) -> Self {
        let entry = |name: &str, took: Duration| format!("{name};dur={:.3}", took.as_secs_f64() * 1000.0);
        let mut value = entry("engine", took);
        for (name, took) in timings.steps() {
            value.push_str(", ");
            value.push_str(&entry(name, *took));
        }
        self.header(HeaderName::from_static("server-timing"), &value)
    }

    /// An error, as clients read it.
    pub(super) fn from_failure(failure: &Failure) -> Response<Body> {
        let answer = match failure.status {
            StatusCode::NOT_MODIFIED => Self::status(StatusCode::NOT_MODIFIED),
            status => Self::json_with(status, &ErrorResponse { message: failure.message.clone() }),
        };
        match answer {
            Self::Response(response) => response,
            Self::Hijack(_) => unreachable!("an error takes no connection over"),
        }
    }

    fn with(status: StatusCode, media_type: Option<&'static str>, body: Body) -> Self {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        if let Some(media_type) = media_type {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        Self::Response(response)
    }

    /// Adds a header; a value that cannot be one is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let (Self::Response(response), Ok(value)) = (&mut self, HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
        self
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the API's types are JSON")
}
