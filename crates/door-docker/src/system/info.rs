//! All about the engine and its machine.

use gantry_docker_api::system::{
    Commit, ContainerdInfo, ContainerdNamespaces, FirewallInfo, IndexInfo, Info, PluginsInfo, RegistryInfo,
    RuntimeInfo, SwarmInfo,
};
use gantry_docker_api::{ApiVersion, List, Map};
use gantry_engine::{Engine, Settings, Status};
use jiff::Timestamp;
use serde_json::Value;

use super::host;
use crate::door::About;
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};
use crate::into_api::DRIVER;

const V1_46: ApiVersion = ApiVersion::new(1, 46);
const V1_49: ApiVersion = ApiVersion::new(1, 49);
const V1_50: ApiVersion = ApiVersion::new(1, 50);
const HUB: &str = "docker.io";
const HUB_ADDRESS: &str = "https://index.docker.io/v1/";
/// Where registries need no TLS, whatever is configured.
const LOOPBACK: [&str; 2] = ["::1/128", "127.0.0.0/8"];
const LOG_DRIVERS: [&str; 4] = ["journald", "json-file", "local", "syslog"];

/// `GET /info`
pub(super) async fn info(call: Call) -> Outcome {
    let engine = &call.door.engine;
    let images = engine.images().await?.len();
    let looked = tokio::task::spawn_blocking(of_machine).await;
    let mut info = looked.map_err(|_| Failure::internal("looking at the machine failed"))?;
    let count = |is_counted: fn(Status) -> bool| {
        let containers = engine.containers();
        let counted = containers.iter().filter(|container| is_counted(container.record().state.status));
        i64::try_from(counted.count()).unwrap_or(i64::MAX)
    };
    info.containers = count(|_| true);
    info.containers_running = count(|status| matches!(status, Status::Running | Status::Restarting));
    info.containers_paused = count(|status| status == Status::Paused);
    info.containers_stopped = info.containers - info.containers_running - info.containers_paused;
    info.images = i64::try_from(images).unwrap_or(i64::MAX);
    of_engine(&mut info, &call.door.about, engine.settings());
    info.security_options = security(engine).into();
    if call.version < V1_50 {
        info.bridge_nf_iptables = Some(host::is_on("net/bridge/bridge-nf-call-iptables"));
        info.bridge_nf_ip6tables = Some(host::is_on("net/bridge/bridge-nf-call-ip6tables"));
    }
    if call.version < V1_46 {
        info.containerd = None;
    }
    if call.version < V1_49
        && let Some(registries) = &mut info.registry_config
    {
        registries.allow_nondistributable_cidrs = Some(List::default());
        registries.allow_nondistributable_hostnames = Some(List::default());
    }
    if call.version >= V1_49 {
        info.firewall_backend =
            Some(FirewallInfo { driver: "nftables".to_owned(), ..FirewallInfo::default() });
    }
    Ok(Answer::json(&info))
}

/// What is known without the engine. Blocks.
fn of_machine() -> Info {
    let limits = host::limits();
    let (operating_system, os_version) = host::distribution();
    let (name, architecture) = host::name_and_architecture();
    let (n_fd, n_goroutines) = host::own_usage();
    let warnings = [
        (limits.memory, "WARNING: No memory limit support"),
        (limits.swap, "WARNING: No swap limit support"),
        (limits.cpu_shares, "WARNING: No cpu shares support"),
        (limits.cpu_cfs, "WARNING: No cpu cfs quota support"),
        (limits.cpu_set, "WARNING: No cpuset support"),
        (limits.pids, "WARNING: No pids limit support"),
    ];
    let warnings: Vec<String> =
        warnings.into_iter().filter(|(is_there, _)| !is_there).map(|(_, text)| text.to_owned()).collect();
    Info {
        memory_limit: limits.memory,
        swap_limit: limits.swap,
        kernel_memory_tcp: limits.kernel_memory_tcp,
        cpu_cfs_period: limits.cpu_cfs,
        cpu_cfs_quota: limits.cpu_cfs,
        cpu_shares: limits.cpu_shares,
        cpu_set: limits.cpu_set,
        pids_limit: limits.pids,
        oom_kill_disable: limits.oom_kill_disable,
        ipv4_forwarding: host::is_on("net/ipv4/ip_forward"),
        n_fd,
        n_goroutines,
        system_time: Timestamp::now().to_string(),
        cgroup_version: if host::is_unified() { "2".to_owned() } else { "1".to_owned() },
        kernel_version: host::kernel_release(),
        operating_system,
        os_version,
        os_type: "linux".to_owned(),
        architecture,
        n_cpu: host::processors(),
        mem_total: host::memory_bytes(),
        http_proxy: host::proxy("HTTP_PROXY"),
        https_proxy: host::proxy("HTTPS_PROXY"),
        no_proxy: std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy")).unwrap_or_default(),
        name,
        warnings: if warnings.is_empty() { List::default() } else { warnings.into() },
        ..Info::default()
    }
}

