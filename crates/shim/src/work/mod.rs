//! What workers do: the operations on containers, with the linked runtime or an external one.
//!
//! Every function here runs in a worker: it may wait, allocate and fail as it likes. It takes what the shim knows and gives
//! back what the shim is to know; it never touches the shim's own state.

mod checkpoint;
mod create;
mod delete;
mod exec;
mod external;
mod metrics;
mod sandbox;
mod signal;
mod update;

use std::path::{Path, PathBuf};

use gantry_cgroup::CgroupRecord;
use gantry_types::ContainerId;
use serde::{Deserialize, Serialize};

pub(crate) use checkpoint::checkpoint;
pub(crate) use create::{Creation, create, restore};
pub(crate) use delete::{delete, delete_forced};
pub(crate) use exec::{Execution, exec};
pub(crate) use metrics::{pids, stats};
pub(crate) use sandbox::{Pausing, pause, unpause};
pub(crate) use signal::{freeze, kill, start, thaw};
pub(crate) use update::update;

use crate::failure::Failure;
use crate::options::RuntimeOptions;
use crate::stdio::{Opened, Role};
use crate::worker::Done;
use external::External;

/// The container that an operation is on.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) id: ContainerId,
    pub(crate) namespace: String,
    pub(crate) bundle: PathBuf,
    pub(crate) options: RuntimeOptions,
    /// Whether its root is mounted on the host.
    pub(crate) root_on_host: bool,
    pub(crate) cgroup: Option<CgroupRecord>,
}

impl Subject {
    /// The directory of its root in the bundle.
    pub(crate) fn rootfs(&self) -> PathBuf {
        rootfs(&self.bundle)
    }

    /// The external runtime, if it has one.
    fn external(&self) -> Option<External<'_>> {
        (!self.options.binary_name.is_empty()).then_some(External { subject: self })
    }

    fn host(&self) -> gantry_runtime::Host {
        self.options.host(&self.namespace)
    }
}

/// Where a bundle's root is mounted: what containerd makes.
pub(crate) fn rootfs(bundle: &Path) -> PathBuf {
    bundle.join("rootfs")
}

/// A process that was made.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) pid: i32,
    /// In clock ticks since boot; 0 where it is not known.
    pub(crate) start_time: u64,
    pub(crate) cgroup: Option<CgroupRecord>,
    /// Whether it has a pid namespace of its own.
    pub(crate) own_pids: bool,
    /// Whether hooks wait for the start.
    pub(crate) poststart: bool,
    pub(crate) root_on_host: bool,
    pub(crate) options: RuntimeOptions,
    /// The process that takes its output.
    pub(crate) logger: Option<i32>,
    /// What the descriptors of the answer are, in order.
    pub(crate) roles: Vec<Role>,
}

impl Made {
    /// The answer, with the descriptors that the streams' opener kept and those that came with the process.
    fn into_done(mut self, opened: Opened, more: Vec<(Role, std::os::fd::OwnedFd)>) -> Result<Done, Failure> {
        self.logger = opened.logger.map(|logger| logger.pid);
        let (roles, fds) = more.into_iter().chain(opened.kept).unzip();
        self.roles = roles;
        let body = serde_json::to_vec(&self).map_err(|error| {
            Failure::new(gantry_types::ErrorKind::Internal, format!("encode an answer: {error}"))
        })?;
        Ok(Done { body, fds })
    }
}
