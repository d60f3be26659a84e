//! A new container.

use std::time::Duration;

use gantry_docker_api::ApiVersion;
use gantry_docker_api::container::{
    ContainerConfig, ContainerCreateRequest, HealthConfig, HostConfig, RestartPolicy as ApiPolicy,
};
use gantry_engine::{HealthCheck, Isolation, LogOptions, Options, Process, RestartPolicy};

use super::{gates, limits, mounts, network};
use crate::failure::Failure;

/// The shortest time of a health check.
const MIN_HEALTH_TIME: i64 = 1_000_000;
/// How long is waited for a container that is to have any time to end.
pub(crate) const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A container that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// Its image, by a name or a digest.
    pub(crate) image: String,
    /// The rest.
    pub(crate) options: Options,
    /// What is asked for in vain.
    pub(crate) warnings: Vec<String>,
}

/// A request, in the engine's words. The request as it is understood is kept in the options, for answers.
///
/// # Errors
/// 400 for what contradicts itself or docker's rules, 501 for what is not done here.
pub(crate) fn container(mut request: ContainerCreateRequest, version: ApiVersion) -> Result<Asked, Failure> {
    if request == ContainerCreateRequest::default() {
        return Err(Failure::invalid("config cannot be empty in order to create a container"));
    }
    // Also a client that says nothing of it has a version.
    request.host_config.get_or_insert_default();
    gates::apply(&mut request, version)?;
    let host = request.host_config.get_or_insert_default();
    if network::is_default(&host.network_mode) {
        "bridge".clone_into(&mut host.network_mode);
    }
    host.resources.pids_limit = host.resources.pids_limit.filter(|limit| *limit > 0);
    clean(&mut request.config.working_dir);
    let host = request.host_config.clone().unwrap_or_default();
    check_config(&request.config)?;
    check_host(&host)?;
    limits::check(&host.resources)?;
    let (network, mut warnings) = network::network(&request, &host, version)?;
    warnings.extend(vain(&host));
    let config = &request.config;
    let options = Options {
        process: process(config, &host),
        isolation: isolation(config, &host)?,
        resources: limits::limits(&host.resources)?,
        mounts: mounts::mounts(config, &host, version)?,
        volumes_from: host.volumes_from.to_vec(),
        network,
        log: LogOptions {
            driver: host.log_config.kind.clone(),
            options: host.log_config.config.clone().into_map(),
        },
        restart: restart_policy(&host.restart_policy)?,
        auto_remove: host.auto_remove,
        labels: config.labels.clone().into_map(),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout.map(timeout),
        health: config.healthcheck.as_ref().map(health).transpose()?,
        runtime: host.runtime.clone(),
        annotations: host.annotations.clone().into_map(),
        origin: serde_json::to_string(&request).expect("the API's types are JSON"),
    };
    Ok(Asked { image: request.config.image.clone(), options, warnings })
}

/// Seconds that a container has to end; below zero for any time.
pub(crate) fn timeout(seconds: i64) -> Duration {
    u64::try_from(seconds).map_or(FOREVER, |seconds| Duration::from_secs(seconds).min(FOREVER))
}

fn check_config(config: &ContainerConfig) -> Result<(), Failure> {
    if let Some(entry) = config.env.iter().find(|entry| entry.is_empty() || entry.starts_with('=')) {
        return Err(Failure::invalid(format!("invalid environment variable: {entry}")));
    }
    let directory = &config.working_dir;
    if !directory.is_empty() && !directory.starts_with('/') {
        return Err(Failure::invalid(format!(
            "the working directory '{directory}' is invalid, it needs to be an absolute path"
        )));
    }
    Ok(())
}

/// Takes `.`, `..` and doubled slashes out of an absolute path.
fn clean(path: &mut String) {
    if !path.starts_with('/') {
        return;
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    *path = format!("/{}", parts.join("/"));
}

fn check_capabilities(field: &str, names: &[String]) -> Result<(), Failure> {
    for name in names {
        let upper = name.to_ascii_uppercase();
        let whole = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if whole != "CAP_ALL" && !gantry_types::oci::CAPABILITIES.contains(&whole.as_str()) {
            return Err(Failure::invalid(format!("invalid {field}: unknown capability: {whole:?}")));
        }
    }
    Ok(())
}

fn check_host(host: &HostConfig) -> Result<(), Failure> {
    let invalid = |text: String| Err(Failure::invalid(text));
    check_capabilities("CapAdd", &host.cap_add)?;
    check_capabilities("CapDrop", &host.cap_drop)?;
    if host.links.iter().any(String::is_empty) {
        return invalid("empty string specified for links".to_owned());
    }
    if host.shm_size < 0 {
        return invalid("SHM size can not be less than 0".to_owned());
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        let value = host.oom_score_adj;
        return invalid(format!("Invalid value {value}, range for oom score adj is [-1000, 1000]"));
    }
    if host.annotations.contains_key("") {
        return invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key".to_owned(),
        );
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        let isolation = &host.isolation;
        return invalid(format!("invalid isolation ({isolation}): linux only supports 'default'"));
    }
    if !host.storage_opt.is_empty() {
        return invalid("storage options are not supported: a container's root has no quota".to_owned());
    }
    Ok(())
}

