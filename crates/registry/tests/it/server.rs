//! A registry that does what a test tells it to, on loopback.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) version: http::Version,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// `METHOD /path`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(crate) type Reply = Response<Body>;
type Handler = Arc<dyn Fn(Seen) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// An answer without a body.
pub(crate) fn status(code: u16) -> Reply {
    body(code, "")
}

/// An answer.
pub(crate) fn body(code: u16, bytes: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync());
    *reply.status_mut() = StatusCode::from_u16(code).unwrap();
    reply
}

/// An answer in pieces, which may end in an error: the connection breaks there.
pub(crate) fn pieces(code: u16, pieces: Vec<Result<Bytes, io::Error>>) -> Reply {
    // What was sent before is on its way when it breaks.
    let frames = stream::iter(pieces).then(|piece| async {
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        piece.map(Frame::data)
    });
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    *reply.status_mut() = StatusCode::from_u16(code).unwrap();
    reply
}

/// An answer that never ends: `piece` for ever, or nothing after `first`.
pub(crate) fn endless(first: Bytes, piece: Option<Bytes>) -> Reply {
    let rest = match piece {
        Some(piece) => stream::repeat(piece).map(|piece| Ok(Frame::data(piece))).boxed(),
        None => stream::pending().boxed(),
    };
    let frames = stream::once(async move { Ok(Frame::data(first)) }).chain(rest);
    Response::new(StreamBody::new(frames).boxed_unsync())
}

pub(crate) fn broken() -> io::Error {
    io::Error::other("told to break")
}

pub(crate) trait With {
    fn with(self, name: &'static str, value: impl AsRef<str>) -> Self;
}

impl With for Reply {
    fn with(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        self.headers_mut().append(name, value.as_ref().parse().unwrap());
        self
    }
}

pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// A server that answers at once.
    pub(crate) async fn new(answer: impl Fn(Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(None, Arc::new(move |seen| Box::pin(std::future::ready(answer(seen))))).await
    }

    /// A server on TLS.
    pub(crate) async fn tls(
        config: ServerConfig,
        answer: impl Fn(Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::with(Some(config), Arc::new(move |seen| Box::pin(std::future::ready(answer(seen))))).await
    }

    /// A server that may take its time.
    pub(crate) async fn slow<F>(answer: impl Fn(Seen) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        Self::with(None, Arc::new(move |seen| Box::pin(answer(seen)))).await
    }

    async fn with(tls: Option<ServerConfig>, handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (connections, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let task = tokio::spawn({
            let (seen, connections, open) = (Arc::clone(&seen), Arc::clone(&connections), Arc::clone(&open));
            async move {
                let mut all = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    let guard = Open::new(&open);
                    let (tls, handler, seen) = (tls.clone(), Arc::clone(&handler), Arc::clone(&seen));
                    all.spawn(async move {
                        let _guard = guard;
                        match tls {
                            None => serve(stream, handler, seen).await,
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    serve(stream, handler, seen).await;
                                }
                            }
                        }
                    });
                }
            }
        });
        Self { address, seen, connections, open, task }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// `localhost:port`: another host, as far as names go.
    pub(crate) fn other_name(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many there are.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    handler: Handler,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let one = Seen {
                method: head.method,
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                headers: head.headers,
                body,
                version: head.version,
            };
            seen.lock().unwrap().push(one.clone());
            Ok::<_, io::Error>(handler(one).await)
        }
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}
