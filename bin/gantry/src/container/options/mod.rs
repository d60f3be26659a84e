//! The flags of `run` and `create`, and what they make of them.

mod environment;
mod flags;
mod network;
mod security;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use environment::{environment, labels};
pub(crate) use flags::Options;
pub(crate) use values::{nano_cpus, pairs, restart_policy, ulimits};

use anyhow::{Context, Result, bail, ensure};
use gantry_docker_api::container::{
    ContainerConfig, ContainerCreateRequest, DeviceMapping, DeviceRequest, HealthConfig, HostConfig,
    LogConfig, Mount, PortMap, Resources,
};
use gantry_docker_api::{List, Map, Nothing, Words, bind, duration, mount, port, size};

/// The label that Gantry's engine looks at when a container is found unhealthy.
const ON_UNHEALTHY: &str = "gantry.health-on-failure";

/// Whether the command waits for the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attachment {
    Attached,
    Detached,
}

/// What is to be made, without what only the command line does with it.
pub(crate) fn request(
    options: &Options,
    image: &str,
    command: &[String],
    attachment: Attachment,
    proxies: &[(String, String)],
) -> Result<ContainerCreateRequest> {
    let mut ports = Ports::of(options)?;
    let volumes = Volumes::of(options)?;
    let config = config(options, image, command, attachment, proxies, &mut ports, volumes.anonymous)?;
    let networking = network::networking(options)?;
    let mut host = host_config(options, ports.bindings)?;
    host.binds = volumes.binds;
    host.mounts = volumes.mounts;
    host.tmpfs = volumes.tmpfs;
    host.network_mode = networking.mode;
    security::apply(&options.security_opt, &mut host)?;
    if options.tty && attachment == Attachment::Attached {
        host.console_size = crate::terminal::size().unwrap_or_default();
    }
    Ok(ContainerCreateRequest { config, host_config: Some(host), networking_config: Some(networking.config) })
}

fn config(
    options: &Options,
    image: &str,
    command: &[String],
    attachment: Attachment,
    proxies: &[(String, String)],
    ports: &mut Ports,
    volumes: Map<Nothing>,
) -> Result<ContainerConfig> {
    let attach = options.attach.iter().map(|stream| stream.to_ascii_lowercase()).collect::<Vec<_>>();
    if let Some(other) = attach.iter().find(|name| !matches!(name.as_str(), "stdin" | "stdout" | "stderr")) {
        bail!(
            "invalid argument {other:?} for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
        );
    }
    let is_attached = attachment == Attachment::Attached;
    let attaches = |name: &str, otherwise: bool| {
        is_attached && if attach.is_empty() { otherwise } else { attach.iter().any(|stream| stream == name) }
    };
    let attach_stdin = attaches("stdin", options.interactive);
    let entrypoint: Words = match options.entrypoint.as_deref() {
        None => Words::default(),
        // The empty word takes the image's away.
        Some(word) => vec![word.to_owned()].into(),
    };
    let mut env = environment(&options.env_file, &options.env)?;
    for (name, value) in proxies {
        if !env.iter().any(|known| known.split('=').next() == Some(name)) {
            env.push(format!("{name}={value}"));
        }
    }
    Ok(ContainerConfig {
        hostname: options.hostname.clone().unwrap_or_default(),
        domainname: options.domainname.clone().unwrap_or_default(),
        user: options.user.clone().unwrap_or_default(),
        attach_stdin,
        attach_stdout: attaches("stdout", true),
        attach_stderr: attaches("stderr", true),
        exposed_ports: std::mem::take(&mut ports.exposed),
        tty: options.tty,
        open_stdin: options.interactive,
        stdin_once: options.interactive && attach_stdin,
        env: nullable(&env),
        cmd: if command.is_empty() { Words::default() } else { command.to_vec().into() },
        healthcheck: health(options)?,
        image: image.to_owned(),
        volumes,
        working_dir: options.workdir.clone().unwrap_or_default(),
        entrypoint,
        labels: all_labels(options)?.into_iter().collect(),
        stop_signal: options.stop_signal.clone().unwrap_or_default(),
        stop_timeout: options.stop_timeout,
        // Of the whole container for engines that do not know one of an endpoint.
        mac_address: String::new(),
        ..ContainerConfig::default()
    })
}

/// Those that are given, and the one by which Gantry's engine is told what follows on bad health (`docs/gantry.md`).
fn all_labels(options: &Options) -> Result<Vec<(String, String)>> {
    let mut all = labels(&options.label_file, &options.label)?;
    if let Some(action) = &options.health_on_failure {
        all.push((ON_UNHEALTHY.to_owned(), action.clone()));
    }
    Ok(all)
}

