//! `search`.

use anyhow::Result;
use clap::Args;
use gantry_docker_api::List;
use gantry_docker_api::image::SearchResult;

use crate::client::Call;
use crate::command::Verb;
use crate::container::list::filters;
use crate::container::prune::with_filters;
use crate::format::words::ellipsis;
use crate::format::{Listing, Row};
use crate::output;
use crate::session::Session;

/// Search Docker Hub for images
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Pretty-print search using a Go template
    #[arg(long, value_name = "STRING")]
    format: Option<String>,
    /// Max number of search results
    #[arg(long, value_name = "INT")]
    limit: Option<u32>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// What to look for
    term: String,
}

const HEADER: &[(&str, &str)] = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];

impl Verb for Search {
    async fn run(self, session: &Session) -> Result<u8> {
        // A term may name the registry to be searched.
        let auth = session.config()?.auth_of_image(&self.term)?;
        let call = Call::get("/images/search")
            .query("term", &self.term)
            .query_some("limit", self.limit.map(|limit| limit.to_string()))
            .registry_auth(&auth);
        let results: List<SearchResult> =
            session.client()?.json(with_filters(call, &filters(&self.filter)?)).await?;
        let flag = |flag: bool| if flag { "[OK]" } else { "" };
        let row = |result: &SearchResult| {
            let description = result.description.replace(['\n', '\r'], " ");
            let description = if self.no_trunc { description } else { ellipsis(&description, 45) };
            Row::new()
                .with("Name", result.name.as_str())
                .with("Description", description)
                .with("StarCount", result.star_count.to_string())
                .with("IsOfficial", flag(result.is_official))
                .with("IsAutomated", flag(result.is_automated))
        };
        let rows: Vec<Row> = results.iter().map(row).collect();
        let default = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
        output::print(&Listing { format: self.format.as_deref(), default, header: HEADER }.render(&rows)?);
        Ok(0)
    }
}
