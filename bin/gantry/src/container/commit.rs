//! `commit`.

use anyhow::Result;
use clap::{ArgAction, Args};
use gantry_docker_api::image::CommitResponse;

use crate::client::Call;
use crate::command::Verb;
use crate::image::name::repository_and_tag;
use crate::output;
use crate::session::Session;

/// Create a new image from a container's changes
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "STRING")]
    author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "LIST")]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "STRING")]
    message: Option<String>,
    /// Pause container during commit
    #[arg(short, long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pause: bool,
    /// Do not pause container during commit
    #[arg(long)]
    no_pause: bool,
    /// Container
    container: String,
    /// Name of the image
    image: Option<String>,
}

impl Verb for Commit {
    async fn run(self, session: &Session) -> Result<u8> {
        let (repository, tag) =
            self.image.as_deref().map_or(Ok((String::new(), String::new())), repository_and_tag)?;
        let mut call = Call::post("/commit")
            .query("container", &self.container)
            .query_some("repo", (!repository.is_empty()).then_some(repository))
            .query_some("tag", (!tag.is_empty()).then_some(tag))
            .query_some("author", self.author.as_deref())
            .query_some("comment", self.message.as_deref())
            .query("pause", if self.pause && !self.no_pause { "1" } else { "0" });
        for change in &self.change {
            call = call.query("changes", change);
        }
        let answer: CommitResponse = session.client()?.json(call).await?;
        output::line(answer.id);
        Ok(0)
    }
}
