//! Limits: of a new container, and of an update.

use gantry_docker_api::container::{DeviceMapping, DeviceRequest, Resources, ThrottleDevice};
use gantry_engine::Resources as Limits;

use crate::failure::Failure;

/// The least memory that a process can be started in.
const MIN_MEMORY: i64 = 6 << 20;
/// The kernel's range of a period, in microseconds, and the least quota.
const PERIOD: std::ops::RangeInclusive<i64> = 1_000..=1_000_000;
const MIN_QUOTA: i64 = 1_000;
/// The driver of device requests that are names of CDI.
const CDI: &str = "cdi";

/// Refuses limits that contradict each other, whatever the host.
///
/// # Errors
/// 400, in docker's words.
pub(crate) fn check(resources: &Resources) -> Result<(), Failure> {
    let invalid = |text: &str| Err(Failure::invalid(text));
    let memory = resources.memory;
    let (swap, reservation) = (resources.memory_swap, resources.memory_reservation);
    if memory != 0 && memory < MIN_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if memory > 0 && swap > 0 && swap < memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if memory == 0 && swap > 0 {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if let Some(value) = resources.memory_swappiness.filter(|value| !(-1..=100).contains(value)) {
        return Err(Failure::invalid(format!(
            "Invalid value: {value}, valid memory swappiness range is 0-100"
        )));
    }
    if reservation != 0 && reservation < MIN_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if memory > 0 && reservation > 0 && memory < reservation {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if resources.kernel_memory.is_some_and(|bytes| bytes > 0 && bytes < MIN_MEMORY) {
        return invalid("Minimum kernel memory limit allowed is 6MB");
    }
    check_cpu(resources)?;
    if resources.io_maximum_bandwidth != 0 {
        return invalid("invalid option: QoS maximum bandwidth configuration is not supported on linux");
    }
    if resources.io_maximum_iops != 0 {
        return invalid("invalid option: QoS maximum IOPs configuration is not supported on linux");
    }
    Ok(())
}

fn check_cpu(resources: &Resources) -> Result<(), Failure> {
    let invalid = |text: String| Err(Failure::invalid(text));
    if resources.nano_cpus > 0 && resources.cpu_period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set".to_owned());
    }
    if resources.nano_cpus > 0 && resources.cpu_quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set".to_owned());
    }
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if resources.nano_cpus < 0 || resources.nano_cpus > most {
        return invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    if resources.cpu_shares < 0 {
        let shares = resources.cpu_shares;
        return invalid(format!("invalid CPU shares ({shares}): value must be a positive integer"));
    }
    if resources.cpu_period != 0 && !PERIOD.contains(&resources.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".to_owned(),
        );
    }
    if resources.cpu_quota > 0 && resources.cpu_quota < MIN_QUOTA {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)".to_owned());
    }
    if resources.cpu_realtime_period != 0 && resources.cpu_realtime_runtime > resources.cpu_realtime_period {
        return invalid("cpu real-time runtime cannot be higher than cpu real-time period".to_owned());
    }
    Ok(())
}

/// The engine's words for limits.
///
/// # Errors
/// 400 for devices that no driver here gives.
pub(crate) fn limits(resources: &Resources) -> Result<Limits, Failure> {
    let rates =
        |list: &[ThrottleDevice]| list.iter().map(|device| (device.path.clone(), device.rate)).collect();
    let mut cdi_devices = Vec::new();
    for request in &resources.device_requests {
        cdi_devices.extend(cdi(request)?);
    }
    Ok(Limits {
        memory: resources.memory,
        memory_swap: resources.memory_swap,
        memory_reservation: resources.memory_reservation,
        memory_swappiness: resources.memory_swappiness.filter(|value| *value != -1),
        oom_kill_disable: resources.oom_kill_disable.unwrap_or_default(),
        cpu_shares: resources.cpu_shares,
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        nano_cpus: resources.nano_cpus,
        cpu_realtime_period: resources.cpu_realtime_period,
        cpu_realtime_runtime: resources.cpu_realtime_runtime,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        pids_limit: resources.pids_limit,
        blkio_weight: resources.blkio_weight,
        blkio_weight_device: resources
            .blkio_weight_device
            .iter()
            .map(|device| (device.path.clone(), device.weight.into()))
            .collect(),
        blkio_read_bps: rates(&resources.blkio_device_read_bps),
        blkio_write_bps: rates(&resources.blkio_device_write_bps),
        blkio_read_iops: rates(&resources.blkio_device_read_iops),
        blkio_write_iops: rates(&resources.blkio_device_write_iops),
        ulimits: resources.ulimits.iter().map(|limit| (limit.name.clone(), limit.soft, limit.hard)).collect(),
        devices: resources.devices.iter().map(device).collect(),
        device_cgroup_rules: resources.device_cgroup_rules.to_vec(),
        cdi_devices,
        cgroup_parent: resources.cgroup_parent.clone(),
    })
}

fn device(mapping: &DeviceMapping) -> (String, String, String) {
    let inside =
        if mapping.path_in_container.is_empty() { &mapping.path_on_host } else { &mapping.path_in_container };
    let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
    (mapping.path_on_host.clone(), inside.clone(), access.to_owned())
}

