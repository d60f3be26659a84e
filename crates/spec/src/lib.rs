//! From an image's configuration and a container's options to the OCI runtime's configuration.
//!
//! The engine calls it once a start, with everything that had to be looked up on the host as values ([`Host`], resolved
//! devices, the image's `/etc/passwd` as bytes), and again for the user of an exec and for new limits of a running
//! container. It never opens a file, makes a system call, reads the clock or logs: the same arguments give the same
//! configuration, byte for byte.
//!
//! What comes out is what dockerd 20.10 to 29 writes for the same options (runtime-spec v1.1.0 is all that it uses), less
//! what is wrong there: `docs/conformance.md` names the differences. Names, paths and values may come from an image or a
//! client of the API, and are refused here where they could mean something else further down.
#![forbid(unsafe_code)]

mod capabilities;
pub mod cdi;
mod devices;
mod error;
mod exec;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod generate;
mod host;
mod mounts;
mod namespaces;
mod options;
mod paths;
mod process;
mod resources;
pub mod seccomp;
mod settle;
mod sysctl;
#[cfg(test)]
mod tests;
pub mod user;

pub use capabilities::{ALL_CAPABILITIES, DEFAULT_CAPABILITIES, capabilities, is_capability};
pub use error::Error;
pub use exec::{Exec, exec};
pub use generate::{SPEC_VERSION, generate};
pub use host::{Host, KernelVersion, Support};
pub use mounts::{Access, Bind, Mount, MountKind, Propagation, Recursion, tmpfs_options};
pub use namespaces::{CgroupNamespace, Ipc, Network, Pid, UserNamespace, Uts};
pub use options::{Confinement, DeviceMapping, HostDevice, Namespaces, Options, Ulimit};
pub use paths::{masked_paths, readonly_paths};
pub use process::{
    Command, DEFAULT_PATH, INIT_PATH, Terminal, merge_env, overlay_env, process_args, process_env,
};
pub use resources::{DeviceRate, DeviceWeight, Hugepages, Resources, device_rule, resources};
pub use settle::{Purpose, Warning, settle};
pub use sysctl::MAX_SYSCTLS;
