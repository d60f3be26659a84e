//! Processes and counters.

use gantry_cgroup::{Cgroup, Depth, Features};
use gantry_proto_shim::Message;

use super::Subject;
use crate::failure::Failure;
use crate::worker::Done;

fn cgroup(subject: &Subject) -> Result<Cgroup, Failure> {
    let record = subject
        .cgroup
        .as_ref()
        .ok_or_else(|| Failure::precondition("the container has no cgroup of its own"))?;
    Ok(Cgroup::from_record(record, Features::default()))
}

/// The ids of a container's processes, four bytes each, little endian.
pub(crate) fn pids(subject: &Subject) -> Result<Done, Failure> {
    let pids = cgroup(subject)?.pids(Depth::Tree)?;
    Ok(Done { body: pids.iter().flat_map(|pid| pid.to_le_bytes()).collect(), fds: Vec::new() })
}

/// A container's counters, as an encoded `Any`.
pub(crate) fn stats(subject: &Subject) -> Result<Done, Failure> {
    let any = crate::metrics::any(&cgroup(subject)?)?;
    Ok(Done { body: any.encode_to_vec(), fds: Vec::new() })
}
