//! Bytes between a process in a container and our own standard streams.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use gantry_stream::{Channel, Decoder, DetachKeys, Scan, Scanner};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::sync::mpsc;

use super::stdout::{Sink, Standard};
use super::{Raw, stdin};
use crate::client::Hijacked;

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// What flows.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    /// Whether our input goes there.
    pub(crate) has_input: bool,
    /// Whether the process has a terminal: its output is no frames, and detach keys are looked for.
    pub(crate) has_terminal: bool,
    pub(crate) detach_keys: DetachKeys,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The process closed its output.
    Output,
    /// The person detached.
    Detached,
}

/// Moves bytes until the output ends.
pub(crate) async fn pump(hijacked: Hijacked, flow: &Flow) -> Result<End> {
    // Before the first byte comes, so that it is not changed by the terminal.
    let raw = (flow.has_input && flow.has_terminal).then(Raw::enter).flatten();
    let is_multiplexed = hijacked.is_multiplexed || !flow.has_terminal;
    let (mut from, to) = tokio::io::split(hijacked.stream);
    let output = async {
        let mut output = Output::new(is_multiplexed);
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = from.read(&mut buffer).await.context("the output broke off")?;
            if count == 0 {
                output.sink.finish().await;
                return Ok(End::Output);
            }
            output.write(&buffer[..count]).await?;
        }
    };
    let input = async {
        let end = send(flow, to).await;
        match end {
            Ok(Some(end)) => Ok(end),
            // The output may go on, and a process that does not read any more is none of our business.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        end = output => end,
        end = input => end,
    };
    drop(raw);
    end
}

/// Sends input; tells if the person detached.
async fn send(flow: &Flow, mut to: WriteHalf<TokioIo<Upgraded>>) -> Result<Option<End>> {
    if !flow.has_input {
        // Half of the connection closed would be the end of an input that somebody else may give.
        std::future::pending::<()>().await;
    }
    let mut chunks: mpsc::Receiver<Bytes> = stdin::chunks();
    let mut scanner = flow.has_terminal.then(|| Scanner::new(&flow.detach_keys));
    let mut passed = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        let Some(scanner) = &mut scanner else {
            to.write_all(&chunk).await?;
            to.flush().await?;
            continue;
        };
        passed.clear();
        let scan = scanner.scan(&chunk, &mut passed);
        to.write_all(&passed).await?;
        to.flush().await?;
        if scan == Scan::Detached {
            return Ok(Some(End::Detached));
        }
    }
    to.shutdown().await?;
    Ok(None)
}

/// Takes output apart, and writes it.
struct Output {
    decoder: Option<Decoder>,
    sink: Sink,
}

impl Output {
    fn new(is_multiplexed: bool) -> Self {
        Self { decoder: is_multiplexed.then(Decoder::new), sink: Sink::new() }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        let Some(decoder) = &mut self.decoder else {
            self.sink.write(Standard::Output, bytes.to_vec()).await;
            return Ok(());
        };
        // What comes together is written together: a line is no work of its own.
        let (mut together, mut standard) = (Vec::new(), Standard::Output);
        while let Some(piece) = decoder.next(&mut bytes).context("the output is not understood")? {
            let own = match piece.channel {
                Channel::Stdin | Channel::Stdout => Standard::Output,
                Channel::Stderr => Standard::Error,
                Channel::SystemError => {
                    bail!("error from daemon in stream: {}", String::from_utf8_lossy(piece.bytes));
                }
            };
            if own != standard && !together.is_empty() {
                self.sink.write(standard, std::mem::take(&mut together)).await;
            }
            standard = own;
            together.extend_from_slice(piece.bytes);
        }
        if !together.is_empty() {
            self.sink.write(standard, together).await;
        }
        Ok(())
    }
}
