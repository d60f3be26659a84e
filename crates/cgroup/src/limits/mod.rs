//! From `linux.resources` to the files of cgroup v1 and v2: config-linux.md of runtime-spec v1.3.0, as runc reads it.
//!
//! A value of 0 is "not set" wherever runc takes it so, and -1 is unlimited.

mod convert;
mod unified;
mod v1;
mod v2;

use gantry_types::oci::Resources;
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::dir::{Dir, Text};
use crate::error::LimitError;
use crate::hierarchy::Mode;
use crate::resolve::Driver;

pub(crate) use convert::{Swap, io_weight, shares_to_weight, swap_without_memory};

/// Kernel default of the CPU bandwidth period.
pub(crate) const DEFAULT_CPU_PERIOD_US: u64 = 100_000;

/// When limits are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before a process is in the cgroup: what must never be missing (the number of tasks) and what a process needs in
    /// order to enter (CPUs, real-time budget).
    BeforeClone,
    /// While the runtime's own code sets the container up in the process, before anything else runs there: on cgroup v2
    /// the devices. The kernel takes a quarter of a millisecond to check and compile their program, which nobody has to
    /// wait for. On v1, where all are forbidden before some are allowed, the set-up would meet that: they come first.
    DuringSetup,
    /// When the container is set up, before its payload runs: what would slow down or kill the set-up.
    BeforeStart,
    /// On a running container: all of it. Devices only if there are rules.
    Update,
}

impl Cgroup {
    /// Applies the limits of a phase.
    ///
    /// With the systemd driver there is no cgroup before [`Cgroup::attach`]: `BeforeClone` and `DuringSetup` do nothing,
    /// and `BeforeStart` does all.
    ///
    /// # Errors
    /// Every error names the field. `InvalidArgument` for a value that makes no sense, `Unimplemented` where the
    /// host lacks the controller, the kernel's own error otherwise.
    pub fn apply(&self, resources: &Resources, phase: Phase) -> Result<(), LimitError> {
        if self.driver == Driver::Disabled {
            return Ok(());
        }
        if self.mode != Mode::V2 && !resources.unified.is_empty() {
            return Err(LimitError::UnifiedOnV1);
        }
        if !self.started {
            return Ok(());
        }
        let mut resources = std::borrow::Cow::Borrowed(resources);
        if phase == Phase::Update {
            self.complete_bandwidth(&mut resources);
        }
        let by_systemd = matches!(self.driver, Driver::Systemd { .. });
        if by_systemd && matches!(phase, Phase::BeforeClone | Phase::DuringSetup) {
            return Ok(());
        }
        if by_systemd {
            self.apply_by_systemd(&mut resources, phase)?;
        }
        let all = by_systemd || phase == Phase::Update;
        let devices = phase != Phase::Update || !resources.devices.is_empty();
        let theirs = if self.mode == Mode::V2 { Phase::DuringSetup } else { Phase::BeforeClone };
        if devices && (all || phase == theirs) {
            self.apply_devices(&resources.devices)?;
        }
        if all || phase == Phase::BeforeClone {
            match self.mode {
                Mode::V2 => v2::before_clone(self, &resources)?,
                _ => v1::before_clone(self, &resources)?,
            }
        }
        if all || phase == Phase::BeforeStart {
            match self.mode {
                Mode::V2 => v2::before_start(self, &resources)?,
                _ => v1::before_start(self, &resources, phase)?,
            }
        }
        Ok(())
    }
}

impl Cgroup {
    /// Adds the present quota to an update of the period alone, and the other way round: `cpu.max` takes both, and so
    /// does systemd. Without it an update of the period would lift the quota.
    fn complete_bandwidth(&self, resources: &mut std::borrow::Cow<'_, Resources>) {
        let Some(cpu) = &resources.cpu else { return };
        let (quota, period) = (cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0));
        if (quota == 0) == (period == 0) {
            return;
        }
        let Some((present_quota, present_period)) = self.bandwidth() else { return };
        let Some(cpu) = &mut resources.to_mut().cpu else { return };
        if quota == 0 {
            cpu.quota = Some(present_quota);
        } else {
            cpu.period = Some(present_period);
        }
    }

    /// The present quota, -1 for none, and period in microseconds, where the kernel tells them.
    fn bandwidth(&self) -> Option<(i64, u64)> {
        let dir = self.node(Controller::Cpu)?.dir().ok()?;
        if self.mode != Mode::V2 {
            let quota = dir.read("cpu.cfs_quota_us").ok()?.trim_ascii().parse().ok()?;
            return Some((quota, dir.read("cpu.cfs_period_us").ok()?.trim_ascii().parse().ok()?));
        }
        let text = dir.read("cpu.max").ok()?;
        let (quota, period) = text.trim_ascii().split_once(' ')?;
        let quota = if quota == "max" { -1 } else { quota.parse().ok()? };
        Some((quota, period.parse().ok()?))
    }
}

