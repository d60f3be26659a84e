//! The streams of a process, as its shim serves them (docs/design/0004-shim.md, Attach).

use std::path::Path;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::{Error, Result};

const VERSION: u32 = 1;
const HEADER_BYTES: usize = 4;
/// The longest answer to a greeting.
const MAX_WELCOME_BYTES: usize = 4096;
/// The most bytes of input in one frame: the length has 24 bits, and the shim reads no more at once.
const MAX_INPUT_BYTES: usize = 64 << 10;
/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// What a client wants of a process's streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

#[derive(Serialize)]
struct Hello<'a> {
    version: u32,
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    exec: &'a str,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

#[derive(Deserialize)]
struct Welcome {
    #[serde(default)]
    terminal: bool,
    error: Option<String>,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Of standard output, or of the terminal.
    Stdout(Bytes),
    /// Of standard error.
    Stderr(Bytes),
    /// The process has ended. Output may follow, of others that have its streams.
    Exit(i32),
}

/// A process's streams.
pub struct Streams {
    /// Whether they are a terminal.
    pub terminal: bool,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    buffer: BytesMut,
    /// Is told of the end before whoever reads.
    listener: Option<ExitListener>,
}

/// Hears of the end of a process from its streams.
pub(crate) type ExitListener = Box<dyn FnOnce(i32) + Send>;

/// The way in: standard input and the terminal's size.
pub struct StreamInput {
    /// There until it is dropped.
    writer: Option<OwnedWriteHalf>,
}

impl Drop for StreamInput {
    /// A connection whose one direction ends is one whose client is gone, to the shim: it stays for the output.
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.forget();
        }
    }
}

#[derive(Deserialize)]
struct Ended {
    #[serde(default)]
    exit_status: i32,
}

impl Streams {
    /// Attaches to a process of a task: to the first one for an empty `exec`.
    ///
    /// # Errors
    /// Conflict with what the shim says.
    pub(crate) async fn connect(socket: &Path, id: &str, exec: &str, wants: Wants) -> Result<Self> {
        let failed = |action| Error::io(action, socket);
        let stream = UnixStream::connect(socket).await.map_err(failed("connecting to"))?;
        let Wants { stdin, stdout, stderr } = wants;
        let hello = Hello { version: VERSION, id, exec, stdin, stdout, stderr };
        let mut line = serde_json::to_vec(&hello).expect("strings are JSON");
        line.push(b'\n');
        let (mut reader, mut writer) = stream.into_split();
        writer.write_all(&line).await.map_err(failed("writing to"))?;
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let end = loop {
            if let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                break end;
            }
            let count = reader.read_buf(&mut buffer).await.map_err(failed("reading from"))?;
            if count == 0 || buffer.len() > MAX_WELCOME_BYTES {
                return Err(Error::Conflict(format!("the streams of {id} are not served")));
            }
        };
        let line = buffer.split_to(end + 1);
        let welcome: Welcome = serde_json::from_slice(&line)
            .map_err(|_| Error::Conflict(format!("the streams of {id} are not served as they should be")))?;
        match welcome.error {
            Some(error) => Err(Error::Conflict(format!("cannot attach to {id}: {error}"))),
            None => Ok(Self { terminal: welcome.terminal, reader, writer, buffer, listener: None }),
        }
    }

    /// Has somebody hear of the end of the process.
    pub(crate) fn tell_exit(mut self, listener: ExitListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// The two directions, for two tasks.
    pub fn split(self) -> (StreamOutput, StreamInput) {
        let Self { reader, writer, buffer, listener, .. } = self;
        (StreamOutput { reader, buffer, listener }, StreamInput { writer: Some(writer) })
    }
}

/// The way out.
pub struct StreamOutput {
    reader: OwnedReadHalf,
    buffer: BytesMut,
    listener: Option<ExitListener>,
}

impl StreamOutput {
    /// The next piece of output; None after the last.
    ///
    /// # Errors
    /// Those of the connection; Conflict for a frame that is none.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_BYTES);
            let read = self.reader.read_buf(&mut self.buffer).await;
            if read.map_err(Error::io("reading from", "a process's streams"))? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Result<Option<Frame>> {
        loop {
            let Some(&[stream, a, b, c]) = self.buffer.first_chunk() else { return Ok(None) };
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if self.buffer.len() < HEADER_BYTES + length {
                return Ok(None);
            }
            let frame = self.buffer.split_to(HEADER_BYTES + length).freeze().slice(HEADER_BYTES..);
            match stream {
                1 => return Ok(Some(Frame::Stdout(frame))),
                2 => return Ok(Some(Frame::Stderr(frame))),
                3 => {
                    let ended: Ended = serde_json::from_slice(&frame)
                        .map_err(|_| Error::Conflict("an exit that cannot be read".to_owned()))?;
                    if let Some(listener) = self.listener.take() {
                        listener(ended.exit_status);
                    }
                    return Ok(Some(Frame::Exit(ended.exit_status)));
                }
                // What a later version may say.
                _ => {}
            }
        }
    }
}

impl StreamInput {
    /// Writes to standard input.
    ///
    /// # Errors
    /// Those of the connection: the process may have ended.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(MAX_INPUT_BYTES) {
            self.frame(0, piece).await?;
        }
        Ok(())
    }

    /// Ends standard input.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn end(&mut self) -> Result<()> {
        self.frame(0, &[]).await
    }

    /// Sets the terminal's size.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        let [a, b] = columns.to_be_bytes();
        let [c, d] = rows.to_be_bytes();
        self.frame(4, &[a, b, c, d]).await
    }

    async fn frame(&mut self, stream: u8, bytes: &[u8]) -> Result<()> {
        let [_, a, b, c] = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut frame = Vec::with_capacity(HEADER_BYTES + bytes.len());
        frame.extend_from_slice(&[stream, a, b, c]);
        frame.extend_from_slice(bytes);
        let writer = self.writer.as_mut().expect("it goes with the value");
        writer.write_all(&frame).await.map_err(Error::io("writing to", "a process's streams"))
    }
}
