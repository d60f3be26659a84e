//! `system prune` and `builder prune`.

use anyhow::{Result, bail};
use clap::Args;
use gantry_docker_api::image::BuildPruneResponse;
use gantry_docker_api::size;

use crate::client::Call;
use crate::command::Verb;
use crate::container::list::filters;
use crate::container::prune as containers;
use crate::container::prune::{confirm, with_filters};
use crate::image::prune::{self as images, Which};
use crate::output;
use crate::session::Session;
use crate::{network, volume};

/// Remove unused data
#[derive(Debug, Args)]
pub(crate) struct PruneSystem {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

impl Verb for PruneSystem {
    async fn run(self, session: &Session) -> Result<u8> {
        let filters = filters(&self.filter)?;
        if self.volumes && filters.contains("until") {
            bail!("the \"until\" filter is not supported with \"--volumes\"");
        }
        if !self.force {
            confirm(&self.warning())?;
        }
        let mut total: u64 = 0;
        let mut tell = |(text, bytes): (String, u64)| {
            output::print(&text);
            total = total.saturating_add(bytes);
        };
        tell(containers::prune(session, &filters).await?);
        output::print(&network::prune(session, &filters).await?);
        if self.volumes {
            tell(volume::prune(session, &filters).await?);
        }
        let which = if self.all { Which::All } else { Which::Dangling };
        tell(images::prune(session, filters.clone(), which).await?);
        tell(prune_cache(session, which).await?);
        output::line(format!("Total reclaimed space: {}", containers::reclaimed(total)));
        Ok(0)
    }
}

impl PruneSystem {
    fn warning(&self) -> String {
        let mut what = vec!["all stopped containers", "all networks not used by at least one container"];
        if self.volumes {
            what.push("all anonymous volumes not used by at least one container");
        }
        what.push(if self.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        });
        what.push(if self.all { "all build cache" } else { "unused build cache" });
        let lines: Vec<String> = what.iter().map(|line| format!("  - {line}")).collect();
        format!("WARNING! This will remove:\n{}\n", lines.join("\n"))
    }
}

async fn prune_cache(session: &Session, which: Which) -> Result<(String, u64)> {
    let call = Call::post("/build/prune").query_flag("all", which == Which::All);
    let answer: BuildPruneResponse = session.client()?.json(call).await?;
    let mut text = String::new();
    if !answer.caches_deleted.is_empty() {
        text = format!("Deleted build cache objects:\n{}\n\n", answer.caches_deleted.join("\n"));
    }
    Ok((text, answer.space_reclaimed))
}

/// Remove build cache
#[derive(Debug, Args)]
pub(crate) struct PruneCache {
    /// Remove all unused build cache, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=24h")
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Amount of disk space to keep for cache
    #[arg(long, value_name = "BYTES")]
    keep_storage: Option<String>,
}

impl Verb for PruneCache {
    async fn run(self, session: &Session) -> Result<u8> {
        if !self.force {
            confirm(if self.all {
                "WARNING! This will remove all build cache."
            } else {
                "WARNING! This will remove all dangling build cache."
            })?;
        }
        let keep = self.keep_storage.as_deref().map(size::parse_binary).transpose()?;
        let call = Call::post("/build/prune")
            .query_flag("all", self.all)
            .query_some("keep-storage", keep.map(|bytes| bytes.to_string()))
            .query_some("reserved-space", keep.map(|bytes| bytes.to_string()));
        let call = with_filters(call, &filters(&self.filter)?);
        let answer: BuildPruneResponse = session.client()?.json(call).await?;
        if !answer.caches_deleted.is_empty() {
            output::line(format!("Deleted build cache objects:\n{}\n", answer.caches_deleted.join("\n")));
        }
        output::line(format!("Total reclaimed space: {}", containers::reclaimed(answer.space_reclaimed)));
        Ok(0)
    }
}
