//! Clients of HTTP/2: builders that speak BuildKit's gRPC to the socket. They get an answer that says what is missing, in their own
//! protocol, instead of a broken connection.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::body::Body;
use super::socket::Rewound;

/// What is said.
pub(crate) const NO_BUILDKIT: &str = "this engine does not speak BuildKit's protocol yet: build with DOCKER_BUILDKIT=0, or with a builder of another driver";
/// gRPC's code for it.
const UNIMPLEMENTED: &str = "12";
/// How long such a client is served.
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_STREAMS: u32 = 16;
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// Answers every request of a connection by saying what is missing.
pub(super) async fn refuse(rewound: Rewound) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(rewound), service_fn(answer));
    if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, connection).await {
        tracing::debug!(%error, "a connection of HTTP/2 ended");
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    if is_grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(UNIMPLEMENTED));
        headers.insert("grpc-message", HeaderValue::from_static(NO_BUILDKIT));
        return Ok(response);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.status_mut() = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
    *response.body_mut() = Body::Full(Bytes::from_static(
        b"{\"message\":\"HTTP/2 is for builders here: Docker's API is spoken in HTTP/1.1\"}\n",
    ));
    Ok(response)
}
