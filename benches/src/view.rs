//! Which cgroup hierarchy the runtimes see.

use std::str::FromStr;

use gantry_sys::ns;
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

/// A view of the host's cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// As the host has them.
    V1,
    /// The unified hierarchy alone.
    V2,
}

impl FromStr for View {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "v1" => Ok(View::V1),
            "v2" => Ok(View::V2),
            other => Err(format!("{other:?} is no view: v1 or v2")),
        }
    }
}

/// Enters a private mount namespace with the view.
pub(crate) fn enter(view: View) -> Result<(), String> {
    const NEWNS: u64 = 0x0002_0000;
    const ROOT: &str = "/sys/fs/cgroup";
    const UNIFIED: &str = "/sys/fs/cgroup/unified";
    let failed =
        |what: &'static str| move |errno: gantry_sys::Errno| format!("{what}: {errno} (this needs root)");
    ns::unshare(NEWNS).map_err(failed("unshare the mount namespace"))?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(failed("make / private"))?;
    // State directories are on a tmpfs, as on every host whose init is systemd; here /run may be part of a disk.
    rustix::mount::mount("tmpfs", "/run", "tmpfs", rustix::mount::MountFlags::NOSUID, c"mode=755")
        .map_err(failed("mount a tmpfs at /run"))?;
    let hybrid = std::path::Path::new(UNIFIED).is_dir();
    match view {
        View::V2 if hybrid => mount_bind(UNIFIED, ROOT).map_err(failed("bind the unified hierarchy")),
        // crun refuses a hybrid host whose unified tree has controllers.
        View::V1 if hybrid => rustix::mount::unmount(UNIFIED, rustix::mount::UnmountFlags::DETACH)
            .map_err(failed("hide the unified hierarchy")),
        _ => Ok(()),
    }
}
