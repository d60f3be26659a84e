//! Verbs on volumes.

use anyhow::{Result, bail};
use clap::Args;
use gantry_docker_api::Filters;
use gantry_docker_api::volume::{Volume, VolumeCreateRequest, VolumeList, VolumePruneResponse};
use http::StatusCode;

use crate::client::{ApiError, Call, segment};
use crate::command::{Verb, chain, collect};
use crate::container::inspect::{self, Kind};
use crate::container::list::filters;
use crate::container::options::{labels, pairs};
use crate::container::prune::{confirm, reclaimed, with_filters};
use crate::format::words::size_fine;
use crate::format::{Listing, Row};
use crate::output;
use crate::session::Session;

/// Create a volume
#[derive(Debug, Args)]
pub(crate) struct CreateVolume {
    /// Specify volume driver name
    #[arg(short, long, value_name = "STRING", default_value = "local")]
    driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "LIST")]
    label: Vec<String>,
    /// Specify volume name
    #[arg(long, value_name = "STRING", hide = true)]
    name: Option<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "MAP")]
    opt: Vec<String>,
    /// Its name
    volume: Option<String>,
}

impl Verb for CreateVolume {
    async fn run(self, session: &Session) -> Result<u8> {
        if self.name.is_some() && self.volume.is_some() {
            bail!("conflicting options: either specify --name or provide positional arg, not both");
        }
        let request = VolumeCreateRequest {
            name: self.volume.or(self.name).unwrap_or_default(),
            driver: self.driver,
            driver_opts: pairs(&self.opt).into_iter().collect(),
            labels: labels(&[], &self.label)?.into_iter().collect(),
            cluster_volume_spec: None,
        };
        let volume: Volume = session.client()?.json(Call::post("/volumes/create").json(&request)).await?;
        output::line(volume.name);
        Ok(0)
    }
}

/// List volumes
#[derive(Debug, Args)]
pub(crate) struct ListVolumes {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json', 'TEMPLATE'
    #[arg(long, value_name = "STRING")]
    format: Option<String>,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

/// The words above the columns.
pub(crate) const HEADER: &[(&str, &str)] = &[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Availability", "AVAILABILITY"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
];

impl Verb for ListVolumes {
    async fn run(self, session: &Session) -> Result<u8> {
        let call = with_filters(Call::get("/volumes"), &filters(&self.filter)?);
        let mut list: VolumeList = session.client()?.json(call).await?;
        list.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        let rows: Vec<Row> = list.volumes.iter().map(row).collect();
        let own = session.config()?.format("volumesFormat").filter(|_| !self.quiet);
        let quiet = if self.quiet { Some("{{.Name}}") } else { own };
        let listing = Listing {
            format: self.format.as_deref().or(quiet),
            default: "{{.Driver}}\t{{.Name}}",
            header: HEADER,
        };
        output::print(&listing.render(&rows)?);
        Ok(0)
    }
}

/// A volume's row.
pub(crate) fn row(volume: &Volume) -> Row {
    let usage = volume.usage_data.as_ref();
    let row = Row::new()
        .with("Name", volume.name.as_str())
        .with("Driver", volume.driver.as_str())
        .with("Scope", volume.scope.as_str())
        .with("Mountpoint", volume.mountpoint.as_str())
        .with("Links", usage.map_or_else(|| "N/A".to_owned(), |usage| usage.ref_count.to_string()))
        .with("Size", usage.map_or_else(|| "N/A".to_owned(), |usage| size_fine(usage.size)))
        .with("Availability", "N/A")
        .with("Group", "N/A")
        .with("Status", "N/A");
    row.with_labels(volume.labels.iter())
}

/// Display detailed information on one or more volumes
#[derive(Debug, Args)]
pub(crate) struct InspectVolume {
    /// Format output using a custom template: 'json', 'TEMPLATE'
    #[arg(short, long, value_name = "STRING")]
    format: Option<String>,
    /// Volumes
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

impl Verb for InspectVolume {
    async fn run(self, session: &Session) -> Result<u8> {
        inspect::print(
            session,
            &self.names,
            &[Kind::Volume],
            self.format.as_deref(),
            &inspect::Asked::default(),
        )
        .await
    }
}

/// Remove one or more volumes. You cannot remove a volume that is in use by a container.
#[derive(Debug, Args)]
pub(crate) struct RemoveVolume {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    force: bool,
    /// Volumes
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

impl Verb for RemoveVolume {
    async fn run(self, session: &Session) -> Result<u8> {
        let mut errors = Vec::new();
        for name in &self.names {
            let call = Call::delete(format!("/volumes/{}", segment(name))).query_flag("force", self.force);
            match session.client()?.unit(call).await {
                Ok(()) => output::line(name),
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

/// Remove unused local volumes
#[derive(Debug, Args)]
pub(crate) struct PruneVolumes {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<label>")
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Verb for PruneVolumes {
    async fn run(self, session: &Session) -> Result<u8> {
        let mut filters = filters(&self.filter)?;
        if self.all {
            filters.add("all", "true");
        }
        if !self.force {
            confirm(if self.all {
                "WARNING! This will remove all local volumes not used by at least one container."
            } else {
                "WARNING! This will remove anonymous local volumes not used by at least one container."
            })?;
        }
        let (text, bytes) = prune(session, &filters).await?;
        output::print(&text);
        output::line(format!("Total reclaimed space: {}", reclaimed(bytes)));
        Ok(0)
    }
}

/// What was removed, and how much it was.
pub(crate) async fn prune(session: &Session, filters: &Filters) -> Result<(String, u64)> {
    let answer: VolumePruneResponse =
        session.client()?.json(with_filters(Call::post("/volumes/prune"), filters)).await?;
    let mut text = String::new();
    if !answer.volumes_deleted.is_empty() {
        text = format!("Deleted Volumes:\n{}\n\n", answer.volumes_deleted.join("\n"));
    }
    Ok((text, answer.space_reclaimed))
}

/// Update a volume (cluster volumes only)
#[derive(Debug, Args)]
pub(crate) struct UpdateVolume {
    /// Cluster Volume availability ("active", "pause", "drain")
    #[arg(long, value_name = "STRING")]
    availability: Option<String>,
    /// Volume
    volume: String,
}

impl Verb for UpdateVolume {
    async fn run(self, _: &Session) -> Result<u8> {
        let _ = self.availability;
        bail!("volume {:?}: only volumes of a swarm can be updated, and there is no swarm", self.volume)
    }
}
