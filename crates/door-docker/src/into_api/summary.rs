//! A line of the list of containers.

use gantry_docker_api::container::{
    ContainerSummary, HealthSummary, PortSummary, SummaryHostConfig, SummaryNetworks,
};
use gantry_docker_api::image::OciDescriptor;
use gantry_docker_api::{ApiVersion, duration};
use gantry_engine::{Record, Sizes, Status};
use jiff::Timestamp;

use super::network::networks;
use super::{config, image_id, mounts};

const V1_46: ApiVersion = ApiVersion::new(1, 46);
const V1_48: ApiVersion = ApiVersion::new(1, 48);
const V1_52: ApiVersion = ApiVersion::new(1, 52);

/// What is known beside the record.
#[derive(Default)]
pub(crate) struct Beside {
    /// The image's name, or its id where another image has that name now.
    pub(crate) image: String,
    /// The manifest of its image.
    pub(crate) manifest: Option<OciDescriptor>,
    /// What it takes of the disk, where that was asked for.
    pub(crate) sizes: Option<Sizes>,
}

/// A line of the list.
pub(crate) fn summary(
    record: &Record,
    beside: Beside,
    engine: &str,
    version: ApiVersion,
    now: Timestamp,
) -> ContainerSummary {
    let asked = config::origin(record);
    let host = asked.host_config.clone().unwrap_or_default();
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let health = record.state.health.as_ref();
    ContainerSummary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)].into(),
        image: beside.image,
        image_id: image_id(record),
        image_manifest_descriptor: beside.manifest.filter(|_| version >= V1_48),
        command: command(record),
        created: record.created.as_second(),
        ports: ports(record).into(),
        size_rw: beside.sizes.map_or(0, |sizes| size(sizes.rw)),
        size_root_fs: beside.sizes.map_or(0, |sizes| size(sizes.root_fs)),
        labels: record.labels.clone().into(),
        state: record.state.status.as_str().to_owned(),
        status: status(record, now),
        host_config: SummaryHostConfig {
            network_mode: host.network_mode.clone(),
            annotations: if version >= V1_46 { host.annotations.clone() } else { Default::default() },
        },
        health: (version >= V1_52).then(|| HealthSummary {
            failing_streak: health.map_or(0, |health| health.failing_streak.into()),
            status: health.map_or("none", |health| health.status.as_str()).to_owned(),
        }),
        network_settings: Some(SummaryNetworks { networks: networks(record, Some(&asked), engine) }),
        mounts: mounts::mounts(record, &host).into(),
    }
}

fn command(record: &Record) -> String {
    let words = record.args();
    let mut words = words.iter();
    let first = words.next().cloned().unwrap_or_default();
    words.fold(
        first,
        |text, word| if word.contains(' ') { format!("{text} '{word}'") } else { format!("{text} {word}") },
    )
}

/// The ports: those that are published with their places on the host, then those that are only exposed.
fn ports(record: &Record) -> Vec<PortSummary> {
    let Some(endpoint) = record.endpoint.as_ref().filter(|_| record.state.status.is_alive()) else {
        return Vec::new();
    };
    let mut all: Vec<PortSummary> = Vec::new();
    for port in &endpoint.ports {
        all.push(PortSummary {
            ip: port.host_ip.to_string(),
            private_port: port.container_port,
            public_port: port.host_port,
            kind: port.protocol.as_str().to_owned(),
        });
    }
    for text in &record.process.exposed {
        let Ok(port) = text.parse::<gantry_docker_api::port::Port>() else { continue };
        let kind = port.protocol.as_str();
        if !all.iter().any(|other| other.private_port == port.number && other.kind == kind) {
            let kind = kind.to_owned();
            all.push(PortSummary { private_port: port.number, kind, ..PortSummary::default() });
        }
    }
    all
}

/// What a person reads of a container's state.
fn status(record: &Record, now: Timestamp) -> String {
    let state = &record.state;
    let ago = |time: Option<Timestamp>| {
        duration::human(time.map_or(0, |time| now.as_second().saturating_sub(time.as_second())))
    };
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Paused => format!("Up {} (Paused)", ago(state.started)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, ago(state.finished)),
        Status::Running => match &state.health {
            Some(health) if health.status == gantry_engine::HealthStatus::Starting => {
                format!("Up {} (health: starting)", ago(state.started))
            }
            Some(health) => format!("Up {} ({})", ago(state.started), health.status.as_str()),
            None => format!("Up {}", ago(state.started)),
        },
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, ago(state.finished)),
    }
}
