//! `wait`.

use anyhow::Result;
use clap::Args;
use gantry_docker_api::container::ContainerWaitResponse;

use super::path;
use crate::client::Call;
use crate::command::{Verb, collect};
use crate::output;
use crate::session::Session;

/// Block until one or more containers stop, then print their exit codes
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Wait {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        let mut errors = Vec::new();
        for container in &self.containers {
            let answer: Result<ContainerWaitResponse> =
                client.json(Call::post(path(container, "/wait"))).await;
            match answer {
                Ok(answer) => match answer.error.filter(|error| !error.message.is_empty()) {
                    Some(error) => errors.push(anyhow::anyhow!(error.message)),
                    None => output::line(answer.status_code.to_string()),
                },
                Err(error) => errors.push(error),
            }
        }
        collect(errors)
    }
}
