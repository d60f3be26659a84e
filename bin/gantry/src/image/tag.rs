//! `tag`.

use anyhow::Result;
use clap::Args;

use super::name::repository_and_tag;
use crate::client::{Call, segment};
use crate::command::Verb;
use crate::session::Session;

/// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// The image
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    /// Its further name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

impl Verb for Tag {
    async fn run(self, session: &Session) -> Result<u8> {
        let (repository, tag) = repository_and_tag(&self.target)?;
        let call = Call::post(format!("/images/{}/tag", segment(&self.source)))
            .query("repo", repository)
            .query_some("tag", (!tag.is_empty()).then_some(tag));
        session.client()?.unit(call).await.map(|()| 0)
    }
}
