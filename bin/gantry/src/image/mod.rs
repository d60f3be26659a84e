//! Verbs on images.

pub(crate) mod archive;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod name;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod search;
pub(crate) mod tag;

use anyhow::Result;
use clap::Args;

use crate::command::Verb;
use crate::container::inspect::{self, Asked, Kind};
use crate::session::Session;

/// Display detailed information on one or more images
#[derive(Debug, Args)]
pub(crate) struct InspectImage {
    /// Format output using a custom template: 'json', 'TEMPLATE'
    #[arg(short, long, value_name = "STRING")]
    format: Option<String>,
    /// Inspect a specific platform of the multi-platform image
    #[arg(long, value_name = "STRING")]
    platform: Option<String>,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

impl Verb for InspectImage {
    async fn run(self, session: &Session) -> Result<u8> {
        let platform = self.platform.as_deref().map(push::platform).transpose()?;
        let asked = Asked { platform: platform.map(|platform| platform.to_string()), ..Asked::default() };
        inspect::print(session, &self.names, &[Kind::Image], self.format.as_deref(), &asked).await
    }
}