/// Whether any limit needs a controller.
pub(crate) fn any_asked(resources: &Resources) -> bool {
    let cpu = resources.cpu.as_ref();
    needs_domain(resources)
        || resources.pids.as_ref().is_some_and(|pids| pids.limit.is_some())
        || cpu.is_some_and(|cpu| !cpu.cpus.is_empty() || !cpu.mems.is_empty())
}

/// Whether any limit needs a controller that threaded cgroups lack. As in runc, `cpu` counts as one.
pub(crate) fn needs_domain(resources: &Resources) -> bool {
    let set = |value: Option<i64>| value.is_some_and(|value| value != 0);
    let memory = resources.memory.as_ref();
    let cpu = resources.cpu.as_ref();
    memory.is_some_and(|memory| set(memory.limit) || set(memory.reservation) || set(memory.swap))
        || cpu.is_some_and(|cpu| {
            cpu.shares.is_some_and(|shares| shares != 0)
                || set(cpu.quota)
                || cpu.period.is_some_and(|period| period != 0)
                || cpu.idle.is_some()
                || cpu.burst.is_some()
        })
        || resources.block_io.as_ref().is_some_and(v2::is_io_asked)
        || !resources.hugepage_limits.is_empty()
}

/// The files of one directory, with errors that name the field.
#[derive(Clone, Copy)]
struct Files<'a> {
    dir: &'a Dir,
}

impl Files<'_> {
    fn put(&self, field: &str, file: &str, value: &str) -> Result<(), LimitError> {
        self.try_put(file, value).map_err(|errno| self.refused(field, file, value, errno))
    }

    fn put_number(&self, field: &str, file: &str, value: impl std::fmt::Display) -> Result<(), LimitError> {
        let text = Text::new(format_args!("{value}"));
        self.put(field, file, text.as_str())
    }

    fn try_put(&self, file: &str, value: &str) -> Result<(), Errno> {
        self.dir.write(file, value.as_bytes())
    }

    fn number(&self, field: &str, file: &str) -> Result<u64, LimitError> {
        let error = |errno| LimitError::Read { field: field.into(), file: file.into(), errno };
        let text = self.dir.read(file).map_err(error)?;
        match text.trim_ascii() {
            "max" => Ok(u64::MAX),
            text => text.parse().map_err(|_| error(Errno::INVAL)),
        }
    }

    /// The error of a write. A file that is not there belongs to a controller that is not there.
    fn refused(&self, field: &str, file: &str, value: &str, errno: Errno) -> LimitError {
        let controller = file.split('.').next().unwrap_or(file);
        if errno == Errno::NOENT && self.lacks(controller) {
            return LimitError::NoController {
                field: field.into(),
                controller: controller.into(),
                reason: "the controller is not available in the container's cgroup",
            };
        }
        LimitError::Write { field: field.into(), file: file.into(), value: value.into(), errno }
    }

    /// Whether a v2 cgroup lacks a controller; a v1 cgroup has its own.
    fn lacks(&self, controller: &str) -> bool {
        self.dir
            .read("cgroup.controllers")
            .is_ok_and(|list| !list.split_whitespace().any(|name| name == controller))
    }
}

fn invalid(field: &str, value: impl ToString, reason: &'static str) -> LimitError {
    LimitError::Invalid { field: field.into(), value: value.to_string(), reason }
}

/// The size of huge pages becomes part of a file's name.
fn check_page_size(index: usize, size: &str) -> Result<(), LimitError> {
    let digits = size.trim_start_matches(|c: char| c.is_ascii_digit());
    if digits.len() < size.len() && size.len() <= 16 && matches!(digits, "KB" | "MB" | "GB") {
        return Ok(());
    }
    let field = format!("linux.resources.hugepageLimits[{index}].pageSize");
    Err(invalid(&field, format!("{size:?}"), "not a size as in \"2MB\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_cannot_name_other_files() {
        for good in ["64KB", "2MB", "1GB"] {
            assert!(check_page_size(0, good).is_ok());
        }
        for bad in ["", "MB", "2", "2mb", "../2MB", "2MB/..", "2TB", "0x2MB"] {
            assert!(check_page_size(0, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_file_is_a_missing_controller_on_v2() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("cgroup.controllers"), "cpu pids\n").unwrap();
        let dir = Dir::open(tree.path()).unwrap();
        let files = Files { dir: &dir };
        let error = files.put("linux.resources.memory.limit", "memory.max", "1").unwrap_err();
        assert!(
            matches!(&error, LimitError::NoController { controller, .. } if controller == "memory"),
            "{error}"
        );
        let error = files.put("linux.resources.cpu.burst", "cpu.max.burst", "1").unwrap_err();
        assert!(matches!(&error, LimitError::Write { errno: Errno::NOENT, .. }), "{error}");
    }
}
