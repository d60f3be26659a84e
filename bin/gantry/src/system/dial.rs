//! `system dial-stdio`: the engine's connection on standard input and output, for `ssh`.

use anyhow::Result;
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::command::Verb;
use crate::session::Session;
use crate::terminal::stdin;
use crate::terminal::stdout::{Sink, Standard};

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// Proxy the stdio stream to the daemon connection
#[derive(Debug, Args)]
pub(crate) struct DialStdio {}

impl Verb for DialStdio {
    async fn run(self, session: &Session) -> Result<u8> {
        let transport = session.client()?.dial().await?;
        let (mut from, mut to) = tokio::io::split(transport);
        let up = async {
            let mut chunks = stdin::chunks();
            while let Some(chunk) = chunks.recv().await {
                to.write_all(&chunk).await?;
                to.flush().await?;
            }
            to.shutdown().await?;
            // The answer to what was sent last is still to come.
            std::future::pending::<std::io::Result<()>>().await
        };
        let down = async {
            let mut sink = Sink::new();
            let mut buffer = vec![0; CHUNK];
            loop {
                let count = from.read(&mut buffer).await?;
                if count == 0 {
                    sink.finish().await;
                    return Ok::<(), std::io::Error>(());
                }
                sink.write(Standard::Output, buffer[..count].to_vec()).await;
            }
        };
        tokio::select! {
            result = up => result?,
            result = down => result?,
        }
        Ok(0)
    }
}
