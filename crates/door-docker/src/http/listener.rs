//! Where connections come from, and how many at a time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::call::answer;
use super::connection::{self, Frame};
use super::socket::Socket;
use crate::door::Door;

/// How long a client has for the handshake of TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a connection that could not be accepted: out of descriptors, as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests that are under way have when the daemon ends.
const DRAIN: Duration = Duration::from_secs(5);

/// Where connections come from. Who may connect was decided before.
pub enum Listener {
    /// A socket in the file system.
    Unix(Pin<Box<dyn Stream<Item = io::Result<UnixStream>> + Send>>),
    /// A port, for everybody who can reach it.
    Tcp(TcpListener),
    /// A port, with TLS: the configuration says whose certificates are asked for.
    Tls(TcpListener, Arc<ServerConfig>),
}

impl Listener {
    /// The next connection, with what is still to be done for it; None when there will be no more.
    async fn accept(&mut self) -> Option<io::Result<Accepted>> {
        match self {
            Self::Unix(incoming) => {
                incoming.next().await.map(|next| next.map(|stream| Accepted::Ready(Socket::Unix(stream))))
            }
            Self::Tcp(listener) => Some(listener.accept().await.map(|(stream, _)| {
                // Small frames of terminals are not to wait for each other.
                let _ = stream.set_nodelay(true);
                Accepted::Ready(Socket::Tcp(stream))
            })),
            Self::Tls(listener, config) => Some(listener.accept().await.map(|(stream, _)| {
                let _ = stream.set_nodelay(true);
                Accepted::Tls(Box::new(TlsAcceptor::from(Arc::clone(config)).accept(stream)))
            })),
        }
    }
}

enum Accepted {
    Ready(Socket),
    Tls(Box<tokio_rustls::Accept<tokio::net::TcpStream>>),
}

impl Accepted {
    async fn finish(self) -> Option<Socket> {
        match self {
            Self::Ready(socket) => Some(socket),
            Self::Tls(accept) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, *accept).await {
                Ok(Ok(stream)) => Some(Socket::Tls(Box::new(stream))),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "refused a connection of TLS");
                    None
                }
                Err(_) => None,
            },
        }
    }
}

impl Door {
    fn frame(&self) -> Frame {
        Frame { limits: self.limits, observer: self.observer.clone(), serving: self.serving.clone() }
    }

    /// Serves connections of all listeners until [`Door::serving`] becomes false, and then those that are open until their
    /// requests have ended, for a while. Containers' streams end with it; the containers do not notice.
    pub async fn serve(&self, listeners: Vec<Listener>) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let mut all = JoinSet::new();
        for listener in listeners {
            all.spawn(accept(self.clone(), listener, Arc::clone(&places)));
        }
        while all.join_next().await.is_some() {}
    }
}

async fn accept(door: Door, mut listener: Listener, places: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    let mut stopping = std::pin::pin!(door.stopping());
    loop {
        // Those that ended are forgotten.
        while connections.try_join_next().is_some() {}
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place.expect("nobody closes it"),
            () = &mut stopping => break,
        };
        let next = tokio::select! {
            next = listener.accept() => next,
            () = &mut stopping => break,
        };
        match next {
            Some(Ok(accepted)) => {
                let door = door.clone();
                connections.spawn(async move {
                    if let Some(socket) = accepted.finish().await {
                        connection::serve(door.frame(), move |request| answer(door.clone(), request), socket)
                            .await;
                    }
                    drop(place);
                });
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => break,
        }
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is not over by then is dropped.
    let _ = tokio::time::timeout(DRAIN, drained).await;
}
