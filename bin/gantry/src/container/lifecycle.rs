//! `stop`, `restart`, `kill`, `pause`, `unpause`, `rename`.

use anyhow::Result;
use clap::Args;

use super::{each, path};
use crate::client::Call;
use crate::command::{Failure, Verb, chain};
use crate::session::Session;

/// Stop one or more running containers
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    how: How,
}

/// Restart one or more containers
#[derive(Debug, Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    how: How,
}

/// How a container is stopped.
#[derive(Debug, Args)]
struct How {
    /// Signal to send to the container
    #[arg(short, long, value_name = "STRING")]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, visible_alias = "time", value_name = "INT", allow_negative_numbers = true)]
    timeout: Option<i64>,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl How {
    async fn send(&self, session: &Session, verb: &str) -> Result<u8> {
        let client = session.client()?;
        each(session, &self.containers, |container| {
            let call = Call::post(path(&container, verb))
                .query_some("signal", self.signal.as_deref())
                .query_some("t", self.timeout.map(|seconds| seconds.to_string()));
            client.unit(call)
        })
        .await
    }
}

impl Verb for Stop {
    async fn run(self, session: &Session) -> Result<u8> {
        self.how.send(session, "/stop").await
    }
}

impl Verb for Restart {
    async fn run(self, session: &Session) -> Result<u8> {
        self.how.send(session, "/restart").await
    }
}

/// Kill one or more running containers
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Signal to send to the container
    #[arg(short, long, value_name = "STRING")]
    signal: Option<String>,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Kill {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        each(session, &self.containers, |container| {
            client.unit(Call::post(path(&container, "/kill")).query_some("signal", self.signal.as_deref()))
        })
        .await
    }
}

/// Pause all processes within one or more containers
#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Pause {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        each(session, &self.containers, |container| client.unit(Call::post(path(&container, "/pause")))).await
    }
}

/// Unpause all processes within one or more containers
#[derive(Debug, Args)]
pub(crate) struct Unpause {
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Unpause {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        each(session, &self.containers, |container| client.unit(Call::post(path(&container, "/unpause"))))
            .await
    }
}

/// Rename a container
#[derive(Debug, Args)]
pub(crate) struct Rename {
    /// Container
    container: String,
    /// Its new name
    new_name: String,
}

impl Verb for Rename {
    async fn run(self, session: &Session) -> Result<u8> {
        let call = Call::post(path(&self.container, "/rename")).query("name", &self.new_name);
        let renamed = session.client()?.unit(call).await;
        renamed.map(|()| 0).map_err(|error| {
            let line = format!("Error: failed to rename container named {}", self.container);
            Failure::with(1, format!("{}\n{line}", chain(&error)))
        })
    }
}
