//! `top`.

use anyhow::Result;
use clap::Args;
use gantry_docker_api::container::ContainerTopResponse;

use super::path;
use crate::client::Call;
use crate::command::Verb;
use crate::format::table;
use crate::output;
use crate::session::Session;

/// Display the running processes of a container
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Container, and options of ps
    #[arg(required = true, trailing_var_arg = true, value_name = "CONTAINER")]
    words: Vec<String>,
}

impl Verb for Top {
    async fn run(self, session: &Session) -> Result<u8> {
        let (container, options) = self.words.split_first().expect("the container is required");
        let call = Call::get(path(container, "/top"))
            .query_some("ps_args", (!options.is_empty()).then(|| options.join(" ")));
        let answer: ContainerTopResponse = session.client()?.json(call).await?;
        let mut text = answer.titles.join("\t") + "\n";
        for process in &answer.processes {
            text += &(process.join("\t") + "\n");
        }
        output::print(&table::align_with(&text, 20, 3));
        Ok(0)
    }
}
