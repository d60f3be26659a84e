//! `update`.

use anyhow::Result;
use clap::Args;
use gantry_docker_api::container::{
    ContainerUpdateRequest, ContainerUpdateResponse, Resources, RestartPolicy,
};
use gantry_docker_api::size;
use serde_json::{Map, Value};

use super::options::restart_policy;
use super::path;
use crate::client::Call;
use crate::command::{Verb, collect};
use crate::output;
use crate::session::Session;

/// Update configuration of one or more containers
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long, value_name = "UINT16")]
    blkio_weight: Option<u16>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "INT")]
    cpu_period: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "INT", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Limit the CPU real-time period in microseconds
    #[arg(long, value_name = "INT")]
    cpu_rt_period: Option<i64>,
    /// Limit the CPU real-time runtime in microseconds
    #[arg(long, value_name = "INT")]
    cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "INT")]
    cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "DECIMAL")]
    cpus: Option<String>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "STRING")]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "STRING")]
    cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Memory soft limit
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    memory_swap: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "INT", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "STRING")]
    restart: Option<String>,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Update {
    async fn run(self, session: &Session) -> Result<u8> {
        let client = session.client()?;
        let body = self.body()?;
        let mut errors = Vec::new();
        for container in &self.containers {
            let call = Call::post(path(container, "/update")).json(&body);
            match client.json::<ContainerUpdateResponse>(call).await {
                Ok(answer) => {
                    output::line(container);
                    answer.warnings.iter().for_each(output::note);
                }
                Err(error) => errors.push(error),
            }
        }
        collect(errors)
    }
}

impl Update {
    /// Only what is to be changed.
    fn body(&self) -> Result<Value> {
        let bytes = |text: &Option<String>| text.as_deref().map_or(Ok(0), size::parse_binary);
        let memory_swap = match self.memory_swap.as_deref() {
            Some("-1") => -1,
            Some(text) => size::parse_binary(text)?,
            None => 0,
        };
        let restart = self.restart.as_deref().map(restart_policy).transpose()?;
        let request = ContainerUpdateRequest {
            resources: Resources {
                blkio_weight: self.blkio_weight.unwrap_or(0),
                cpu_period: self.cpu_period.unwrap_or(0),
                cpu_quota: self.cpu_quota.unwrap_or(0),
                cpu_realtime_period: self.cpu_rt_period.unwrap_or(0),
                cpu_realtime_runtime: self.cpu_rt_runtime.unwrap_or(0),
                cpu_shares: self.cpu_shares.unwrap_or(0),
                nano_cpus: self.cpus.as_deref().map_or(Ok(0), super::options::nano_cpus)?,
                cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
                cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
                memory: bytes(&self.memory)?,
                memory_reservation: bytes(&self.memory_reservation)?,
                memory_swap,
                pids_limit: self.pids_limit,
                ..Resources::default()
            },
            restart_policy: restart.unwrap_or_else(RestartPolicy::default),
        };
        let Value::Object(body) = serde_json::to_value(&request)? else { return Ok(Value::Null) };
        let is_said = |value: &Value| match value {
            Value::Null => false,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Object(policy) => policy.get("Name").is_some_and(|name| name != ""),
            Value::Array(items) => !items.is_empty(),
            Value::Bool(_) => true,
        };
        Ok(Value::Object(body.into_iter().filter(|(_, value)| is_said(value)).collect::<Map<_, _>>()))
    }
}
