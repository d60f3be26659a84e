//! `history`.

use anyhow::Result;
use clap::{ArgAction, Args};
use gantry_docker_api::List;
use gantry_docker_api::image::HistoryItem;

use super::push::platform;
use crate::client::{Call, segment};
use crate::command::Verb;
use crate::format::words::{ago, ellipsis, short_id, size};
use crate::format::{Listing, Row};
use crate::output;
use crate::session::Session;

/// Show the history of an image
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json', 'TEMPLATE'
    #[arg(long, value_name = "STRING")]
    format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Show history for the given platform
    #[arg(long, value_name = "STRING")]
    platform: Option<String>,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Image
    image: String,
}

const HEADER: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

impl Verb for History {
    async fn run(self, session: &Session) -> Result<u8> {
        let platform = self.platform.as_deref().map(platform).transpose()?;
        let call = Call::get(format!("/images/{}/history", segment(&self.image)))
            .query_some("platform", platform.map(|platform| platform.to_string()));
        let items: List<HistoryItem> = session.client()?.json(call).await?;
        let rows: Vec<Row> = items.iter().map(|item| self.row(item)).collect();
        let default = if self.human {
            "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
        } else {
            "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
        };
        let format = if self.quiet { Some("{{.ID}}") } else { self.format.as_deref() };
        output::print(&Listing { format, default, header: HEADER }.render(&rows)?);
        Ok(0)
    }
}

impl History {
    fn row(&self, item: &HistoryItem) -> Row {
        let by = item.created_by.replace('\t', " ");
        let created_at = jiff::Timestamp::from_second(item.created).map(|time| {
            time.to_zoned(jiff::tz::TimeZone::system())
                .strftime("%Y-%m-%dT%H:%M:%S%:z")
                .to_string()
                .replace("+00:00", "Z")
        });
        Row::new()
            .with("ID", if self.no_trunc { &item.id } else { short_id(&item.id) })
            .with("CreatedSince", if item.created == 0 { "N/A".to_owned() } else { ago(item.created) })
            .with("CreatedAt", created_at.unwrap_or_default())
            .with("CreatedBy", if self.no_trunc { by } else { ellipsis(&by, 45) })
            .with("Size", if self.human { size(item.size) } else { item.size.to_string() })
            .with("Comment", item.comment.as_str())
    }
}
