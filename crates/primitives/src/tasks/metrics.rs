use std::time::SystemTime;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use gantry_proto_shim::any::Any;
use gantry_proto_shim::task::{StatsRequest, StatsResponse, method};
use gantry_types::Namespace;

use super::{Tasks, key};
use crate::Result;
use crate::filter::{Fields, Filters};

/// How many shims are asked at the same time.
const CONCURRENCY: usize = 64;

/// The counters of a task.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Its container.
    pub id: String,
    /// When they were read.
    pub time: SystemTime,
    /// `io.containerd.cgroups.v1.Metrics` or `v2`.
    pub data: Any,
}

/// What a filter sees of a task.
struct TaskFields<'a> {
    namespace: &'a Namespace,
    id: &'a str,
}

impl Fields for TaskFields<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["id"] => Some(self.id.to_owned()),
            ["namespace"] => Some(self.namespace.to_string()),
            _ => None,
        }
    }
}

impl Tasks {
    /// The counters of the tasks that pass one of `filters` (over `id` and `namespace`). Tasks that cannot say any are left out.
    ///
    /// # Errors
    /// InvalidArgument for a filter.
    pub async fn metrics(&self, namespace: &Namespace, filters: Vec<String>) -> Result<Vec<Metric>> {
        let filters = Filters::parse(&filters)?;
        let all = self.tasks.containers(namespace);
        let wanted = all.into_iter().filter(|id| filters.passes(&TaskFields { namespace, id }));
        let found = iter(wanted).map(|id| async move {
            let request = StatsRequest { id: id.clone() };
            let answer: Result<StatsResponse, _> =
                self.tasks.ask(&key(namespace, &id), method::STATS, &request).await;
            match answer {
                Ok(StatsResponse { stats: Some(data) }) => Some(Metric { id, time: SystemTime::now(), data }),
                Ok(StatsResponse { stats: None }) => None,
                Err(error) => {
                    tracing::debug!(container = id, %error, "a task has no metrics");
                    None
                }
            }
        });
        let found: Vec<_> = found.buffered(CONCURRENCY).collect().await;
        Ok(found.into_iter().flatten().collect())
    }
}
