//! Changing the limits and the restart policy of a container that exists.

use std::sync::Arc;

use gantry_primitives::Opaque;
use gantry_spec::Purpose;

use super::{Container, event_of, specification};
use crate::options::{Resources, RestartPolicy};
use crate::{Engine, Error, Result};

/// The type of limits in containerd's messages.
const RESOURCES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// What is changed. Zeros and empty values leave what there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpdateRequest {
    /// Limits.
    pub resources: Resources,
    /// The restart policy.
    pub restart: Option<RestartPolicy>,
    /// The request that the door keeps, changed likewise.
    pub origin: Option<String>,
}

impl Engine {
    /// Changes limits and policy; of one that runs at once.
    ///
    /// # Errors
    /// Invalid for limits that contradict each other; Conflict for one that is going; what the shim says.
    pub async fn container_update(
        &self,
        container: &Arc<Container>,
        request: UpdateRequest,
    ) -> Result<Vec<String>> {
        container.require_own()?;
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned("updating a container", async move {
            let _gate = container.gate.lock().await;
            engine.update(&container, request).await
        })
        .await
    }

    async fn update(&self, container: &Arc<Container>, request: UpdateRequest) -> Result<Vec<String>> {
        let mut record = (*container.record()).clone();
        if matches!(record.state.status, crate::Status::Removing | crate::Status::Dead) {
            return Err(Error::Conflict(
                "Container is marked for removal and cannot be \"update\".".to_owned(),
            ));
        }
        let merged = merge(&record.options.resources, &request.resources);
        let wanted = specification::resources(&merged)?;
        let (settled, warnings) = gantry_spec::settle(wanted, &self.shared.host.support, Purpose::Update)?;
        if let Some(policy) = request.restart {
            if record.options.auto_remove && policy != RestartPolicy::No {
                let text = "Restart policy cannot be updated because AutoRemove is enabled for the container";
                return Err(Error::Conflict(text.to_owned()));
            }
            record.options.restart = policy;
        }
        if record.state.status.is_alive() && request.resources != Resources::default() {
            let limits = gantry_spec::resources(&settled)?;
            let value = serde_json::to_vec(&limits).expect("limits are JSON");
            let limits = Opaque { type_url: RESOURCES_TYPE.to_owned(), value };
            self.shared.tasks.update(container.key(), Some(limits), Default::default()).await?;
        }
        record.options.resources = merged;
        if let Some(origin) = request.origin {
            record.options.origin = origin;
        }
        let event = event_of(&record, "update");
        self.save(container, record, vec![event]).await?;
        Ok(warnings.iter().map(ToString::to_string).collect())
    }
}

/// What is asked for over what there is.
fn merge(own: &Resources, asked: &Resources) -> Resources {
    let number = |own: i64, asked: i64| if asked == 0 { own } else { asked };
    let list = |own: &[(String, u64)], asked: &[(String, u64)]| {
        if asked.is_empty() { own.to_vec() } else { asked.to_vec() }
    };
    let text = |own: &str, asked: &str| if asked.is_empty() { own.to_owned() } else { asked.to_owned() };
    let mut merged = Resources {
        memory: number(own.memory, asked.memory),
        memory_swap: number(own.memory_swap, asked.memory_swap),
        memory_reservation: number(own.memory_reservation, asked.memory_reservation),
        cpu_shares: number(own.cpu_shares, asked.cpu_shares),
        cpu_period: number(own.cpu_period, asked.cpu_period),
        cpu_quota: number(own.cpu_quota, asked.cpu_quota),
        nano_cpus: number(own.nano_cpus, asked.nano_cpus),
        cpu_realtime_period: number(own.cpu_realtime_period, asked.cpu_realtime_period),
        cpu_realtime_runtime: number(own.cpu_realtime_runtime, asked.cpu_realtime_runtime),
        cpuset_cpus: text(&own.cpuset_cpus, &asked.cpuset_cpus),
        cpuset_mems: text(&own.cpuset_mems, &asked.cpuset_mems),
        pids_limit: asked.pids_limit.or(own.pids_limit),
        blkio_weight: if asked.blkio_weight == 0 { own.blkio_weight } else { asked.blkio_weight },
        blkio_weight_device: list(&own.blkio_weight_device, &asked.blkio_weight_device),
        blkio_read_bps: list(&own.blkio_read_bps, &asked.blkio_read_bps),
        blkio_write_bps: list(&own.blkio_write_bps, &asked.blkio_write_bps),
        blkio_read_iops: list(&own.blkio_read_iops, &asked.blkio_read_iops),
        blkio_write_iops: list(&own.blkio_write_iops, &asked.blkio_write_iops),
        ..own.clone()
    };
    // One of the two ways to say how much of a processor.
    if asked.nano_cpus != 0 {
        (merged.cpu_period, merged.cpu_quota) = (0, 0);
    } else if asked.cpu_period != 0 || asked.cpu_quota != 0 {
        merged.nano_cpus = 0;
    }
    merged
}
