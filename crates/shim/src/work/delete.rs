//! Delete.

use gantry_cgroup::{Cgroup, Features};
use gantry_runtime::Force;
use gantry_types::ErrorKind;

use super::Subject;
use crate::failure::Failure;
use crate::worker::Done;

/// Removes a container that has stopped: its cgroup, its state, and its root where that is on the host.
pub(crate) fn delete(subject: &Subject) -> Result<Done, Failure> {
    remove(subject, Force::No)?;
    Ok(Done::default())
}

/// Removes whatever is left of a container.
pub(crate) fn delete_forced(subject: &Subject) -> Result<(), Failure> {
    remove(subject, Force::Yes)
}

/// Removes what there is of a container without a record: somebody removed it by hand, or a worker that did so was ended
/// half-way.
fn remove_unrecorded(subject: &Subject) -> Result<(), Failure> {
    if let Some(record) = &subject.cgroup {
        Cgroup::from_record(record, Features::default()).delete()?;
    }
    Ok(gantry_runtime::delete(&subject.host(), &subject.id, Force::Yes)?)
}

fn remove(subject: &Subject, force: Force) -> Result<(), Failure> {
    let removed = match subject.external() {
        Some(external) => external.delete().and_then(|()| match force {
            Force::No => Ok(()),
            // One that was killed while it made the container knows nothing of it.
            Force::Yes => {
                gantry_runtime::delete_unrecorded_cgroup(&subject.host(), &subject.id, &subject.bundle)
                    .map_err(Failure::from)
            }
        }),
        None => match gantry_runtime::delete(&subject.host(), &subject.id, force) {
            Err(error) if error.kind() == ErrorKind::NotFound => remove_unrecorded(subject),
            result => result.map_err(Failure::from),
        },
    };
    // The root goes in any case: whoever holds it now would hold it for ever.
    let unmounted = if subject.root_on_host || force == Force::Yes {
        gantry_runtime::rootfs::remove(&subject.rootfs()).map_err(Failure::from)
    } else {
        Ok(())
    };
    removed.and(unmounted)
}
