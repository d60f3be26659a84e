//! The counters of a container, in the messages of containerd/cgroups v3 that a daemon expects of `Stats`.
//!
//! Called by a worker. It reads the files of one cgroup, and knows nothing of the container beside it. Values that the
//! kernel does not count are zero, as containerd-shim-runc-v2 has them.

mod v1;
mod v2;

use gantry_cgroup::{Cgroup, CgroupRecord, Error, Features, Mode};
use gantry_proto_shim::any::Any;

/// The counters of a cgroup: `io.containerd.cgroups.v2.Metrics` on cgroup v2, and `…v1.Metrics` elsewhere.
///
/// # Errors
/// `NotFound` if the cgroup is gone; `Internal` for a file that is not as documented.
pub(crate) fn any(cgroup: &Cgroup) -> Result<Any, Error> {
    let stats = cgroup.stats()?;
    Ok(match cgroup.mode() {
        Mode::V2 => Any::pack(&v2::metrics(&stats)),
        Mode::V1 | Mode::Hybrid => {
            // A device without a name is told by its number alone.
            let partitions = std::fs::read_to_string("/proc/partitions").unwrap_or_default();
            Any::pack(&v1::metrics(&stats, &v1::devices(&partitions)))
        }
    })
}

/// The counters of the cgroup that a process is in, whoever made it: what tests compare with other shims' counters.
///
/// # Errors
/// As those of `any`, and when the process is gone.
pub fn of_process(pid: i32) -> Result<Any, Error> {
    let record = CgroupRecord::of_process(pid)?;
    any(&Cgroup::from_record(&record, Features::default()))
}