/// What is asked for and means nothing on Linux.
fn vain(host: &HostConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if host.resources.cpu_percent > 0 {
        warnings.push("linux does not support CPU percent. Percent discarded.".to_owned());
    }
    if host.resources.oom_kill_disable == Some(true) && host.resources.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
                .to_owned(),
        );
    }
    warnings
}

fn process(config: &ContainerConfig, host: &HostConfig) -> Process {
    let words = |words: &gantry_docker_api::Words| (!words.is_null()).then(|| words.to_vec());
    let size = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    let [rows, columns] = host.console_size;
    Process {
        entrypoint: words(&config.entrypoint),
        cmd: words(&config.cmd),
        env: config.env.to_vec(),
        working_dir: config.working_dir.clone(),
        user: config.user.clone(),
        groups: host.group_add.to_vec(),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        console_size: (size(columns), size(rows)),
        shell: config.shell.to_vec(),
        init: host.init,
    }
}

fn isolation(config: &ContainerConfig, host: &HostConfig) -> Result<Isolation, Failure> {
    let list = |list: &gantry_docker_api::List<String>| (!list.is_null()).then(|| list.to_vec());
    Ok(Isolation {
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        privileged: host.privileged,
        read_only: host.readonly_rootfs,
        cap_add: host.cap_add.to_vec(),
        cap_drop: host.cap_drop.to_vec(),
        security_opt: host.security_opt.iter().map(|option| security(option)).collect::<Result<_, _>>()?,
        ipc_mode: host.ipc_mode.clone(),
        pid_mode: host.pid_mode.clone(),
        uts_mode: host.uts_mode.clone(),
        cgroupns_mode: host.cgroupns_mode.clone(),
        userns_mode: host.userns_mode.clone(),
        sysctls: host.sysctls.clone().into_map(),
        masked_paths: list(&host.masked_paths),
        readonly_paths: list(&host.readonly_paths),
        oom_score_adj: i32::try_from(host.oom_score_adj).unwrap_or(0),
        shm_size: u64::try_from(host.shm_size).unwrap_or(0),
    })
}

/// A security option: a word, or one with a value behind `=` or, as docker had it once, `:`.
fn security(option: &str) -> Result<String, Failure> {
    let number = if option.contains(['=', ':']) { 2 } else { 1 };
    let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    let is_known = match key {
        "no-new-privileges" => matches!(value, "" | "true" | "false"),
        "label" | "apparmor" | "seccomp" => !value.is_empty(),
        "systempaths" => value == "unconfined",
        "writable-cgroups" => matches!(value, "" | "true" | "false"),
        _ => false,
    };
    if !is_known {
        return Err(Failure::invalid(format!("invalid --security-opt {number}: {option:?}")));
    }
    Ok(if value.is_empty() { key.to_owned() } else { format!("{key}={value}") })
}

/// A policy by its name.
///
/// # Errors
/// 400 for another name, and for a number of tries where none is counted.
pub(crate) fn restart_policy(policy: &ApiPolicy) -> Result<RestartPolicy, Failure> {
    let count = policy.maximum_retry_count;
    let invalid = |text: String| Err(Failure::invalid(format!("invalid restart policy: {text}")));
    let made = match policy.name.as_str() {
        "" | "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => match u32::try_from(count) {
            Ok(count) => return Ok(RestartPolicy::OnFailure(count)),
            Err(_) if count < 0 => return invalid("maximum retry count cannot be negative".to_owned()),
            Err(_) => return invalid(format!("maximum retry count {count} is too large")),
        },
        name => {
            return invalid(format!(
                "unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ));
        }
    };
    match count {
        0 => Ok(made),
        1.. => invalid("maximum retry count can only be used with 'on-failure'".to_owned()),
        _ => invalid(
            "maximum retry count can only be used with 'on-failure' and cannot be negative".to_owned(),
        ),
    }
}

fn health(check: &HealthConfig) -> Result<HealthCheck, Failure> {
    let time = |name: &str, nanoseconds: i64| match nanoseconds {
        0 => Ok(Duration::ZERO),
        ..MIN_HEALTH_TIME => Err(Failure::invalid(format!("{name} in Healthcheck cannot be less than 1ms"))),
        time => Ok(Duration::from_nanos(time.unsigned_abs())),
    };
    let retries = u32::try_from(check.retries)
        .map_err(|_| Failure::invalid("Retries in Healthcheck cannot be negative"))?;
    Ok(HealthCheck {
        test: check.test.to_vec(),
        interval: time("Interval", check.interval)?,
        timeout: time("Timeout", check.timeout)?,
        start_period: time("StartPeriod", check.start_period)?,
        start_interval: time("StartInterval", check.start_interval)?,
        retries,
    })
}

#[cfg(test)]
mod tests;
