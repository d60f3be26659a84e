//! A client at the streams of a process: what it sends is the process's input, what the process writes is sent to it.
//!
//! ```text
//! client ──bytes──► detach keys (terminals) ──► StreamInput         half-closed by the client: the input ends, if it is once
//! client ◄─bytes or frames────────────────────── StreamOutput       ends with the process, and what is left of its output
//! ```
//! Output is copied once, from the shim's socket; frames are written with their headers in one call.

use std::time::Duration;

use bytes::{Buf, Bytes};
use gantry_engine::{Frame, StreamInput, StreamOutput, Streams};
use gantry_stream::{Channel, DetachKeys, Scan, Scanner, header};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::Instant;

use crate::http::Wire;

/// How long output is waited for that others of the process's streams write after its end.
pub(super) const AFTER_EXIT: Duration = Duration::from_secs(2);
/// What is read of a client at once.
const READ_BYTES: usize = 32 << 10;

/// How output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As it is.
    Raw,
    /// With headers that tell the streams apart.
    Multiplexed,
}

/// What a client's place is like.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// How output is written.
    pub(crate) framing: Framing,
    /// Whether what the client sends is input.
    pub(crate) stdin: bool,
    /// Whether the process's input ends with the client's; else the session does.
    pub(crate) ends_input: bool,
    /// What ends the session; only terminals have keys.
    pub(crate) keys: Option<DetachKeys>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With the output.
    Output,
    /// By the keys.
    Detached,
    /// With the client.
    Left,
}

impl Session {
    /// Serves a client to the end.
    pub(crate) async fn run(self, wire: Wire, streams: Streams) -> End {
        let (reader, mut writer) = tokio::io::split(wire);
        // The shim takes the end of this half for the client's end: it is kept until the session is over.
        let (output, mut input) = streams.split();
        let end = {
            let framing = self.framing;
            let incoming = self.incoming(reader, &mut input);
            let outgoing = outgoing(&mut writer, output, framing);
            tokio::pin!(incoming, outgoing);
            tokio::select! {
                end = &mut outgoing => end,
                end = &mut incoming => match end {
                    Some(end) => end,
                    None => outgoing.await,
                },
            }
        };
        let _ = writer.shutdown().await;
        end
    }

    /// Passes input on. None when there will be no more, and the session goes on.
    async fn incoming(self, mut reader: ReadHalf<Wire>, input: &mut StreamInput) -> Option<End> {
        let mut scanner = self.keys.as_ref().map(Scanner::new);
        let mut buffer = vec![0; READ_BYTES];
        let mut passed = Vec::new();
        loop {
            let count = match reader.read(&mut buffer).await {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) => return Some(End::Left),
            };
            if !self.stdin {
                // Clients that only read may send what they like.
                continue;
            }
            let bytes = match &mut scanner {
                None => &buffer[..count],
                Some(scanner) => {
                    passed.clear();
                    let scan = scanner.scan(&buffer[..count], &mut passed);
                    if scan == Scan::Detached {
                        let _ = input.write(&passed).await;
                        return Some(End::Detached);
                    }
                    &passed
                }
            };
            // A process that takes no more may still write.
            if !bytes.is_empty() && input.write(bytes).await.is_err() {
                return None;
            }
        }
        if !self.stdin {
            return None;
        }
        if let Some(scanner) = &mut scanner {
            passed.clear();
            scanner.finish(&mut passed);
            let _ = input.write(&passed).await;
        }
        if !self.ends_input {
            return Some(End::Left);
        }
        let _ = input.end().await;
        None
    }
}

/// Passes output on, until there is no more.
async fn outgoing(writer: &mut WriteHalf<Wire>, mut output: StreamOutput, framing: Framing) -> End {
    let mut deadline: Option<Instant> = None;
    loop {
        let next = match deadline {
            None => output.next().await,
            Some(at) => match tokio::time::timeout_at(at, output.next()).await {
                Ok(next) => next,
                Err(_) => return End::Output,
            },
        };
        let written = match next {
            Ok(Some(Frame::Stdout(bytes))) => write(writer, Channel::Stdout, bytes, framing).await,
            Ok(Some(Frame::Stderr(bytes))) => write(writer, Channel::Stderr, bytes, framing).await,
            Ok(Some(Frame::Exit(_))) => {
                deadline.get_or_insert_with(|| Instant::now() + AFTER_EXIT);
                Ok(())
            }
            Ok(None) => return End::Output,
            Err(error) => {
                tracing::debug!(%error, "the streams of a process ended");
                return End::Output;
            }
        };
        if written.is_err() {
            return End::Left;
        }
    }
}

/// Writes a piece of output.
pub(crate) async fn write<W: AsyncWrite + Unpin>(
    writer: &mut W,
    channel: Channel,
    bytes: Bytes,
    framing: Framing,
) -> std::io::Result<()> {
    match framing {
        Framing::Raw => writer.write_all(&bytes).await,
        Framing::Multiplexed => {
            let length = u32::try_from(bytes.len()).expect("the shim's frames have 24 bits of length");
            let head = header(channel, length);
            let mut both = Buf::chain(head.as_slice(), bytes);
            writer.write_all_buf(&mut both).await
        }
    }?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_have_headers() {
        let mut written = Vec::new();
        write(&mut written, Channel::Stderr, Bytes::from_static(b"ab"), Framing::Multiplexed).await.unwrap();
        write(&mut written, Channel::Stdout, Bytes::from_static(b"c"), Framing::Raw).await.unwrap();
        assert_eq!(written, b"\x02\0\0\0\0\0\0\x02abc");
    }
}
