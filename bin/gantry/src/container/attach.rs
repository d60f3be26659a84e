//! `attach`, and what every verb with a stream needs.

use anyhow::{Context, Result, bail};
use clap::{ArgAction, Args};
use gantry_stream::DetachKeys;

use super::{inspect_one, path, run};
use crate::client::{Call, Client};
use crate::command::Verb;
use crate::output;
use crate::session::Session;
use crate::terminal::{self, End, Flow};

/// Attach local standard input, output, and error streams to a running container
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "STRING")]
    detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
    /// Container
    #[arg(required = true)]
    container: String,
}

/// Keys that detach, as text for the engine if they are not the default.
pub(crate) struct Keys {
    pub(crate) text: Option<String>,
    pub(crate) keys: DetachKeys,
}

/// The keys of the flag, of the configuration, or docker's.
pub(crate) fn detach_keys(session: &Session, flag: Option<&str>) -> Result<Keys> {
    let text = match flag.filter(|keys| !keys.is_empty()) {
        Some(keys) => Some(keys.to_owned()),
        None => session.config()?.detach_keys().map(str::to_owned),
    };
    let keys = match &text {
        Some(text) => text.parse().with_context(|| format!("invalid detach keys {text:?}"))?,
        None => DetachKeys::default(),
    };
    Ok(Keys { text, keys })
}

/// Sends a signal; a container that is gone has no use for it.
pub(crate) async fn kill(client: &Client, id: String, signal: &'static str) {
    let _ = client.unit(Call::post(path(&id, "/kill")).query("signal", signal)).await;
}

/// Tells a process the terminal's size; whether that worked.
pub(crate) async fn resize(client: &Client, path: String, [height, width]: [u32; 2]) -> bool {
    let call = Call::post(path).query("h", height.to_string()).query("w", width.to_string());
    client.unit(call).await.is_ok()
}

impl Verb for Attach {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        let keys = detach_keys(session, self.detach_keys.as_deref())?;
        let container = inspect_one(client, &self.container).await?;
        let state = container.state.unwrap_or_default();
        if !state.running {
            bail!("You cannot attach to a stopped container, start it first");
        }
        if state.paused {
            bail!("You cannot attach to a paused container, unpause it first");
        }
        if state.restarting {
            bail!("You cannot attach to a restarting container, wait until it is running");
        }
        let config = container.config.unwrap_or_default();
        let has_input = !self.no_stdin && config.open_stdin;
        if has_input && config.tty && !terminal::is_stdin() {
            bail!("cannot attach stdin to a TTY-enabled container because stdin is not a terminal");
        }
        let id = container.id;
        let call = Call::post(path(&id, "/attach"))
            .query("stream", "1")
            .query_flag("stdin", has_input)
            .query("stdout", "1")
            .query("stderr", "1")
            .query_some("detachKeys", keys.text.as_deref());
        let (stream, waiting) = tokio::join!(client.hijack(call), run::wait(client, &id, ""));
        let (stream, waiting) = (stream?, waiting?);
        let flow = Flow { has_input, has_terminal: config.tty, detach_keys: keys.keys };
        let signals = async {
            if self.sig_proxy && !config.tty {
                terminal::forward(|name| kill(client, id.clone(), name)).await;
            }
            std::future::pending::<()>().await;
        };
        let resizes = async {
            if config.tty && terminal::is_stdout() {
                terminal::on_resize(|size| resize(client, path(&id, "/resize"), size)).await;
            }
            std::future::pending::<()>().await;
        };
        let work = async {
            if terminal::pump(stream, &flow).await? == End::Detached {
                output::note("read escape sequence");
                return Ok(0);
            }
            run::status(waiting).await
        };
        tokio::select! {
            code = work => code,
            () = signals => unreachable!("it does not end"),
            () = resizes => unreachable!("it does not end"),
        }
    }
}
