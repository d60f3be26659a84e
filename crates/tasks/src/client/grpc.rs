//! gRPC, which shims may speak in place of ttrpc.
//!
//! The services and messages are the same. Of metadata there is what containerd sends: the namespace, by the name that it has in gRPC.

use std::error::Error as _;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _};
use gantry_ttrpc::Status;
use gantry_ttrpc::client::Options;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::CallError;
use crate::shim::NAMESPACE;

/// The metadata that says whose call it is, as gRPC has it.
const GRPC_NAMESPACE: &str = "containerd-namespace";
/// The longest message, in bytes; a task's metrics, and features of runtimes, are far below.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// How long the other side may take to begin.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A connection. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    channel: Channel,
    /// The same socket, to end it.
    socket: OwnedFd,
    ended: watch::Receiver<bool>,
}

impl Connection {
    /// Begins gRPC on a connection.
    ///
    /// # Errors
    /// What the other side says, or that it says nothing.
    pub(super) async fn of(stream: UnixStream) -> io::Result<Self> {
        let socket = stream.as_fd().try_clone_to_owned()?;
        let (told, ended) = watch::channel(false);
        // It is connected once: what comes after its end is another connection, made by whoever notices.
        let io = Mutex::new(Some(TokioIo::new(Io { stream, told })));
        let connector = tower::service_fn(move |_| {
            let io = io.lock().unwrap_or_else(PoisonError::into_inner).take();
            async move { io.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
        });
        let endpoint = Endpoint::from_static("http://shim");
        let begun = tokio::time::timeout(HANDSHAKE, endpoint.connect_with_connector(connector)).await?;
        let channel = begun.map_err(io::Error::other)?;
        Ok(Self(Arc::new(Shared { channel, socket, ended })))
    }

    /// Calls a method with an encoded message.
    pub(super) async fn call(
        &self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        options: &Options,
    ) -> Result<Vec<u8>, CallError> {
        if *self.0.ended.borrow() {
            return Err(CallError::Closed);
        }
        let call = self.answer(service, method, payload, options);
        let Some(limit) = options.timeout else {
            return call.await.map_err(|status| failure(&status));
        };
        let begin = Instant::now();
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) if begin.elapsed() >= limit => Err(CallError::Timeout(limit)),
            Ok(Err(status)) => Err(failure(&status)),
            Err(_) => Err(CallError::Timeout(limit)),
        }
    }

    async fn answer(
        &self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        options: &Options,
    ) -> Result<Vec<u8>, tonic::Status> {
        let mut client = tonic::client::Grpc::new(self.0.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        client.ready().await.map_err(|error| tonic::Status::from_error(error.into()))?;
        let mut request = tonic::Request::new(payload);
        for pair in &options.metadata {
            let key = if pair.key == NAMESPACE { GRPC_NAMESPACE } else { &pair.key };
            let pair = (key.parse::<AsciiMetadataKey>(), pair.value.parse::<AsciiMetadataValue>());
            if let (Ok(key), Ok(value)) = pair {
                request.metadata_mut().insert(key, value);
            }
        }
        if let Some(limit) = options.timeout {
            request.set_timeout(limit);
        }
        let path = format!("/{service}/{method}");
        let path =
            path.parse::<PathAndQuery>().map_err(|error| tonic::Status::internal(error.to_string()))?;
        client.unary(request, path, Raw).await.map(tonic::Response::into_inner)
    }

    /// Whether both are the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Ends the connection.
    pub(super) fn close(&self) {
        // One that has ended already says so.
        let _ = rustix::net::shutdown(&self.0.socket, rustix::net::Shutdown::Both);
    }

    /// Returns when the connection has ended.
    pub(super) async fn ended(&self) {
        // A sender that is gone has gone with the connection.
        let _ = self.0.ended.clone().wait_for(|ended| *ended).await;
    }
}

/// What the server said; what the connection said has a source.
fn failure(status: &tonic::Status) -> CallError {
    if status.source().is_some() {
        return CallError::Closed;
    }
    let message = status.message().to_owned();
    CallError::Status(Status { code: status.code().into(), message, details: Vec::new() })
}

/// A connection that tells when it is dropped, which is when it has ended.
struct Io {
    stream: UnixStream,
    told: watch::Sender<bool>,
}

impl Drop for Io {
    fn drop(&mut self) {
        self.told.send_replace(true);
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Io {
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
}

/// Messages that are encoded already.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = tonic::Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, tonic::Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn who_says_nothing_is_given_up_and_who_has_gone_is_noticed() {
        let (stream, silent) = UnixStream::pair().unwrap();
        let connection = Connection::of(stream).await.unwrap();
        let short = Options::default().timeout(Duration::from_millis(20));
        let answer = connection.call("a.B", "C", vec![1], &short).await;
        assert!(matches!(answer, Err(CallError::Timeout(_))), "{answer:?}");
        let waiting = tokio::spawn({
            let connection = connection.clone();
            async move { connection.call("a.B", "C", vec![1], &Options::default()).await }
        });
        drop(silent);
        tokio::time::timeout(LIMIT, connection.ended()).await.unwrap();
        let answer = tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap();
        assert!(matches!(answer, Err(CallError::Closed)), "{answer:?}");
        let answer = connection.call("a.B", "C", vec![1], &short).await;
        assert!(matches!(answer, Err(CallError::Closed)), "{answer:?}");
    }

    #[tokio::test]
    async fn an_end_of_ours_ends_it() {
        let (stream, _other) = UnixStream::pair().unwrap();
        let connection = Connection::of(stream).await.unwrap();
        connection.close();
        tokio::time::timeout(LIMIT, connection.ended()).await.unwrap();
    }
}
