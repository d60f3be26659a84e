//! `ps`.

use anyhow::Result;
use clap::Args;
use gantry_docker_api::Filters;
use gantry_docker_api::container::{ContainerSummary, PortSummary};
use gantry_types::Reference;

use crate::client::Call;
use crate::command::{Failure, Verb};
use crate::format::words::{ago, ellipsis, local_time, quoted, short_id, size};
use crate::format::{Listing, Row};
use crate::output;
use crate::session::Session;

/// List containers
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json', 'TEMPLATE'
    #[arg(long, value_name = "STRING")]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "INT", default_value_t = -1, allow_negative_numbers = true)]
    last: i64,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

/// The words above the columns.
pub(crate) const HEADER: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

const TABLE: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

/// Whether long texts are shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Short,
    Full,
}

/// Reads `--filter`.
pub(crate) fn filters(list: &[String]) -> Result<Filters> {
    let mut filters = Filters::default();
    for argument in list {
        if filters.add_argument(argument).is_err() {
            let reason = "bad format of filter (expected name=value)";
            let message = format!("invalid argument {argument:?} for \"-f, --filter\" flag: {reason}");
            return Err(Failure::with(125, message));
        }
    }
    Ok(filters)
}

impl Verb for List {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        let own = session.config()?.format("psFormat");
        let format = self.format.as_deref().or(own.filter(|_| !self.quiet));
        // A template that shows the size needs it counted.
        let has_size = self.size || self.format.as_deref().is_some_and(|format| format.contains(".Size"));
        let limit = if self.latest { 1 } else { self.last };
        let filters = filters(&self.filter)?.to_query();
        let call = Call::get("/containers/json")
            .query_flag("all", self.all)
            .query_some("limit", (limit >= 0).then(|| limit.to_string()))
            .query_flag("size", has_size)
            .query_some("filters", (!filters.is_empty()).then_some(filters));
        let containers: gantry_docker_api::List<ContainerSummary> = client.json(call).await?;
        let length = if self.no_trunc { Length::Full } else { Length::Short };
        let rows: Vec<Row> = containers.iter().map(|container| row(container, length)).collect();
        let table = if self.size { format!("{TABLE}\t{{{{.Size}}}}") } else { TABLE.to_owned() };
        let format = if self.quiet && self.format.is_none() { Some("{{.ID}}") } else { format };
        output::print(&Listing { format, default: &table, header: HEADER }.render(&rows)?);
        Ok(0)
    }
}

/// A container's row.
pub(crate) fn row(container: &ContainerSummary, length: Length) -> Row {
    let is_short = length == Length::Short;
    let command = if is_short { ellipsis(&container.command, 20) } else { container.command.clone() };
    let mounts = container.mounts.iter().map(|mount| {
        let name = if mount.name.is_empty() { &mount.source } else { &mount.name };
        if is_short { ellipsis(name, 15) } else { name.clone() }
    });
    let networks = container.network_settings.iter().flat_map(|settings| settings.networks.keys().cloned());
    let mut sizes = size(container.size_rw);
    if container.size_root_fs > 0 {
        sizes = format!("{sizes} (virtual {})", size(container.size_root_fs));
    }
    let id = if is_short { short_id(&container.id) } else { &container.id };
    let platform =
        container.image_manifest_descriptor.as_ref().and_then(|descriptor| descriptor.platform.as_ref());
    let row = Row::new()
        .with("ID", id)
        .with("Names", names(container, length))
        .with("Image", image(container, length))
        .with("Command", quoted(&command))
        .with("CreatedAt", local_time(container.created))
        .with("RunningFor", ago(container.created))
        .with("Ports", ports(&container.ports))
        .with("State", container.state.as_str())
        .with("Status", container.status.as_str())
        .with("Size", sizes)
        .with("Mounts", mounts.collect::<Vec<_>>().join(","))
        .with(
            "LocalVolumes",
            container.mounts.iter().filter(|mount| mount.driver == "local").count().to_string(),
        )
        .with("Networks", networks.collect::<Vec<_>>().join(","))
        .with("Platform", serde_json::to_value(platform).unwrap_or_default());
    row.with_labels(container.labels.iter())
}

