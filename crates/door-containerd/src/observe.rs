//! Tells somebody of every request that was answered, with its code and how long it took; each is a span of the traces.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use gantry_primitives::SPANS;
use gantry_proto_containerd::header;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

/// The longest name of a method, and of a namespace, that a span has: both come from clients.
const MAX_NAME: usize = 256;

/// Gets the requests that were answered.
pub trait Observer: Send + Sync + 'static {
    /// The span of a request that begins, if spans are wanted; the headers may say of which trace it is.
    fn began(&self, span: &Span, headers: &HeaderMap) {
        let _ = (span, headers);
    }

    /// `method` is `/service/method` as it was asked for, which may not exist; [`Code::Cancelled`] if the client left.
    fn answered(&self, method: &str, code: Code, took: Duration);
}

/// The layer that tells `0`.
#[derive(Clone)]
pub(crate) struct Observe(pub(crate) Arc<dyn Observer>);

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, service: S) -> Observed<S> {
        Observed { service, observer: self.0.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct Observed<S> {
    service: S,
    observer: Arc<dyn Observer>,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let span = span(request.uri().path(), request.headers());
        if !span.is_disabled() {
            self.observer.began(&span, request.headers());
        }
        let call = Call {
            method: request.uri().path().to_owned(),
            span: span.clone(),
            started: Instant::now(),
            observer: self.observer.clone(),
            code: Code::Cancelled,
        };
        let answer = span.in_scope(|| self.service.call(request));
        let answered = async move {
            let mut call = call;
            let response = answer.await?;
            // An error without a message before it has no body: its code is among the headers.
            if let Some(status) = Status::from_header_map(response.headers()) {
                call.end(&status);
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(ObservedBody { body, call })))
        };
        Box::pin(answered.instrument(span))
    }
}

/// The span of a request, with the names that OpenTelemetry has for what is known of it.
fn span(path: &str, headers: &HeaderMap) -> Span {
    let short = |text: &'_ str| text.len() <= MAX_NAME;
    let name = || Some(path.trim_start_matches('/')).filter(|name| short(name)).unwrap_or("other");
    let part = |number| name().split('/').nth(number);
    let namespace = || headers.get(header::NAMESPACE)?.to_str().ok().filter(|name| short(name));
    info_span!(
        target: SPANS,
        "request",
        otel.name = name(),
        otel.kind = "server",
        otel.status_description = Empty,
        rpc.system = "grpc",
        rpc.service = part(0),
        rpc.method = part(1),
        rpc.grpc.status_code = Empty,
        containerd.namespace = namespace(),
    )
}

/// One request; it is told of when it is dropped.
struct Call {
    method: String,
    span: Span,
    started: Instant,
    observer: Arc<dyn Observer>,
    code: Code,
}

impl Call {
    fn end(&mut self, status: &Status) {
        self.code = status.code();
        if is_fault(self.code) {
            self.span.record("otel.status_description", status.message());
        }
    }
}

/// Whether it is the server that went wrong, as OpenTelemetry has it (semantic conventions 1.37, gRPC); else it did what it
/// should with what it was asked.
const fn is_fault(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    matches!(code, Unknown | DeadlineExceeded | Unimplemented | Internal | Unavailable | DataLoss)
}

impl Drop for Call {
    fn drop(&mut self) {
        self.span.record("rpc.grpc.status_code", i64::from(i32::from(self.code)));
        self.observer.answered(&self.method, self.code, self.started.elapsed());
    }
}

/// A body whose last frame says how the request ended.
struct ObservedBody {
    body: Body,
    call: Call,
}

impl ObservedBody {
    fn end(&mut self, trailers: &HeaderMap) {
        match Status::from_header_map(trailers) {
            Some(status) => self.call.end(&status),
            None => self.call.code = Code::Unknown,
        }
    }
}

impl HttpBody for ObservedBody {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.end(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