/// The names of CDI that are asked for. There is no driver that would know devices by what they can do.
fn cdi(request: &DeviceRequest) -> Result<Vec<String>, Failure> {
    if request.driver == CDI {
        return Ok(request.device_ids.to_vec());
    }
    let capabilities: Vec<String> =
        request.capabilities.iter().map(|all| format!("[{}]", all.join(" "))).collect();
    Err(Failure::invalid(format!(
        "could not select device driver {:?} with capabilities: [{}]",
        request.driver,
        capabilities.join(" ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Resources {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused_in_dockers_words() {
        for (text, words) in [
            (r#"{"Memory":1}"#, "Minimum memory limit allowed is 6MB"),
            (r#"{"Memory":-5}"#, "Minimum memory limit allowed is 6MB"),
            (
                r#"{"Memory":10485760,"MemorySwap":5}"#,
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ),
            (
                r#"{"MemorySwap":10}"#,
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ),
            (r#"{"MemorySwappiness":200}"#, "Invalid value: 200, valid memory swappiness range is 0-100"),
            (r#"{"MemoryReservation":1}"#, "Minimum memory reservation allowed is 6MB"),
            (r#"{"CpuShares":-1}"#, "invalid CPU shares (-1): value must be a positive integer"),
            (
                r#"{"CpuPeriod":10}"#,
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            ),
            (r#"{"CpuQuota":10}"#, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
            (
                r#"{"NanoCpus":1000000000,"CpuQuota":50000}"#,
                "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
            ),
            (
                r#"{"CpuRealtimePeriod":10,"CpuRealtimeRuntime":20}"#,
                "cpu real-time runtime cannot be higher than cpu real-time period",
            ),
            (
                r#"{"IOMaximumIOps":1}"#,
                "invalid option: QoS maximum IOPs configuration is not supported on linux",
            ),
        ] {
            assert_eq!(check(&read(text)).unwrap_err().message, words, "{text}");
        }
        assert!(check(&read(r#"{"NanoCpus":-1}"#)).is_err());
        for text in [
            "{}",
            r#"{"Memory":6291456,"MemorySwap":-1}"#,
            r#"{"CpuQuota":-1}"#,
            r#"{"MemorySwappiness":-1}"#,
        ] {
            assert!(check(&read(text)).is_ok(), "{text}");
        }
    }

    #[test]
    fn every_limit_has_its_place() {
        let text = r#"{"CpuShares":1,"Memory":2,"NanoCpus":3,"CgroupParent":"p","BlkioWeight":4,
            "BlkioWeightDevice":[{"Path":"/a","Weight":5}],"BlkioDeviceReadBps":[{"Path":"/b","Rate":6}],
            "BlkioDeviceWriteBps":[{"Path":"/c","Rate":7}],"BlkioDeviceReadIOps":[{"Path":"/d","Rate":8}],
            "BlkioDeviceWriteIOps":[{"Path":"/e","Rate":9}],"CpuPeriod":10,"CpuQuota":11,"CpuRealtimePeriod":12,
            "CpuRealtimeRuntime":13,"CpusetCpus":"0","CpusetMems":"1","Devices":[{"PathOnHost":"/f"}],
            "DeviceCgroupRules":["a"],"DeviceRequests":[{"Driver":"cdi","DeviceIDs":["v/c=d"]}],"MemoryReservation":14,
            "MemorySwap":15,"MemorySwappiness":16,"OomKillDisable":true,"PidsLimit":17,
            "Ulimits":[{"Name":"nofile","Soft":18,"Hard":19}]}"#;
        let of = |path: &str, rate| vec![(path.to_owned(), rate)];
        let expected = Limits {
            memory: 2,
            memory_swap: 15,
            memory_reservation: 14,
            memory_swappiness: Some(16),
            oom_kill_disable: true,
            cpu_shares: 1,
            cpu_period: 10,
            cpu_quota: 11,
            nano_cpus: 3,
            cpu_realtime_period: 12,
            cpu_realtime_runtime: 13,
            cpuset_cpus: "0".into(),
            cpuset_mems: "1".into(),
            pids_limit: Some(17),
            blkio_weight: 4,
            blkio_weight_device: of("/a", 5),
            blkio_read_bps: of("/b", 6),
            blkio_write_bps: of("/c", 7),
            blkio_read_iops: of("/d", 8),
            blkio_write_iops: of("/e", 9),
            ulimits: vec![("nofile".into(), 18, 19)],
            devices: vec![("/f".into(), "/f".into(), "rwm".into())],
            device_cgroup_rules: vec!["a".into()],
            cdi_devices: vec!["v/c=d".into()],
            cgroup_parent: "p".into(),
        };
        assert_eq!(limits(&read(text)).unwrap(), expected);
    }

    #[test]
    fn devices_by_what_they_can_do_are_refused() {
        let text = r#"{"DeviceRequests":[{"Count":1,"Capabilities":[["gpu"]]}]}"#;
        let words = r#"could not select device driver "" with capabilities: [[gpu]]"#;
        assert_eq!(limits(&read(text)).unwrap_err().message, words);
    }
}
