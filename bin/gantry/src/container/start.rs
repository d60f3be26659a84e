//! `start`.

use anyhow::{Result, bail};
use clap::Args;

use super::{attach, inspect_one, path, run};
use crate::client::Call;
use crate::command::{Failure, Verb, chain};
use crate::output;
use crate::session::Session;
use crate::terminal::{self, End, Flow};

/// Start one or more stopped containers
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "STRING")]
    detach_keys: Option<String>,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Verb for Start {
    async fn run(self, session: &Session) -> Result<u8> {
        if !self.attach && !self.interactive {
            return self.each(session).await;
        }
        let [container] = self.containers.as_slice() else {
            bail!("you cannot start and attach multiple containers at once");
        };
        let client = session.client()?;
        let keys = attach::detach_keys(session, self.detach_keys.as_deref())?;
        let found = inspect_one(client, container).await?;
        let config = found.config.unwrap_or_default();
        let id = found.id;
        let has_input = self.interactive && config.open_stdin;
        let call = Call::post(path(&id, "/attach"))
            .query("stream", "1")
            .query_flag("stdin", has_input)
            .query("stdout", "1")
            .query("stderr", "1")
            .query_some("detachKeys", keys.text.as_deref());
        let removes = found.host_config.is_some_and(|host| host.auto_remove);
        let condition = if removes { "removed" } else { "next-exit" };
        let signals = (!config.tty).then(|| terminal::forward(|name| attach::kill(client, id.clone(), name)));
        let (stream, waiting) = tokio::join!(client.hijack(call), run::wait(client, &id, condition));
        let (stream, waiting) = (stream?, waiting?);
        client.unit(Call::post(path(&id, "/start"))).await?;
        let flow = Flow { has_input, has_terminal: config.tty, detach_keys: keys.keys };
        let work = async {
            match terminal::pump(stream, &flow).await? {
                End::Detached => Ok(0),
                End::Output => run::status(waiting).await,
            }
        };
        let resizes = async {
            if config.tty && terminal::is_stdout() {
                terminal::on_resize(|size| attach::resize(client, path(&id, "/resize"), size)).await;
            }
            std::future::pending::<()>().await;
        };
        let proxy = async {
            match signals {
                Some(signals) => signals.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            code = work => code,
            () = resizes => unreachable!("it does not end"),
            () = proxy => unreachable!("it does not end"),
        }
    }
}

impl Start {
    async fn each(&self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        let mut failed = Vec::new();
        for container in &self.containers {
            match client.unit(Call::post(path(container, "/start"))).await {
                Ok(()) => output::line(container),
                Err(error) => {
                    output::note(chain(&error));
                    failed.push(container.as_str());
                }
            }
        }
        if failed.is_empty() {
            return Ok(0);
        }
        Err(Failure::with(1, format!("failed to start containers: {}", failed.join(", "))))
    }
}
