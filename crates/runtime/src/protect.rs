//! Protection of the calling binary from the containers that it makes: CVE-2019-5736.
//!
//! The binary must never be writable through `/proc/PID/exe` of a container's process. A shim is executed from a sealed
//! descriptor once and need not care. Otherwise the child leaves the binary just before its execve(2)
//! ([`gantry_sys::finale`]), which costs 20 µs; where it cannot, the caller is sealed in place (0.3 ms) or, as an
//! ordinary user, executes a sealed copy of itself in memory (1 ms).

use gantry_sys::{finale, seal};

use crate::error::Error;
use crate::parent::has_capability;
use crate::plan::Plan;
use crate::plan::namespaces::NEWUSER;

const CAP_SYS_ADMIN: u32 = 21;
const CAP_CHECKPOINT_RESTORE: u32 = 40;

/// Sees to it that the binary is protected from a plan's child; whether the child has to leave it for that.
///
/// Nothing may have been made yet: as a last resort this executes the binary anew, with the same arguments.
///
/// # Errors
/// PermissionDenied where no way is allowed.
pub(crate) fn protect(plan: &Plan) -> Result<bool, Error> {
    let user_namespace = (plan.namespaces.new | plan.namespaces.joined) & NEWUSER != 0;
    let may = user_namespace || has_capability(CAP_CHECKPOINT_RESTORE) || has_capability(CAP_SYS_ADMIN);
    // A hook inside the container is executed from the binary, by name, out of the container's files.
    let leaves =
        may && plan.start_container_hooks.is_empty() && !plan.traceable && finale::can_leave_binary();
    if seal::is_sealed().map_err(Error::io("open /proc/self/exe"))? {
        return Ok(false);
    }
    if leaves {
        return Ok(true);
    }
    if seal::seal_in_place().is_ok() {
        return Ok(false);
    }
    match seal::exec_sealed_copy() {
        Err(errno) => Err(Error::io("execute a sealed copy of the runtime")(errno)),
    }
}
