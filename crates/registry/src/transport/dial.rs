//! Connections: directly or through a proxy, with TLS where the URL says so, within a time limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use super::proxy::ProxyTable;
use crate::{BoxError, BoxFuture};

/// How long an idle connection stays before the kernel asks for a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Makes connections for one TLS identity.
#[derive(Clone)]
pub(crate) struct Dialer {
    https: HttpsConnector<Route>,
    limit: Duration,
}

impl Dialer {
    pub(crate) fn new(tls: ClientConfig, proxies: Arc<ProxyTable>, limit: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        tcp.set_connect_timeout(Some(limit));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Route { tcp, proxies });
        Self { https, limit }
    }
}

impl Service<Uri> for Dialer {
    type Response = MaybeHttpsStream<Wire>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (dialing, limit) = (self.https.call(uri), self.limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, dialing).await {
                Ok(result) => result,
                Err(_) => {
                    Err(io::Error::new(io::ErrorKind::TimedOut, format!("not within {limit:?}")).into())
                }
            }
        })
    }
}

/// The way to a host, as far as TLS.
#[derive(Clone)]
pub(crate) struct Route {
    tcp: HttpConnector,
    proxies: Arc<ProxyTable>,
}

impl Service<Uri> for Route {
    type Response = Wire;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Wire, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut tcp = self.tcp.clone();
        let Some(proxy) = self.proxies.proxy(&uri).cloned() else {
            return Box::pin(async move { Ok(Wire { stream: tcp.call(uri).await?, is_proxied: false }) });
        };
        Box::pin(async move {
            if proxy.is_socks {
                let mut socks = SocksV5::new(proxy.uri.clone(), tcp);
                if let Some((name, password)) = proxy.user {
                    socks = socks.with_auth(name, password);
                }
                return Ok(Wire { stream: socks.call(uri).await?, is_proxied: false });
            }
            if uri.scheme_str() != Some("https") {
                return Ok(Wire { stream: tcp.call(proxy.uri).await?, is_proxied: true });
            }
            let mut tunnel = Tunnel::new(proxy.uri.clone(), tcp);
            if let Some(value) = proxy.authorization() {
                tunnel = tunnel.with_auth(value);
            }
            Ok(Wire { stream: tunnel.call(uri).await?, is_proxied: false })
        })
    }
}

/// A TCP connection, and whether a proxy at its other end takes whole URLs.
pub(crate) struct Wire {
    stream: TokioIo<TcpStream>,
    is_proxied: bool,
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.is_proxied)
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }
}
