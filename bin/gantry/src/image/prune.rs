//! `image prune`.

use anyhow::Result;
use clap::Args;
use gantry_docker_api::Filters;
use gantry_docker_api::image::ImagePruneResponse;

use super::remove::removed;
use crate::client::Call;
use crate::command::Verb;
use crate::container::list::filters;
use crate::container::prune::{confirm, reclaimed, with_filters};
use crate::output;
use crate::session::Session;

/// Remove unused images
#[derive(Debug, Args)]
pub(crate) struct PruneImages {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Which images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Dangling,
    All,
}

impl Verb for PruneImages {
    async fn run(self, session: &Session) -> Result<u8> {
        let filters = filters(&self.filter)?;
        let which = if self.all { Which::All } else { Which::Dangling };
        if !self.force {
            confirm(match which {
                Which::Dangling => "WARNING! This will remove all dangling images.",
                Which::All => {
                    "WARNING! This will remove all images without at least one container associated to them."
                }
            })?;
        }
        let (text, bytes) = prune(session, filters, which).await?;
        output::print(&text);
        output::line(format!("Total reclaimed space: {}", reclaimed(bytes)));
        Ok(0)
    }
}

/// What was removed, and how much it was.
pub(crate) async fn prune(session: &Session, mut filters: Filters, which: Which) -> Result<(String, u64)> {
    filters.add("dangling", if which == Which::All { "false" } else { "true" });
    let call = with_filters(Call::post("/images/prune"), &filters);
    let answer: ImagePruneResponse = session.client()?.json(call).await?;
    let text = match removed(&answer.images_deleted) {
        items if items.is_empty() => items,
        items => format!("Deleted Images:\n{items}\n"),
    };
    Ok((text, answer.space_reclaimed))
}
