//! `port`.

use anyhow::{Result, bail};
use clap::Args;
use gantry_docker_api::port::Port as PortNumber;

use super::inspect_one;
use super::list::join_host;
use crate::command::Verb;
use crate::output;
use crate::session::Session;

/// List port mappings or a specific mapping for the container
#[derive(Debug, Args)]
pub(crate) struct Port {
    /// Container
    container: String,
    /// A port of it, with its protocol
    port: Option<String>,
}

impl Verb for Port {
    async fn run(self, session: &Session) -> Result<u8> {
        let container = inspect_one(session.client()?, &self.container).await?;
        let ports = container.network_settings.unwrap_or_default().ports;
        let mut lines = Vec::new();
        if let Some(wanted) = &self.port {
            let port: PortNumber = wanted.parse()?;
            let bindings = ports.get(&port.to_string()).filter(|bindings| !bindings.is_empty());
            let Some(bindings) = bindings else {
                bail!("Error: No public port '{wanted}' published for {}", self.container);
            };
            lines.extend(bindings.iter().map(|binding| join_host(&binding.host_ip, &binding.host_port)));
        } else {
            for (port, bindings) in &ports {
                let line = |host: String| format!("{port} -> {host}");
                lines.extend(bindings.iter().map(|it| line(join_host(&it.host_ip, &it.host_port))));
            }
            // By number, as a person counts.
            lines.sort_by_key(|line| line.parse_number());
        }
        lines.iter().for_each(output::line);
        Ok(0)
    }
}

trait ParseNumber {
    fn parse_number(&self) -> u32;
}

impl ParseNumber for String {
    fn parse_number(&self) -> u32 {
        self.split('/').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}
