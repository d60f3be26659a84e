//! Tells somebody of every request that was answered, with its code and how long it took.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Gets the requests that were answered.
pub trait Observer: Send + Sync + 'static {
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
        let call = Call {
            method: request.uri().path().to_owned(),
            started: Instant::now(),
            observer: self.observer.clone(),
            code: Code::Cancelled,
        };
        let answer = self.service.call(request);
        Box::pin(async move {
            let mut call = call;
            let response = answer.await?;
            // An error without a message before it has no body: its code is among the headers.
            if let Some(status) = Status::from_header_map(response.headers()) {
                call.code = status.code();
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(ObservedBody { body, call })))
        })
    }
}

/// One request; it is told of when it is dropped.
struct Call {
    method: String,
    started: Instant,
    observer: Arc<dyn Observer>,
    code: Code,
}

impl Drop for Call {
    fn drop(&mut self) {
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
        self.call.code = Status::from_header_map(trailers).map_or(Code::Unknown, |status| status.code());
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
