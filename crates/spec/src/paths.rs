//! Paths of /proc and /sys that a container cannot read, or cannot write to (runtime-spec v1.1.0, config-linux.md).

use crate::Error;
use crate::error::at_most;
use crate::host::Host;
use crate::options::Confinement;

/// The most paths of either list.
const MAX_PATHS: usize = 4096;

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    // GHSA-6fw5-f8r9-fgfm: counts what the keyboard and the neighbours do.
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    // GHSA-jq35-85cj-fj4p: energy counters tell keys.
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The paths that containers cannot read by default.
pub fn masked_paths(host: &Host) -> Vec<String> {
    // GHSA-6fw5-f8r9-fgfm, too: one directory a CPU, where the hardware has it.
    let throttle = |cpu: &u32| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
    let mut paths: Vec<String> = MASKED.map(str::to_owned).into();
    paths.extend(host.thermal_throttle_cpus.iter().map(throttle));
    paths
}

/// The paths that containers cannot write to by default.
pub fn readonly_paths() -> Vec<String> {
    READ_ONLY.map(str::to_owned).into()
}

/// Both lists of a container: what was asked for, else nothing if it is privileged, else the default.
pub(crate) fn of(wanted: &Confinement, host: &Host) -> Result<(Vec<String>, Vec<String>), Error> {
    let choose = |asked: &Option<Vec<String>>, default: Vec<String>| match asked {
        Some(paths) => check(paths).map(|()| paths.clone()),
        None if wanted.privileged => Ok(Vec::new()),
        None => Ok(default),
    };
    Ok((choose(&wanted.masked_paths, masked_paths(host))?, choose(&wanted.readonly_paths, readonly_paths())?))
}

fn check(paths: &[String]) -> Result<(), Error> {
    at_most("masked or read-only paths", paths.len(), MAX_PATHS)?;
    match paths.iter().find(|path| !path.starts_with('/') || path.contains('\0')) {
        Some(path) => Err(Error::invalid("masked or read-only path", path, "it is not absolute")),
        None => Ok(()),
    }
}