fn health(options: &Options) -> Result<Option<HealthConfig>> {
    let times = [
        &options.health_interval,
        &options.health_timeout,
        &options.health_start_period,
        &options.health_start_interval,
    ];
    let is_given = options.health_cmd.is_some()
        || options.health_retries.is_some()
        || times.iter().any(|time| time.is_some());
    if options.no_healthcheck {
        ensure!(!is_given, "--no-healthcheck conflicts with --health-* options");
        return Ok(Some(HealthConfig { test: vec!["NONE".to_owned()].into(), ..HealthConfig::default() }));
    }
    if !is_given {
        return Ok(None);
    }
    let time = |text: &Option<String>| match text {
        Some(text) => {
            let time = duration::parse(text)?;
            ensure!(time >= 0, "a duration of --health-* is negative: {text}");
            Ok(time)
        }
        None => Ok(0),
    };
    let test = options.health_cmd.as_ref().map(|line| vec!["CMD-SHELL".to_owned(), line.clone()]);
    let retries = options.health_retries.unwrap_or(0);
    ensure!(retries >= 0, "--health-retries cannot be negative");
    Ok(Some(HealthConfig {
        test: test.map(Into::into).unwrap_or_default(),
        interval: time(&options.health_interval)?,
        timeout: time(&options.health_timeout)?,
        start_period: time(&options.health_start_period)?,
        start_interval: time(&options.health_start_interval)?,
        retries,
    }))
}

fn host_config(options: &Options, port_bindings: PortMap) -> Result<HostConfig> {
    let words = |list: &[String]| if list.is_empty() { Words::default() } else { list.to_vec().into() };
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let restart_policy = restart_policy(options.restart.as_deref().unwrap_or("no"))?;
    let restarts = !matches!(restart_policy.name.as_str(), "" | "no");
    ensure!(!(options.rm && restarts), "conflicting options: cannot specify both --restart and --rm");
    let driver = text(&options.log_driver);
    ensure!(driver != "none" || options.log_opt.is_empty(), "invalid logging opts for driver none");
    Ok(HostConfig {
        container_id_file: text(&options.cidfile),
        log_config: LogConfig { kind: driver, config: values::pairs(&options.log_opt).into_iter().collect() },
        port_bindings,
        restart_policy,
        auto_remove: options.rm,
        volume_driver: text(&options.volume_driver),
        volumes_from: nullable(&options.volumes_from),
        annotations: values::pairs(&options.annotation).into_iter().collect(),
        cap_add: words(&values::capabilities(&options.cap_add)),
        cap_drop: words(&values::capabilities(&options.cap_drop)),
        cgroupns_mode: text(&options.cgroupns),
        dns: options.dns.clone().into(),
        dns_options: options.dns_option.clone().into(),
        dns_search: options.dns_search.clone().into(),
        extra_hosts: nullable(&values::hosts(&options.add_host)?),
        group_add: nullable(&options.group_add),
        ipc_mode: text(&options.ipc),
        links: nullable(&options.link),
        oom_score_adj: options.oom_score_adj.unwrap_or(0),
        pid_mode: text(&options.pid),
        privileged: options.privileged,
        publish_all_ports: options.publish_all,
        readonly_rootfs: options.read_only,
        storage_opt: values::pairs(&options.storage_opt).into_iter().collect(),
        uts_mode: text(&options.uts),
        userns_mode: text(&options.userns),
        shm_size: options.shm_size.as_deref().map_or(Ok(0), size::parse_binary)?,
        sysctls: values::pairs(&options.sysctl).into_iter().collect(),
        runtime: text(&options.runtime),
        isolation: text(&options.isolation),
        resources: resources(options)?,
        init: options.init.then_some(true),
        ..HostConfig::default()
    })
}

fn nullable(list: &[String]) -> List<String> {
    if list.is_empty() { List::default() } else { list.to_vec().into() }
}

