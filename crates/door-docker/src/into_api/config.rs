//! What a container is made of: the request, with what the image and the engine's settings gave to it.

use gantry_docker_api::container::{
    ContainerConfig, ContainerCreateRequest, HealthConfig, HostConfig, RestartPolicy as ApiPolicy,
};
use gantry_docker_api::{List, Map, Nothing, Words};
use gantry_engine::{HealthCheck, Record, RestartPolicy, Settings};

/// What containers cannot read by default, as docker writes it.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// What they cannot write to by default.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The request that a container was made by; of one of another door, what is known of it.
pub(super) fn origin(record: &Record) -> ContainerCreateRequest {
    let read = serde_json::from_str::<ContainerCreateRequest>(&record.options.origin);
    read.unwrap_or_else(|_| ContainerCreateRequest {
        config: ContainerConfig { tty: record.options.process.tty, ..ContainerConfig::default() },
        host_config: Some(HostConfig {
            network_mode: record.options.network.mode.clone(),
            ..HostConfig::default()
        }),
        networking_config: None,
    })
}

/// The configuration, with what the image says.
pub(super) fn config(record: &Record, asked: ContainerConfig) -> ContainerConfig {
    let words = |words: &[String]| if words.is_empty() { Words::default() } else { words.to_vec().into() };
    let set = |keys: &mut dyn Iterator<Item = &String>| {
        let map: Map<Nothing> = keys.map(|key| (key.clone(), Nothing::default())).collect();
        if map.is_empty() { Map::default() } else { map }
    };
    let process = &record.process;
    let volumes: Vec<&String> = asked.volumes.keys().chain(&process.volumes).collect();
    let stop_signal = if asked.stop_signal.is_empty() { &process.stop_signal } else { &asked.stop_signal };
    ContainerConfig {
        hostname: process.hostname.clone(),
        user: process.user.clone(),
        env: process.env.clone().into(),
        cmd: words(&process.cmd),
        entrypoint: words(&process.entrypoint),
        image: record.image.reference.clone(),
        volumes: set(&mut volumes.into_iter()),
        exposed_ports: set(&mut process.exposed.iter()),
        working_dir: process.working_dir.clone(),
        labels: record.labels.clone().into(),
        stop_signal: stop_signal.clone(),
        healthcheck: asked.healthcheck.or_else(|| process.health.as_ref().map(health)),
        ..asked
    }
}

fn health(check: &HealthCheck) -> HealthConfig {
    let nanoseconds = |time: std::time::Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    HealthConfig {
        test: check.test.clone().into(),
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        start_period: nanoseconds(check.start_period),
        start_interval: nanoseconds(check.start_interval),
        retries: check.retries.into(),
    }
}

/// The host configuration, with the defaults that it was given.
pub(super) fn host_config(record: &Record, asked: Option<HostConfig>, settings: &Settings) -> HostConfig {
    let mut host = asked.unwrap_or_default();
    let or = |text: &mut String, default: &str| {
        if text.is_empty() {
            default.clone_into(text);
        }
    };
    let is_ours = !record.options.origin.is_empty();
    if !is_ours {
        or(&mut host.network_mode, "default");
        return host;
    }
    let log = &record.options.log;
    if !log.driver.is_empty() {
        host.log_config.kind.clone_from(&log.driver);
        host.log_config.config = log.options.clone().into();
    }
    // Those of older daemons have the defaults of the moment.
    let log = &settings.log;
    if host.log_config.kind.is_empty() {
        host.log_config.kind =
            if log.driver.is_empty() { "json-file".to_owned() } else { log.driver.clone() };
        if host.log_config.config.is_empty() {
            host.log_config.config = log.options.clone().into();
        }
    }
    if host.log_config.config.is_null() {
        host.log_config.config = Map::empty();
    }
    host.restart_policy = policy(record.options.restart);
    host.auto_remove = record.options.auto_remove;
    or(&mut host.ipc_mode, if settings.ipc_mode.is_empty() { "private" } else { &settings.ipc_mode });
    let is_unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let cgroupns = match settings.cgroupns_mode.as_str() {
        "" if is_unified && !host.privileged => "private",
        "" => "host",
        mode => mode,
    };
    or(&mut host.cgroupns_mode, cgroupns);
    or(&mut host.runtime, &settings.runtime);
    if host.shm_size == 0 {
        host.shm_size = i64::try_from(settings.shm_size).unwrap_or(i64::MAX);
    }
    let resources = &mut host.resources;
    if resources.memory > 0 && resources.memory_swap == 0 {
        resources.memory_swap = resources.memory.saturating_mul(2);
    }
    if resources.oom_kill_disable.is_none() && !is_unified {
        resources.oom_kill_disable = Some(false);
    }
    let list = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect::<List<String>>();
    if host.masked_paths.is_null() && !host.privileged {
        host.masked_paths = list(&MASKED);
    }
    if host.readonly_paths.is_null() && !host.privileged {
        host.readonly_paths = list(&READ_ONLY);
    }
    host
}

/// A policy in docker's words.
pub(super) fn policy(policy: RestartPolicy) -> ApiPolicy {
    let (name, count) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure(count) => ("on-failure", count),
    };
    ApiPolicy { name: name.to_owned(), maximum_retry_count: count.into() }
}