fn names(container: &ContainerSummary, length: Length) -> String {
    let names: Vec<&str> =
        container.names.iter().map(|name| name.strip_prefix('/').unwrap_or(name)).collect();
    // A name with a slash is a link's.
    let own = names.iter().find(|name| !name.contains('/'));
    match (length, own) {
        (Length::Short, Some(own)) => (*own).to_owned(),
        _ => names.join(","),
    }
}

fn image(container: &ContainerSummary, length: Length) -> String {
    if container.image.is_empty() {
        return "<no image>".to_owned();
    }
    if length == Length::Full {
        return container.image.clone();
    }
    let id = short_id(&container.image_id);
    if short_id(&container.image) == id {
        return id.to_owned();
    }
    match Reference::parse_familiar(&container.image) {
        Ok(reference) if reference.digest().is_some() && reference.tag().is_some() => {
            let name = container.image.split('@').next().unwrap_or_default();
            name.to_owned()
        }
        _ => container.image.clone(),
    }
}

/// Ports, with neighbours joined.
pub(crate) fn ports(ports: &[PortSummary]) -> String {
    let mut ports: Vec<&PortSummary> = ports.iter().collect();
    ports.sort_by_key(|port| (port.private_port, port.ip.clone(), port.public_port, port.kind.clone()));
    let mut groups: Vec<(String, String, u16, u16)> = Vec::new();
    let (mut closed, mut mapped) = (Vec::new(), Vec::new());
    for port in ports {
        let number = port.private_port;
        if !port.ip.is_empty() && port.public_port != number {
            let host = join_host(&port.ip, &port.public_port.to_string());
            mapped.push(format!("{host}->{number}/{}", port.kind));
            continue;
        }
        let group = groups.iter_mut().find(|(ip, kind, ..)| *ip == port.ip && *kind == port.kind);
        match group {
            None => groups.push((port.ip.clone(), port.kind.clone(), number, number)),
            Some((.., last)) if Some(number) == last.checked_add(1) => *last = number,
            Some(group) => {
                closed.push(group_text(group));
                (group.2, group.3) = (number, number);
            }
        }
    }
    closed.extend(groups.iter().map(group_text));
    closed.extend(mapped);
    closed.join(", ")
}

fn group_text((ip, kind, first, last): &(String, String, u16, u16)) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let range = if ip.is_empty() { range } else { format!("{}->{range}", join_host(ip, &range)) };
    format!("{range}/{kind}")
}

/// An address and a port, with brackets around what has colons.
pub(crate) fn join_host(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, public_port: u16, private_port: u16) -> PortSummary {
        PortSummary { ip: ip.into(), public_port, private_port, kind: "tcp".into() }
    }

    #[test]
    fn neighbouring_ports_are_joined() {
        for (given, expected) in [
            (vec![port("", 0, 80)], "80/tcp"),
            (vec![port("", 0, 81), port("", 0, 80), port("", 0, 83)], "80-81/tcp, 83/tcp"),
            (
                vec![port("0.0.0.0", 8080, 80), port("::", 8080, 80)],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (vec![port("0.0.0.0", 80, 80), port("0.0.0.0", 81, 81)], "0.0.0.0:80-81->80-81/tcp"),
        ] {
            assert_eq!(ports(&given), expected);
        }
    }

    #[test]
    fn a_row_is_what_docker_shows() {
        let text = include_str!("../../../../crates/docker-api/tests/fixtures/list.28.json");
        let containers: Vec<ContainerSummary> = serde_json::from_str(text).unwrap();
        let row = row(&containers[1], Length::Short);
        let listing = |format| Listing { format: Some(format), default: "", header: HEADER };
        let text = listing(
            "{{.ID}}|{{.Names}}|{{.Command}}|{{.Ports}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}|{{.Size}}|{{.Label \"k\"}}",
        );
        assert_eq!(
            text.render(&[row]).unwrap(),
            "dfae3ebb54e4|c1|\"sleep 1000\"|127.0.0.1:8080->80/tcp|vol1,/tmp|1|bridge|12.3kB (virtual 2.08MB)|v\n"
        );
    }
}
