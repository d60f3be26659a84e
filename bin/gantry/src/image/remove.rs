//! `rmi`.

use anyhow::Result;
use clap::Args;
use gantry_docker_api::List;
use gantry_docker_api::image::ImageDeleteItem;
use http::StatusCode;

use super::push::platform;
use crate::client::{ApiError, Call, segment};
use crate::command::{Verb, chain, collect};
use crate::output;
use crate::session::Session;

/// Remove one or more images
#[derive(Debug, Args)]
pub(crate) struct RemoveImage {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Remove only the given platform variant
    #[arg(long, value_name = "STRING", value_delimiter = ',')]
    platform: Vec<String>,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Verb for RemoveImage {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        let mut errors = Vec::new();
        for image in &self.images {
            let mut call = Call::delete(format!("/images/{}", segment(image)))
                .query_flag("force", self.force)
                .query_flag("noprune", self.no_prune);
            for text in &self.platform {
                call = call.query("platforms", platform(text)?.to_string());
            }
            match client.json::<List<ImageDeleteItem>>(call).await {
                Ok(items) => output::print(&removed(&items)),
                Err(error) if self.force && is_absent(&error) => output::note(chain(&error)),
                Err(error) => errors.push(error),
            }
        }
        collect(errors)
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|error| error.status == StatusCode::NOT_FOUND)
}

/// What went, a line each.
pub(crate) fn removed(items: &[ImageDeleteItem]) -> String {
    let line = |item: &ImageDeleteItem| match item.deleted.as_str() {
        "" => format!("Untagged: {}\n", item.untagged),
        deleted => format!("Deleted: {deleted}\n"),
    };
    items.iter().map(line).collect()
}
