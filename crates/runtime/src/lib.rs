//! The OCI runtime on a bundle, as a library: runtime-spec v1.3.0 (`runtime.md`, `config.md`, `config-linux.md`).
//!
//! Called by the `gantry-runtime` command line and by the shim's workers. It takes its input from its arguments, the
//! bundle, inherited descriptors and its state directory, never from other places; it starts no thread, keeps no
//! global state and assumes no process of its own, but the process must be single-threaded where it makes containers.
//!
//! ```text
//!   config.json ─► config ─► build ─► plan ──clone3──► init (the child) ─► execve
//!                                      │                 ▲
//!                    cgroup, hooks,  parent ◄── sync ────┘
//!                    state, console
//! ```
//!
//! - [`create()`], [`run()`], [`start()`], [`exec()`], [`kill()`], [`delete()`], [`state()`] and the rest are the
//!   operations;
//! - `plan` holds everything that the child needs, made before the clone;
//! - `init` is the child, which makes system calls and little else;
//! - `parent` answers it and undoes it;
//! - `checkpoint` has criu write containers to images and make them from images again.
//!
//! Paths inside a container's root are resolved only through `gantry_sys::path`.
#![forbid(unsafe_code)]

mod build;
mod checkpoint;
pub mod clock;
pub mod config;
mod container;
mod create;
mod delegate;
mod delete;
mod error;
mod exec;
mod failpoint;
mod features;
mod foreground;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod hook;
mod host;
mod hostroot;
mod idmap;
mod init;
mod kill;
mod listener;
mod mapped;
mod mounts;
mod netdev;
mod notice;
mod notify;
mod parent;
mod passwd;
mod plan;
mod protect;
mod rare;
mod resctrl;
pub mod rootfs;
mod sched;
pub mod seccomp;
mod seccomp_profile;
mod start;
mod state;
mod sync;

pub use checkpoint::{
    CgroupsMode, Continue, DumpOptions, ImageOptions, NetworkLock, PageServer, RestoreOptions, checkpoint,
    respawn, restore,
};
pub use container::{Snapshot, list, processes, snapshot, start_time};
pub use create::{Console, CreateRequest, Created, create, create_loaded, run};
pub use delete::{Force, delete, delete_unrecorded_cgroup};
pub use error::{Error, Failure};
pub use exec::{ExecRequest, ExecTarget, exec};
pub use features::{COMMIT, Features, VERSION, features};
pub use foreground::{Foreground, Orphans};
pub use host::{CgroupDriver, Host, Parent};
pub use kill::{Scope, freeze, kill, thaw, update, update_schemata};
pub use mounts::{add_mounts, read_mounts, remove_mounts};
pub use notice::{Notices, Severity};
pub use plan::identity::CAPABILITIES;
pub use plan::options::KNOWN_OPTIONS;
pub use sched::{MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES};
pub use start::{Starting, begin_start, start};
pub use state::{Record, Status, ids};
