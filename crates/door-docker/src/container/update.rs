//! Changing limits and restart policy.

use gantry_docker_api::container::{
    ContainerCreateRequest, ContainerUpdateRequest, ContainerUpdateResponse, Resources,
};
use gantry_docker_api::{ApiVersion, List};
use gantry_engine::UpdateRequest;

use super::find;
use crate::failure::Failure;
use crate::from_api;
use crate::http::{Answer, Call, Outcome};

/// The first version without limits of the kernel's memory.
const V1_42: ApiVersion = ApiVersion::new(1, 42);

/// `POST /containers/{name}/update`
pub(super) async fn update(mut call: Call, name: &str) -> Outcome {
    let mut request: ContainerUpdateRequest = call.json().await?;
    if call.version >= V1_42 {
        request.resources.kernel_memory = None;
    }
    check(&request.resources)?;
    let restart = match request.restart_policy.name.as_str() {
        "" if request.restart_policy.maximum_retry_count == 0 => None,
        _ => Some(from_api::restart_policy(&request.restart_policy)?),
    };
    let container = find(&call, name).await?;
    let record = container.record();
    let origin = changed(&record.options.origin, &request);
    let wanted = UpdateRequest { resources: from_api::limits(&request.resources)?, restart, origin };
    let warnings = call.door.engine.container_update(&container, wanted).await?;
    let warnings = if warnings.is_empty() { List::default() } else { warnings.into() };
    Ok(Answer::json(&ContainerUpdateResponse { warnings }))
}

/// What is not said stays, so that only what is said can be wrong.
fn check(resources: &Resources) -> Result<(), Failure> {
    let alone = Resources { memory_swap: 0, ..resources.clone() };
    from_api::check_limits(if resources.memory == 0 { &alone } else { resources })
}

/// The request that the container was made by, with what is changed.
fn changed(origin: &str, request: &ContainerUpdateRequest) -> Option<String> {
    let mut made: ContainerCreateRequest = serde_json::from_str(origin).ok()?;
    let host = made.host_config.get_or_insert_default();
    merge(&mut host.resources, &request.resources);
    if !request.restart_policy.name.is_empty() {
        host.restart_policy = request.restart_policy.clone();
    }
    Some(serde_json::to_string(&made).expect("the API's types are JSON"))
}

fn merge(own: &mut Resources, asked: &Resources) {
    let number = |own: &mut i64, asked: i64| {
        if asked != 0 {
            *own = asked;
        }
    };
    number(&mut own.cpu_shares, asked.cpu_shares);
    number(&mut own.memory, asked.memory);
    number(&mut own.memory_swap, asked.memory_swap);
    number(&mut own.memory_reservation, asked.memory_reservation);
    number(&mut own.cpu_realtime_period, asked.cpu_realtime_period);
    number(&mut own.cpu_realtime_runtime, asked.cpu_realtime_runtime);
    if asked.nano_cpus != 0 {
        (own.cpu_period, own.cpu_quota) = (0, 0);
    } else if asked.cpu_period != 0 || asked.cpu_quota != 0 {
        own.nano_cpus = 0;
    }
    number(&mut own.nano_cpus, asked.nano_cpus);
    number(&mut own.cpu_period, asked.cpu_period);
    number(&mut own.cpu_quota, asked.cpu_quota);
    for (own, asked) in
        [(&mut own.cpuset_cpus, &asked.cpuset_cpus), (&mut own.cpuset_mems, &asked.cpuset_mems)]
    {
        if !asked.is_empty() {
            own.clone_from(asked);
        }
    }
    if asked.blkio_weight != 0 {
        own.blkio_weight = asked.blkio_weight;
    }
    // No limit is shown as 0.
    own.pids_limit = asked.pids_limit.map(|limit| limit.max(0)).or(own.pids_limit);
    for (own, asked) in [
        (&mut own.blkio_device_read_bps, &asked.blkio_device_read_bps),
        (&mut own.blkio_device_write_bps, &asked.blkio_device_write_bps),
        (&mut own.blkio_device_read_iops, &asked.blkio_device_read_iops),
        (&mut own.blkio_device_write_iops, &asked.blkio_device_write_iops),
    ] {
        if !asked.is_empty() {
            own.clone_from(asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_changed_and_the_rest_stays() {
        let origin = r#"{"Image":"i","HostConfig":{"Memory":8000000,"CpuPeriod":5000,"PidsLimit":5,"NetworkMode":"none"}}"#;
        let request: ContainerUpdateRequest =
            serde_json::from_str(r#"{"NanoCpus":7,"CpusetCpus":"0","RestartPolicy":{"Name":"always"}}"#)
                .unwrap();
        let made: ContainerCreateRequest = serde_json::from_str(&changed(origin, &request).unwrap()).unwrap();
        let host = made.host_config.unwrap();
        let resources = &host.resources;
        assert_eq!((resources.memory, resources.cpu_period, resources.nano_cpus), (8_000_000, 0, 7));
        assert_eq!((resources.cpuset_cpus.as_str(), resources.pids_limit), ("0", Some(5)));
        assert_eq!((host.restart_policy.name.as_str(), host.network_mode.as_str()), ("always", "none"));
        assert!(changed("", &request).is_none());
    }
}
