//! `container prune`, and the question that every prune asks.

use std::io::{BufRead as _, Write as _};

use anyhow::Result;
use clap::Args;
use gantry_docker_api::Filters;
use gantry_docker_api::container::ContainerPruneResponse;

use super::list::filters;
use crate::client::Call;
use crate::command::{Failure, Verb};
use crate::format::words::size_fine;
use crate::output;
use crate::session::Session;

/// Remove all stopped containers
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Verb for Prune {
    async fn run(self, session: &Session) -> Result<u8> {
        let filters = filters(&self.filter)?;
        if !self.force {
            confirm("WARNING! This will remove all stopped containers.")?;
        }
        let (text, bytes) = prune(session, &filters).await?;
        output::print(&text);
        output::line(format!("Total reclaimed space: {}", reclaimed(bytes)));
        Ok(0)
    }
}

/// What was removed, and how much it was.
pub(crate) async fn prune(session: &Session, filters: &Filters) -> Result<(String, u64)> {
    let call = with_filters(Call::post("/containers/prune"), filters);
    let answer: ContainerPruneResponse = session.client()?.json(call).await?;
    let mut text = String::new();
    if !answer.containers_deleted.is_empty() {
        text = format!("Deleted Containers:\n{}\n\n", answer.containers_deleted.join("\n"));
    }
    Ok((text, answer.space_reclaimed))
}

/// Adds filters to a call.
pub(crate) fn with_filters(call: Call, filters: &Filters) -> Call {
    call.query_some("filters", (!filters.is_empty()).then(|| filters.to_query()))
}

/// A size in words.
pub(crate) fn reclaimed(bytes: u64) -> String {
    size_fine(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// Asks; what is not a yes ends the command.
pub(crate) fn confirm(warning: &str) -> Result<()> {
    output::print(&format!("{warning}\nAre you sure you want to continue? [y/N] "));
    let mut answer = String::new();
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    if answer.is_empty() {
        output::print("\n");
    }
    Err(Failure::with(1, "operation was cancelled: no changes were made"))
}
