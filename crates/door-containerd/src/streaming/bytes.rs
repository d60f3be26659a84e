//! Bytes over a stream: `Data` one way, `WindowUpdate` the other.
//!
//! The receiver says how many more bytes it takes; the sender never sends more. containerd's clients send pieces of 32 KiB.

use std::io;

use bytes::Bytes;
use gantry_proto_containerd::transfer::{Data, WindowUpdate};
use tokio::sync::mpsc;
use tonic::Status;

use crate::status;

use super::registry::OpenStream;

/// How many bytes a client may send ahead.
const WINDOW_BYTES: i32 = 4 << 20;
/// It is told of room in pieces of this size.
const UPDATE_BYTES: i32 = 1 << 20;
/// The largest piece that is sent.
const MAX_DATA_BYTES: usize = 64 << 10;
/// The largest window that a client may give: more is a mistake, or an attack on the sum.
const MAX_WINDOW: i64 = 1 << 30;

/// What a client sends, for a reader that blocks. It ends with the stream.
pub(crate) struct Source {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
    failed: bool,
}

/// Starts to receive; what is read is asked for again.
pub(crate) fn receive(stream: OpenStream) -> Source {
    // The window bounds the bytes; the channel bounds a client that sends many small pieces.
    let (sender, pieces) = mpsc::channel(256);
    tokio::spawn(async move {
        if let Err(error) = pump(stream, &sender).await {
            let _ = sender.send(Err(error)).await;
        }
    });
    Source { pieces, rest: Bytes::new(), failed: false }
}

async fn pump(mut stream: OpenStream, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    // How many bytes the client may still send, and how many of them it was not yet told of.
    let mut window = WINDOW_BYTES;
    let mut owed = 0;
    stream.send(&WindowUpdate { update: WINDOW_BYTES }).await;
    loop {
        let message = match stream.incoming.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(()),
            Err(status) => return Err(io::Error::other(status)),
        };
        let Some(Data { data }) = message.unpack().map_err(io::Error::other)? else {
            tracing::warn!(kind = message.name(), "unexpected message on a stream of bytes");
            continue;
        };
        let length = i32::try_from(data.len()).unwrap_or(i32::MAX);
        window -= length;
        if window < 0 {
            return Err(io::Error::other("more bytes than the window has"));
        }
        if sender.send(Ok(data)).await.is_err() {
            return Ok(());
        }
        owed += length;
        if owed >= UPDATE_BYTES {
            // A client that has sent all may have closed its side of the stream: its end tells.
            stream.send(&WindowUpdate { update: owed }).await;
            window += owed;
            owed = 0;
        }
    }
}

impl io::Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            if self.failed {
                return Err(io::Error::other("the stream has failed"));
            }
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.rest = piece,
                Some(Err(error)) => {
                    self.failed = true;
                    return Err(error);
                }
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

/// Takes bytes for a client, from a writer that blocks.
pub(crate) struct Sink {
    pieces: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

/// Starts to send. The future ends when all was sent that was written before the sink was dropped.
///
/// # Errors
/// Of the future: the client left before it had taken all.
pub(crate) fn send(stream: OpenStream) -> (Sink, impl Future<Output = Result<(), Status>> + Send) {
    let (sender, pieces) = mpsc::channel(8);
    (Sink { pieces: sender, buffer: Vec::new() }, push(stream, pieces))
}

async fn push(mut stream: OpenStream, mut pieces: mpsc::Receiver<Bytes>) -> Result<(), Status> {
    let gone = || status::cancelled("the client has closed its stream");
    let mut window: i64 = 0;
    while let Some(mut piece) = pieces.recv().await {
        while !piece.is_empty() {
            while window <= 0 {
                window += update(&mut stream).await?;
            }
            let length = piece.len().min(usize::try_from(window).unwrap_or_default()).min(MAX_DATA_BYTES);
            let data = piece.split_to(length);
            window -= i64::try_from(length).unwrap_or(i64::MAX);
            if !stream.send(&Data { data }).await {
                return Err(gone());
            }
        }
    }
    Ok(())
}

/// Sends to one stream what comes by another, until that ends.
///
/// # Errors
/// Cancelled if the client leaves before it had all; what the first stream says.
pub(crate) async fn relay(from: OpenStream, to: OpenStream) -> Result<(), Status> {
    let mut source = receive(from);
    let (sender, pieces) = mpsc::channel(8);
    let read = async move {
        while let Some(piece) = source.pieces.recv().await {
            let piece = piece.map_err(|error| status::cancelled(format!("the client's stream: {error}")))?;
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let (read, sent) = tokio::join!(read, push(to, pieces));
    sent?;
    read
}

/// Waits until the client has room.
async fn update(stream: &mut OpenStream) -> Result<i64, Status> {
    let message = stream.incoming.message().await?;
    let message = message.ok_or_else(|| status::cancelled("the client has closed its stream"))?;
    let update: Option<WindowUpdate> =
        message.unpack().map_err(|error| status::invalid_argument(format!("window update: {error}")))?;
    match update {
        Some(WindowUpdate { update }) if (0..=MAX_WINDOW).contains(&i64::from(update)) => Ok(update.into()),
        Some(WindowUpdate { update }) => Err(status::invalid_argument(format!("a window of {update} bytes"))),
        None => {
            tracing::warn!(kind = message.name(), "unexpected message on a stream of bytes");
            Ok(0)
        }
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(MAX_DATA_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..length]);
        if self.buffer.len() == MAX_DATA_BYTES {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.buffer).into();
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has closed its stream");
        self.pieces.blocking_send(piece).map_err(gone)
    }
}
