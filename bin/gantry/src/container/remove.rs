//! `rm`.

use anyhow::Result;
use clap::Args;
use http::StatusCode;

use super::{each, path};
use crate::client::{ApiError, Call};
use crate::command::Verb;
use crate::output;
use crate::session::Session;

/// Remove one or more containers
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove the specified link
    #[arg(short, long)]
    link: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Remove {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        each(session, &self.containers, async |container| {
            let call = Call::delete(path(container.trim_matches('/'), ""))
                .query_flag("v", self.volumes)
                .query_flag("link", self.link)
                .query_flag("force", self.force);
            match client.unit(call).await {
                Err(error) if self.force && is_absent(&error) => {
                    output::note(crate::command::chain(&error));
                    Ok(())
                }
                result => result,
            }
        })
        .await
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|error| error.status == StatusCode::NOT_FOUND)
}
