//! `context`: there is only `default`, which is what `--host` and `DOCKER_HOST` say.

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;

use crate::command::Verb;
use crate::container::inspect::pretty;
use crate::format::row::unescape;
use crate::format::template::{Mode, Template};
use crate::format::{Listing, Row};
use crate::output;
use crate::session::Session;

const DESCRIPTION: &str = "Current DOCKER_HOST based configuration";

/// List contexts
#[derive(Debug, Args)]
pub(crate) struct ListContexts {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json', 'TEMPLATE'
    #[arg(long, value_name = "STRING")]
    format: Option<String>,
    /// Only show context names
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for ListContexts {
    async fn run(self, session: &Session) -> Result<u8> {
        let endpoint = session.client()?.endpoint().to_string();
        let is_table = self.format.as_deref().is_none_or(|format| format.starts_with("table"));
        let row = Row::new()
            .with("Current", true)
            .with("Name", if is_table && !self.quiet { "default *" } else { "default" })
            .with("Description", DESCRIPTION)
            .with("DockerEndpoint", endpoint)
            .with("Error", "");
        let header = [
            ("Name", "NAME"),
            ("Current", "CURRENT"),
            ("Description", "DESCRIPTION"),
            ("DockerEndpoint", "DOCKER ENDPOINT"),
            ("Error", "ERROR"),
        ];
        let format = if self.quiet { Some("{{.Name}}") } else { self.format.as_deref() };
        let default = "{{.Name}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}";
        output::print(&Listing { format, default, header: &header }.render(&[row])?);
        Ok(0)
    }
}

/// Print the name of the current context
#[derive(Debug, Args)]
pub(crate) struct ShowContext {}

impl Verb for ShowContext {
    async fn run(self, _: &Session) -> Result<u8> {
        output::line("default");
        Ok(0)
    }
}

/// Display detailed information on one or more contexts
#[derive(Debug, Args)]
pub(crate) struct InspectContext {
    /// Format output using a custom template: 'json', 'TEMPLATE'
    #[arg(short, long, value_name = "STRING")]
    format: Option<String>,
    /// Contexts
    names: Vec<String>,
}

impl Verb for InspectContext {
    async fn run(self, session: &Session) -> Result<u8> {
        for name in &self.names {
            ensure!(name == "default", "context {name:?} does not exist: there is only \"default\"");
        }
        let endpoint = session.client()?.endpoint().to_string();
        let value = json!({
            "Name": "default",
            "Metadata": {},
            "Endpoints": {"docker": {"Host": endpoint, "SkipTLSVerify": false}},
            "TLSMaterial": {},
            "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"},
        });
        match self.format.as_deref() {
            None | Some("" | "json") => output::line(pretty(&json!([value]))),
            Some(format) => output::line(Template::parse(&unescape(format))?.render(&value, Mode::Values)?),
        }
        Ok(0)
    }
}

/// Set the current context
#[derive(Debug, Args)]
pub(crate) struct UseContext {
    /// Context
    name: String,
}

impl Verb for UseContext {
    async fn run(self, _: &Session) -> Result<u8> {
        ensure!(self.name == "default", "context {:?} does not exist: there is only \"default\"", self.name);
        output::line("default");
        output::note("Current context is now \"default\"");
        Ok(0)
    }
}
