//! Cgroup v2, v1 and hybrid, by the file system and by systemd.
//!
//! Called by `runtime` for the life of a container, and by `shim` for statistics, freezing, killing and out-of-memory
//! events. It never starts a thread, never probes the kernel, never logs, and never touches a cgroup that it was not
//! given.
//!
//! ```text
//!   Hierarchy::detect ─► CgroupSpec::resolve ─► Cgroup::create ─► apply(BeforeClone)
//!                                                                   │
//!                    clone3(CLONE_INTO_CGROUP = clone_target())  ◄──┘
//!                                │            attach(pid), where that is not enough
//!                                │            apply(DuringSetup)
//!                                ▼
//!                     apply(BeforeStart) ─► … freeze, kill_all, pids, stats … ─► delete
//! ```
//!
//! With the systemd driver `attach` starts the scope, and everything is applied by `apply(BeforeStart)`.
//! A [`CgroupRecord`] carries a cgroup to another process.
#![forbid(unsafe_code)]

mod attach;
mod cgroup;
mod controller;
mod create;
mod delegate;
mod delete;
pub mod devices;
mod dir;
mod error;
mod freeze;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod hierarchy;
mod kernel_log;
mod kill;
mod limits;
mod memory;
mod oom;
mod pids;
mod record;
mod resolve;
pub mod stats;
pub mod systemd;
mod walk;

pub use attach::{Joined, SubCgroups};
pub use cgroup::{Cgroup, Features};
pub use controller::{Controller, Controllers};
pub use create::Created;
pub use error::{Error, LimitError, PathError};
pub use freeze::FreezerState;
pub use hierarchy::{Hierarchy, Mode, Mount};
pub use limits::Phase;
pub use memory::MemoryLevel;
pub use oom::{OomEvents, OomReport};
pub use record::CgroupRecord;
pub use resolve::{CgroupSpec, Driver, Request, Target};
pub use stats::Stats;
pub use walk::Depth;
