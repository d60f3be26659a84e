//! A connection: its first bytes, its requests, and what becomes of it when one takes it over.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::FutureExt as _;
use gantry_docker_api::{ApiVersion, header};
use http::header::SERVER;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, watch};

use super::answer::Answer;
use super::body::Body;
use super::h2;
use super::hijack::Hijack;
use super::socket::{Rewound, Socket};
use super::{Limits, Outcome};
use crate::door::Observer;
use crate::failure::Failure;

/// What a client of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What is read at first.
const FIRST_READ: usize = 4096;
/// How long a client may take for the head of a request, and be silent between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Frame {
    /// How much of anything a client may send.
    pub(crate) limits: Limits,
    /// Is told of every request.
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// False from when the end has begun.
    pub(crate) serving: watch::Receiver<bool>,
}

/// Serves a connection to its end; `handler` answers its requests.
pub(crate) async fn serve<H, F>(frame: Frame, handler: H, mut socket: Socket)
where
    H: Fn(Request<Incoming>) -> F + Clone,
    F: Future<Output = Outcome>,
{
    let (read, is_h2) = match tokio::time::timeout(HEAD_TIMEOUT, first_bytes(&mut socket)).await {
        Ok(Ok(first)) => first,
        _ => return,
    };
    let rewound = Rewound { read: read.freeze(), socket };
    if is_h2 { h2::refuse(rewound).await } else { serve_http1(frame, handler, rewound).await }
}

/// Reads until it is clear whether it is HTTP/2.
async fn first_bytes(socket: &mut Socket) -> std::io::Result<(BytesMut, bool)> {
    let mut read = BytesMut::with_capacity(FIRST_READ);
    loop {
        let known = read.len().min(PREFACE.len());
        if read[..known] != PREFACE[..known] {
            return Ok((read, false));
        }
        if known == PREFACE.len() {
            return Ok((read, true));
        }
        if socket.read_buf(&mut read).await? == 0 {
            return Ok((read, false));
        }
    }
}

async fn serve_http1<H, F>(mut frame: Frame, handler: H, rewound: Rewound)
where
    H: Fn(Request<Incoming>) -> F + Clone,
    F: Future<Output = Outcome>,
{
    let (taken, mut taking) = mpsc::channel::<Hijack>(1);
    let observer = frame.observer.clone();
    let service =
        service_fn(move |request| respond(handler.clone(), observer.clone(), request, taken.clone()));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(frame.limits.head_bytes)
        .title_case_headers(true);
    let mut connection = builder.serve_connection(TokioIo::new(rewound), service);
    let mut is_stopping = false;
    let hijack = loop {
        tokio::select! {
            biased;
            hijack = taking.recv() => match hijack {
                Some(hijack) => break hijack,
                None => return,
            },
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            _ = frame.serving.wait_for(|serving| !serving), if !is_stopping => {
                is_stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    // Answers before this one are on their way: hyper reads no request before it has written the answer to the last.
    let parts = connection.into_parts();
    let Rewound { read, socket } = parts.io.into_inner();
    let read = match parts.read_buf {
        early if read.is_empty() => early,
        early => [early, read].concat().into(),
    };
    hijack.run(Rewound { read, socket }, &*COMMON).await;
}

/// Answers a request. One that takes its connection over is never answered here.
async fn respond<H, F>(
    handler: H,
    observer: Option<Arc<dyn Observer>>,
    request: Request<Incoming>,
    taken: mpsc::Sender<Hijack>,
) -> Result<Response<Body>, Infallible>
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Outcome>,
{
    let began = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let told = |status: StatusCode, message: &str| {
        let took = began.elapsed();
        let (status_code, took_us) = (status.as_u16(), took.as_micros());
        tracing::debug!(%method, path, status = status_code, took_us, message, "answered");
        if let Some(observer) = &observer {
            observer.answered(&method, status, took);
        }
    };
    let answer = match AssertUnwindSafe(handler(request)).catch_unwind().await {
        Ok(Ok(answer)) => answer,
        Ok(Err(failure)) => {
            told(failure.status, &failure.message);
            return Ok(with_common(Answer::from_failure(&failure)));
        }
        Err(_) => {
            tracing::error!(%method, path, "a handler panicked");
            let failure = Failure::internal("the engine could not answer: the error is its own");
            told(failure.status, &failure.message);
            return Ok(with_common(Answer::from_failure(&failure)));
        }
    };
    match answer {
        Answer::Response(response) => {
            told(response.status(), "");
            Ok(with_common(response))
        }
        Answer::Hijack(hijack) => {
            told(hijack.status(), "");
            // The connection's task takes it from here, and drops this.
            let _ = taken.send(hijack).await;
            std::future::pending().await
        }
    }
}

/// What stands on every answer. hyper adds the date to those that it sends itself.
static COMMON: LazyLock<[(HeaderName, HeaderValue); 4]> = LazyLock::new(|| {
    let text = |text: String| HeaderValue::try_from(text).expect("versions are visible characters");
    let name = |name: &str| HeaderName::try_from(name).expect("a constant is a name");
    [
        (name(header::API_VERSION), text(ApiVersion::MAX.to_string())),
        (name(header::OS_TYPE), HeaderValue::from_static("linux")),
        (name(header::EXPERIMENTAL), HeaderValue::from_static("false")),
        // Not docker's name: no client reads more of it than the operating system.
        (SERVER, text(format!("Gantry/{} (linux)", env!("CARGO_PKG_VERSION")))),
    ]
});

fn with_common(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().extend(COMMON.iter().cloned());
    response
}

#[cfg(test)]
mod tests;
