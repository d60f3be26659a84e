//! The bodies of requests.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// How much is still read of a body that nobody wants any more, and for how long: as Go's servers do. A client that writes while
/// it is answered with an error would otherwise see a broken connection, and not the answer.
const UNWANTED_BYTES: usize = 256 << 10;
const UNWANTED_TIME: Duration = Duration::from_secs(5);

/// The body of a request. What is not read of it goes unheard, but is taken from the client.
#[derive(Debug)]
pub(crate) struct Received(Option<Incoming>);

impl Received {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.0 else { return Poll::Ready(None) };
        let next = std::task::ready!(Pin::new(body).poll_frame(cx));
        if !matches!(next, Some(Ok(_))) {
            this.0 = None;
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(UNWANTED_TIME, discard(body)));
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut left = UNWANTED_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
