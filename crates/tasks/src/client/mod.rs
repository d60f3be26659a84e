//! A connection to a shim, for many callers at once: ttrpc, or gRPC with the same services and messages.

mod grpc;
mod ttrpc;

use std::io;
use std::path::Path;
use std::time::Duration;

use gantry_ttrpc::client::{Options, RequestError};
use gantry_ttrpc::{Code, Status};
use tokio::net::UnixStream;

use crate::address::{Address, Protocol};

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The server refused.
    #[error(transparent)]
    Status(Status),
    /// The request was not sent.
    #[error(transparent)]
    Request(RequestError),
    /// The connection has ended. Whether the call was heard is not known.
    #[error("the connection has ended")]
    Closed,
    /// The time limit passed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// A connection. Clones share it; it ends with [`close`](Self::close), or by the server.
#[derive(Debug, Clone)]
pub(crate) enum Client {
    Ttrpc(ttrpc::Connection),
    Grpc(grpc::Connection),
}

impl Client {
    /// Connects to a socket of ours.
    ///
    /// # Errors
    /// What connect(2) says.
    pub(crate) async fn connect(path: &Path) -> io::Result<Self> {
        ttrpc::Connection::connect(path).await.map(Self::Ttrpc)
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// What connect(2) says, and what is no socket in the file system.
    pub(crate) async fn reach(address: &Address) -> io::Result<Self> {
        let path = address.socket().ok_or(io::ErrorKind::InvalidInput)?;
        Self::of(address.protocol(), UnixStream::connect(path).await?).await
    }

    /// A client on a connection.
    ///
    /// # Errors
    /// What the other side says to the beginning of gRPC.
    pub(crate) async fn of(protocol: Protocol, stream: UnixStream) -> io::Result<Self> {
        match protocol {
            Protocol::Ttrpc => Ok(Self::Ttrpc(ttrpc::Connection::of(stream))),
            Protocol::Grpc => grpc::Connection::of(stream).await.map(Self::Grpc),
        }
    }

    /// Calls a method with an encoded message.
    ///
    /// # Cancel safety
    /// Who no longer waits gets no answer; the server may have heard the call.
    pub(crate) async fn call(
        &self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        options: &Options,
    ) -> Result<Vec<u8>, CallError> {
        match self {
            Self::Ttrpc(connection) => connection.call(service, method, payload, options).await,
            Self::Grpc(connection) => connection.call(service, method, payload, options).await,
        }
    }

    /// Whether both are the same connection.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ttrpc(one), Self::Ttrpc(other)) => one.is(other),
            (Self::Grpc(one), Self::Grpc(other)) => one.is(other),
            _ => false,
        }
    }

    /// Ends the connection.
    pub(crate) fn close(&self) {
        match self {
            Self::Ttrpc(connection) => connection.close(),
            Self::Grpc(connection) => connection.close(),
        }
    }

    /// Returns when the connection has ended.
    pub(crate) async fn ended(&self) {
        match self {
            Self::Ttrpc(connection) => connection.ended().await,
            Self::Grpc(connection) => connection.ended().await,
        }
    }
}

impl CallError {
    /// Whether the server does not have the method.
    pub(crate) fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Status(status) if status.code == Code::Unimplemented as i32)
    }
}