fn of_engine(info: &mut Info, about: &About, settings: &Settings) {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<List<String>>();
    info.id.clone_from(&about.id);
    DRIVER.clone_into(&mut info.driver);
    info.driver_status = vec![["driver-type".to_owned(), "io.containerd.snapshotter.v1".to_owned()]].into();
    info.plugins = PluginsInfo {
        volume: words(&["local"]),
        network: words(&["bridge", "host", "null"]),
        authorization: List::default(),
        log: words(&LOG_DRIVERS),
    };
    info.debug = about.debug;
    let driver = settings.log.driver.as_str();
    info.logging_driver = if driver.is_empty() { "json-file" } else { driver }.to_owned();
    info.cgroup_driver = if settings.systemd_cgroups { "systemd" } else { "cgroupfs" }.to_owned();
    HUB_ADDRESS.clone_into(&mut info.index_server_address);
    info.registry_config = Some(registries(about));
    info.generic_resources = Value::Null;
    info.docker_root_dir = settings.root.display().to_string();
    info.labels = about.labels.clone().into();
    info.server_version.clone_from(&about.version);
    let runtime = |shim: &String| RuntimeInfo { runtime_type: shim.clone(), ..RuntimeInfo::default() };
    info.runtimes = settings.runtimes.iter().map(|(name, shim)| (name.clone(), runtime(shim))).collect();
    info.default_runtime.clone_from(&settings.runtime);
    info.swarm = SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() };
    info.live_restore_enabled = about.live_restore;
    let init = settings.init.as_ref().and_then(|path| path.file_name());
    info.init_binary =
        init.map_or_else(|| "docker-init".to_owned(), |name| name.to_string_lossy().into_owned());
    let commit = || Commit { id: about.commit.clone(), expected: None };
    (info.containerd_commit, info.runc_commit) = (commit(), commit());
    let directories = settings.cdi_directories.iter().map(|path| path.display().to_string());
    info.cdi_spec_dirs = Some(directories.collect());
    info.containerd = (!about.containerd_address.is_empty()).then(|| ContainerdInfo {
        address: about.containerd_address.clone(),
        namespaces: ContainerdNamespaces {
            containers: "moby".to_owned(),
            plugins: "plugins.moby".to_owned(),
        },
    });
}

fn security(engine: &Engine) -> Vec<String> {
    let settings = engine.settings();
    let mut options = Vec::new();
    if engine.has_apparmor() {
        options.push("name=apparmor".to_owned());
    }
    let profile = if settings.seccomp_profile.is_some() { "custom" } else { "builtin" };
    options.push(format!("name=seccomp,profile={profile}"));
    if settings.userns.is_default() {
        options.push("name=userns".to_owned());
    }
    if host::is_unified() {
        options.push("name=cgroupns".to_owned());
    }
    if settings.no_new_privileges {
        options.push("name=no-new-privileges".to_owned());
    }
    options
}

fn registries(about: &About) -> RegistryInfo {
    let index = |name: &str, mirrors: List<String>, is_official: bool| IndexInfo {
        name: name.to_owned(),
        mirrors,
        secure: is_official,
        official: is_official,
    };
    let mut indexes = Map::empty();
    indexes.insert(HUB.to_owned(), index(HUB, about.mirrors.clone().into(), true));
    let mut ranges: Vec<String> = LOOPBACK.map(str::to_owned).into();
    for insecure in &about.insecure_registries {
        if insecure.contains('/') {
            ranges.push(insecure.clone());
        } else {
            indexes.insert(insecure.clone(), index(insecure, List::empty(), false));
        }
    }
    RegistryInfo {
        insecure_registry_cidrs: ranges.into(),
        index_configs: indexes,
        mirrors: if about.mirrors.is_empty() { List::default() } else { about.mirrors.clone().into() },
        ..RegistryInfo::default()
    }
}
