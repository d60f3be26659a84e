//! checkpoint and restore, through CRIU (criu(8), <https://criu.org/RPC>, protocol of version 4.1).
//!
//! ```text
//!   runtime ──exec──► criu swrk FD          one process of criu for each request
//!      │  request: DUMP, RESTORE, …  ──►│
//!      │◄── NOTIFY network-lock, …      │   at each step, which criu waits for
//!      │       answer: success       ──►│
//!      │◄── response                    │   the end
//! ```
//!
//! [`dump`] and [`restore`] are the operations, `request` says what criu is asked for, `criu` talks to it, `wire` has the
//! encoding, `mounts` tells it what of the container's mounts is the host's. Images are criu's own; beside them lies
//! `descriptors.json`, the names of the standard streams, which the restored processes get ours for.
//!
//! Nothing here touches the processes: what criu cannot do is an error.

mod criu;
mod dump;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod mounts;
mod options;
mod request;
mod restore;
mod wire;

pub use dump::checkpoint;
pub use options::{
    CgroupsMode, Continue, DumpOptions, ImageOptions, NetworkLock, PageServer, RestoreOptions,
};
pub use restore::{respawn, restore};

/// The names of the standard streams of the first process, among the images.
const DESCRIPTORS_FILE: &str = "descriptors.json";
