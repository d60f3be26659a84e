//! All that is known of a container.

use gantry_docker_api::container::{
    ContainerInspect, ContainerState, GraphDriver, Health, HealthLog, NetworkSettings,
};
use gantry_docker_api::image::OciDescriptor;
use gantry_docker_api::network::EndpointSettings;
use gantry_docker_api::{ApiVersion, List, Map};
use gantry_engine::{Health as EngineHealth, Record, Settings, Sizes, State, Status};

use super::network::BRIDGE;
use super::{DRIVER, config, image_id, mounts, network, time};

const V1_48: ApiVersion = ApiVersion::new(1, 48);
const V1_52: ApiVersion = ApiVersion::new(1, 52);

/// What is known beside the record.
pub(crate) struct Beside<'a> {
    /// The engine's settings.
    pub(crate) settings: &'a Settings,
    /// What tells the engine from others.
    pub(crate) engine: &'a str,
    /// What confines it; empty where AppArmor is off.
    pub(crate) app_armor_profile: String,
    /// The execs that run.
    pub(crate) execs: Vec<String>,
    /// What it takes of the disk, where that was asked for.
    pub(crate) sizes: Option<Sizes>,
    /// The manifest of its image.
    pub(crate) manifest: Option<OciDescriptor>,
}

/// All that is known of a container, for a client of `version`.
pub(crate) fn inspect(record: &Record, beside: Beside<'_>, version: ApiVersion) -> ContainerInspect {
    let asked = config::origin(record);
    let args = record.args();
    let (path, args) = match args.split_first() {
        Some((path, args)) => (path.clone(), args.to_vec()),
        None => Default::default(),
    };
    let host = config::host_config(record, asked.host_config.clone(), beside.settings);
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    // The files are made by the first start, whether it succeeds or not.
    let was_tried = record.state.started.is_some() || !record.state.error.is_empty();
    let mut told = ContainerInspect {
        id: record.id.clone(),
        created: time(Some(record.created)),
        path,
        args: args.into(),
        state: Some(state(&record.state)),
        image: image_id(record),
        log_path: if was_tried { log_path(record, &host.log_config.kind) } else { String::new() },
        name: format!("/{}", record.name),
        restart_count: record.restart_count.into(),
        driver: DRIVER.to_owned(),
        platform: "linux".to_owned(),
        app_armor_profile: beside.app_armor_profile,
        exec_ids: if beside.execs.is_empty() { List::default() } else { beside.execs.into() },
        size_rw: beside.sizes.map(|sizes| size(sizes.rw)),
        size_root_fs: beside.sizes.map(|sizes| size(sizes.root_fs)),
        image_manifest_descriptor: beside.manifest.filter(|_| version >= V1_48),
        mounts: mounts::mounts(record, &host).into(),
        network_settings: Some(network_settings(network::settings(record, &asked, beside.engine), version)),
        ..ContainerInspect::default()
    };
    told.config = Some(config::config(record, asked.config));
    told.host_config = Some(host);
    if version < V1_52 {
        told.graph_driver = Some(GraphDriver { data: Map::default(), name: DRIVER.to_owned() });
    } else {
        told.storage = Some(serde_json::json!({"RootFS": {"Snapshot": {"Name": DRIVER}}}));
    }
    if was_tried && !record.options.origin.is_empty() {
        let directory = beside.settings.root.join("containers/moby").join(&record.id);
        let file = |name: &str| directory.join(name).display().to_string();
        (told.resolv_conf_path, told.hostname_path, told.hosts_path) =
            (file("resolv.conf"), file("hostname"), file("hosts"));
    }
    told
}

/// Only json-file's, as with docker: no tool can read others.
fn log_path(record: &Record, driver: &str) -> String {
    let path = record.log_path.as_ref().filter(|_| driver == "json-file");
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

fn network_settings(mut settings: NetworkSettings, version: ApiVersion) -> NetworkSettings {
    if version < V1_52 {
        let default: Option<EndpointSettings> = settings.networks.get(BRIDGE).cloned();
        settings.fill_deprecated(default.as_ref());
    }
    settings
}

fn state(state: &State) -> ContainerState {
    let status = state.status;
    ContainerState {
        status: status.as_str().to_owned(),
        // Docker takes one that waits for its restart for one that runs.
        running: status.is_alive() || status == Status::Restarting,
        paused: status == Status::Paused,
        restarting: status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: status == Status::Dead,
        pid: state.pid.into(),
        exit_code: state.exit_code.into(),
        error: state.error.clone(),
        started_at: time(state.started),
        finished_at: time(state.finished.filter(|_| state.started.is_some())),
        health: state.health.as_ref().map(health),
        gantry_cause: state.cause.clone(),
    }
}

fn health(health: &EngineHealth) -> Health {
    let probe = |probe: &gantry_engine::Probe| HealthLog {
        start: time(Some(probe.start)),
        end: time(Some(probe.end)),
        exit_code: probe.exit_code.into(),
        output: probe.output.clone(),
    };
    Health {
        status: health.status.as_str().to_owned(),
        failing_streak: health.failing_streak.into(),
        log: health.log.iter().map(probe).collect(),
    }
}
