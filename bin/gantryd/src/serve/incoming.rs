//! Connections of a socket, but for those who may not connect.

use std::io;
use std::sync::Arc;

use futures_util::stream::{Stream, unfold};
use tokio::net::{UnixListener, UnixStream};

use super::ACCEPT_PAUSE;
use super::socket::Peers;

/// Never ends, and never fails: what cannot be accepted now may be later.
pub(crate) fn incoming(
    listener: Arc<UnixListener>,
    peers: Peers,
) -> impl Stream<Item = io::Result<UnixStream>> + Send {
    unfold(listener, move |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match peers.admit(&stream) {
                    Ok(()) => return Some((Ok(stream), listener)),
                    Err(error) => tracing::warn!(%error, "refused a connection"),
                },
                // Out of descriptors or memory: whoever holds them has to give some back first.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::socket::Socket;
    use futures_util::StreamExt as _;

    #[tokio::test]
    async fn connections_of_the_owner_are_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (listener, peers, _remove) = Socket::open(&path, uid, gid, &mut Vec::new()).unwrap().into_parts();
        let listener = Arc::new(UnixListener::from_std(listener).unwrap());
        let mut connections = std::pin::pin!(incoming(listener, peers));
        let client = UnixStream::connect(&path);
        let (client, server) = tokio::join!(client, connections.next());
        assert!(client.is_ok() && server.unwrap().is_ok());
    }
}