fn resources(options: &Options) -> Result<Resources> {
    let bytes = |text: &Option<String>| text.as_deref().map_or(Ok(0), size::parse_binary);
    let memory_swap = match options.memory_swap.as_deref() {
        Some("-1") => -1,
        Some(text) => size::parse_binary(text)?,
        None => 0,
    };
    let swappiness = options.memory_swappiness.filter(|value| *value != -1);
    ensure!(
        swappiness.is_none_or(|value| (0..=100).contains(&value)),
        "invalid value: {}. Valid memory swappiness range is 0-100",
        swappiness.unwrap_or_default()
    );
    let (devices, cdi) = values::devices(&options.device)?;
    let mut requests = options.gpus.iter().map(|text| values::gpus(text)).collect::<Result<Vec<_>>>()?;
    if !cdi.is_empty() {
        requests.push(DeviceRequest {
            driver: "cdi".into(),
            device_ids: cdi.into(),
            ..DeviceRequest::default()
        });
    }
    let devices: Vec<DeviceMapping> = devices;
    Ok(Resources {
        cpu_shares: options.cpu_shares.unwrap_or(0),
        memory: bytes(&options.memory)?,
        nano_cpus: options.cpus.as_deref().map_or(Ok(0), values::nano_cpus)?,
        cgroup_parent: options.cgroup_parent.clone().unwrap_or_default(),
        blkio_weight: options.blkio_weight.unwrap_or(0),
        blkio_weight_device: values::weights(&options.blkio_weight_device)?.into(),
        blkio_device_read_bps: values::rates(&options.device_read_bps, values::Rate::Bytes)?.into(),
        blkio_device_write_bps: values::rates(&options.device_write_bps, values::Rate::Bytes)?.into(),
        blkio_device_read_iops: values::rates(&options.device_read_iops, values::Rate::Operations)?.into(),
        blkio_device_write_iops: values::rates(&options.device_write_iops, values::Rate::Operations)?.into(),
        cpu_period: options.cpu_period.unwrap_or(0),
        cpu_quota: options.cpu_quota.unwrap_or(0),
        cpu_realtime_period: options.cpu_rt_period.unwrap_or(0),
        cpu_realtime_runtime: options.cpu_rt_runtime.unwrap_or(0),
        cpuset_cpus: options.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: options.cpuset_mems.clone().unwrap_or_default(),
        devices: devices.into(),
        device_cgroup_rules: nullable(&options.device_cgroup_rule),
        device_requests: if requests.is_empty() { List::default() } else { requests.into() },
        kernel_memory: options.kernel_memory.as_deref().map(size::parse_binary).transpose()?,
        memory_reservation: bytes(&options.memory_reservation)?,
        memory_swap,
        memory_swappiness: Some(swappiness.unwrap_or(-1)),
        oom_kill_disable: Some(options.oom_kill_disable),
        pids_limit: Some(options.pids_limit.unwrap_or(0)),
        ulimits: values::ulimits(&options.ulimit)?.into(),
        ..Resources::default()
    })
}

/// Ports that are opened, and where.
struct Ports {
    exposed: Map<Nothing>,
    bindings: PortMap,
}

impl Ports {
    fn of(options: &Options) -> Result<Self> {
        let mut ports = Self { exposed: Map::default(), bindings: PortMap::empty() };
        for text in &options.publish {
            for mapping in port::parse_publish(text)? {
                ports.exposed.insert(mapping.port.to_string(), Nothing {});
                ports.bindings.entry(mapping.port.to_string()).or_default().push(mapping.binding);
            }
        }
        for text in &options.expose {
            for port in port::parse_expose(text)? {
                ports.exposed.insert(port.to_string(), Nothing {});
            }
        }
        Ok(ports)
    }
}

/// Mounts, by where the request has them.
struct Volumes {
    anonymous: Map<Nothing>,
    binds: List<String>,
    mounts: List<Mount>,
    tmpfs: Map<String>,
}

impl Volumes {
    fn of(options: &Options) -> Result<Self> {
        let (mut anonymous, mut binds) = (Map::empty(), Vec::new());
        for text in &options.volume {
            let text = values::absolute_bind(text)?;
            let bind = bind::Bind::parse(&text)?;
            match bind.source {
                bind::BindSource::Anonymous => drop(anonymous.insert(bind.destination, Nothing {})),
                _ => binds.push(text),
            }
        }
        let tmpfs =
            options.tmpfs.iter().map(|text| bind::parse_tmpfs(text)).collect::<Result<Vec<_>, _>>()?;
        let mut mounts = Vec::new();
        for text in &options.mount {
            let mut mount = mount::parse(text).context("invalid argument for \"--mount\" flag")?;
            if mount.kind == "bind" && !mount.source.starts_with('/') {
                mount.source = values::absolute(&mount.source)?;
            }
            mounts.push(mount);
        }
        Ok(Self {
            anonymous,
            binds: if binds.is_empty() { List::default() } else { binds.into() },
            mounts: mounts.into(),
            tmpfs: tmpfs.into_iter().collect(),
        })
    }
}
