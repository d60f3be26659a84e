//! Bytes between clients, which are asynchronous, and archives, which are read and written by threads that may wait.

use std::io::{self, Read, Write};

use bytes::{Buf as _, Bytes};
use gantry_types::ErrorKind;
use tokio::sync::{mpsc, oneshot};

use crate::{Error, Result};

/// How many pieces wait on their way.
const DEPTH: usize = 8;

/// What a client sends, as a thread reads it.
pub struct ByteSource {
    receive: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    over: bool,
}

/// The two ends of what a client sends. A sender that is dropped is the end of it; one that fails sends an error before.
pub fn byte_source() -> (mpsc::Sender<io::Result<Bytes>>, ByteSource) {
    let (send, receive) = mpsc::channel(DEPTH);
    (send, ByteSource { receive, current: Bytes::new(), over: false })
}

impl Read for ByteSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.over {
            match self.receive.blocking_recv() {
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(error)) => {
                    self.over = true;
                    return Err(error);
                }
                None => self.over = true,
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// What is sent to a client.
pub struct ByteStream {
    receive: mpsc::Receiver<Bytes>,
    /// How it ended.
    end: Option<oneshot::Receiver<Result<()>>>,
}

impl ByteStream {
    /// The next piece; None after the last.
    ///
    /// # Errors
    /// Whatever ended it early: what came before is not whole.
    ///
    /// # Cancel safety
    /// Nothing is lost. Dropping the stream ends whoever writes to it.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(bytes) = self.receive.recv().await {
            return Ok(Some(bytes));
        }
        let Some(end) = &mut self.end else { return Ok(None) };
        let ended = end.await.unwrap_or(Err(Error::Panicked("writing an archive")));
        self.end = None;
        ended.map(|()| None)
    }
}

/// The end of a stream into which a thread writes. A client that has gone is a broken pipe.
pub(crate) struct Outlet(mpsc::Sender<Bytes>);

/// A stream, what is written to it, and who says how that ended.
pub(crate) fn byte_stream() -> (Outlet, oneshot::Sender<Result<()>>, ByteStream) {
    let (send, receive) = mpsc::channel(DEPTH);
    let (ended, end) = oneshot::channel();
    (Outlet(send), ended, ByteStream { receive, end: Some(end) })
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether an error says that the client has gone, which is nobody's business.
pub(crate) fn is_gone(error: &Error) -> bool {
    match error {
        Error::Store(gantry_primitives::Error::File { source, .. }) => {
            source.kind() == io::ErrorKind::BrokenPipe
        }
        error => error.kind() == ErrorKind::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_is_read_and_errors_come_after_it() {
        let (send, mut source) = byte_source();
        send.send(Ok(Bytes::from_static(b"ab"))).await.unwrap();
        send.send(Ok(Bytes::new())).await.unwrap();
        send.send(Ok(Bytes::from_static(b"c"))).await.unwrap();
        send.send(Err(io::Error::other("gone"))).await.unwrap();
        drop(send);
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            let error = source.read_to_end(&mut all).unwrap_err();
            (all, error.to_string(), source.read(&mut [0]).unwrap())
        });
        assert_eq!(read.await.unwrap(), (b"abc".to_vec(), "gone".to_owned(), 0));
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_error() {
        let (mut outlet, ended, mut stream) = byte_stream();
        let write = tokio::task::spawn_blocking(move || outlet.write_all(b"x").unwrap());
        assert_eq!(stream.next().await.unwrap().as_deref(), Some(&b"x"[..]));
        write.await.unwrap();
        ended.send(Err(Error::Conflict("no".to_owned()))).unwrap();
        assert!(stream.next().await.is_err());
        assert!(stream.next().await.unwrap().is_none());
    }
}
