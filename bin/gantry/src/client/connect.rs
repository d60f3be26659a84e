//! Connections to the engine: a socket, TCP, TLS, or the streams of `ssh`.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::endpoint::Endpoint;
use super::tls::Tls;

/// A connection.
pub(crate) enum Transport {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    Ssh(Box<SshStream>),
}

/// The streams of an `ssh`, which is killed with the connection.
pub(crate) struct SshStream {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    _child: Child,
}

/// Connects.
pub(crate) async fn connect(endpoint: &Endpoint, tls: Option<&Tls>) -> Result<Transport> {
    match endpoint {
        Endpoint::Unix(path) => Ok(Transport::Unix(UnixStream::connect(path).await?)),
        Endpoint::Tcp { host, port, is_tls } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            match tls.filter(|_| *is_tls) {
                Some(tls) => Ok(Transport::Tls(Box::new(tls.connect(host, stream).await?))),
                None => Ok(Transport::Tcp(stream)),
            }
        }
        Endpoint::Ssh { user, host, port } => ssh(user.as_deref(), host, *port),
    }
}

fn ssh(user: Option<&str>, host: &str, port: Option<u16>) -> Result<Transport> {
    let mut command = Command::new("ssh");
    command.args(["-o", "ConnectTimeout=30", "-T"]);
    user.inspect(|user| {
        command.args(["-l", user]);
    });
    port.inspect(|port| {
        command.args(["-p", &port.to_string()]);
    });
    command.args(["--", host, "docker", "system", "dial-stdio"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("ssh cannot be started")?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().context("ssh has no output")?;
    Ok(Transport::Ssh(Box::new(SshStream { stdin, stdout, _child: child })))
}

macro_rules! each {
    ($this:expr, $stream:ident => $call:expr) => {
        match $this.get_mut() {
            Transport::Unix($stream) => $call,
            Transport::Tcp($stream) => $call,
            Transport::Tls($stream) => $call,
            Transport::Ssh($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

impl AsyncRead for SshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(context, buffer)
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        // Closing is the only end that a pipe has.
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}
