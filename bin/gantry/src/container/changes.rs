//! `diff`.

use anyhow::Result;
use clap::Args;
use gantry_docker_api::List;
use gantry_docker_api::container::PathChange;

use super::path;
use crate::client::Call;
use crate::command::Verb;
use crate::format::{Listing, Row};
use crate::output;
use crate::session::Session;

/// Inspect changes to files or directories on a container's filesystem
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Container
    container: String,
}

impl Verb for Diff {
    async fn run(self, session: &Session) -> Result<u8> {
        let changes: List<PathChange> =
            session.client()?.json(Call::get(path(&self.container, "/changes"))).await?;
        let row = |change: &PathChange| {
            Row::new().with("Type", change.kind.letter().to_string()).with("Path", change.path.as_str())
        };
        let rows: Vec<Row> = changes.iter().map(row).collect();
        let listing = Listing { format: Some("{{.Type}} {{.Path}}"), default: "", header: &[] };
        output::print(&listing.render(&rows)?);
        Ok(0)
    }
}
