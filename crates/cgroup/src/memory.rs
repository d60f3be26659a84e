//! What a process that has ended leaves to be told of its memory.

use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::dir::Dir;
use crate::error::Error;
use crate::hierarchy::Mode;

/// How many levels above a cgroup are looked at: the kernel's nesting is deeper nowhere in practice.
const MAX_LEVELS: usize = 32;
/// From here on, in bytes, a limit of v1 is none: the kernel's largest, rounded down to pages of whatever size.
const UNLIMITED_BYTES: u64 = 1 << 62;

/// How much less than its limit a full cgroup may hold, in bytes: what is asked for at once, and not given.
const SLACK_BYTES: u64 = 1 << 20;

/// The memory of one cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryLevel {
    /// Its path from the root of the hierarchy; `/` is the machine.
    pub cgroup: String,
    /// Its limit in bytes; 0 is none.
    pub limit_bytes: u64,
    /// The most that it has held, in bytes; 0 where the kernel does not tell (cgroup v2 before 5.19).
    pub peak_bytes: u64,
    /// What it holds, in bytes.
    pub current_bytes: u64,
    /// The line `some` of its pressure; empty in cgroup v1, and without CONFIG_PSI.
    pub pressure: String,
}

impl Cgroup {
    /// The memory of the cgroup. Reads a few small files, none of which makes the kernel sum anything up.
    ///
    /// # Errors
    /// `FailedPrecondition` without a memory controller; `NotFound` if the cgroup is gone.
    pub fn memory(&self) -> Result<MemoryLevel, Error> {
        let node =
            self.node(Controller::Memory).ok_or(Error::NoCgroup { action: "reading the memory of" })?;
        let dir = node.dir().map_err(node.error("reading the memory of"))?;
        Ok(level(dir, self.mode))
    }

    /// The memory of the lowest cgroup, from this one upwards, that has reached its limit; `/` without a limit if none has,
    /// since then the machine had none left.
    ///
    /// # Errors
    /// As [`Cgroup::memory`].
    pub fn exhausted_memory(&self) -> Result<MemoryLevel, Error> {
        let node =
            self.node(Controller::Memory).ok_or(Error::NoCgroup { action: "reading the memory of" })?;
        let failed = |errno| node.error("reading the memory of")(errno);
        let limit = if self.mode == Mode::V2 { "memory.max" } else { "memory.limit_in_bytes" };
        let mut dir = node.dir().and_then(Dir::reopen).map_err(failed)?;
        let mut found = None;
        let mut depth = 0;
        // The root of v2 has no limit, and what is above that of v1 has none.
        while depth < MAX_LEVELS && dir.has(limit) {
            if found.is_none() && is_exhausted(&dir, self.mode) {
                found = Some((level(&dir, self.mode), depth));
            }
            dir = dir.open_parent().map_err(failed)?;
            depth += 1;
        }
        // The root of v1 is one of the levels.
        let names = if self.mode == Mode::V2 { depth } else { depth.saturating_sub(1) };
        let Some((mut level, above)) = found.filter(|(_, above)| *above < names) else {
            return Ok(MemoryLevel { cgroup: "/".to_owned(), ..MemoryLevel::default() });
        };
        let parts: Vec<_> = node.path.iter().collect();
        let own = &parts[parts.len().saturating_sub(names)..];
        level.cgroup = own[..own.len().saturating_sub(above)]
            .iter()
            .fold(String::new(), |path, part| path + "/" + &part.to_string_lossy());
        Ok(level)
    }
}

/// Whether a cgroup has a limit and has met it.
fn is_exhausted(dir: &Dir, mode: Mode) -> bool {
    if mode != Mode::V2 {
        // Newer kernels count no failures of memory and swap together: Linux 6.18 has 0 there.
        let full = |name: &str| {
            let limit = limit(dir, &format!("memory.{name}limit_in_bytes"));
            let peak = || number(dir, &format!("memory.{name}max_usage_in_bytes"));
            let failed = || number(dir, &format!("memory.{name}failcnt")) > 0;
            limit > 0 && (failed() || peak() + SLACK_BYTES >= limit)
        };
        return full("") || full("memsw.");
    }
    // Its own events alone; the other file counts those below, too. Linux 5.2.
    let events = dir.read("memory.events.local").or_else(|_| dir.read("memory.events")).unwrap_or_default();
    let ran_out = events.lines().any(|line| line.strip_prefix("oom ").is_some_and(|count| count != "0"));
    limit(dir, "memory.max") > 0 && ran_out
}

fn level(dir: &Dir, mode: Mode) -> MemoryLevel {
    if mode != Mode::V2 {
        return MemoryLevel {
            limit_bytes: limit(dir, "memory.limit_in_bytes"),
            peak_bytes: number(dir, "memory.max_usage_in_bytes"),
            current_bytes: number(dir, "memory.usage_in_bytes"),
            ..MemoryLevel::default()
        };
    }
    let pressure = dir.read("memory.pressure").unwrap_or_default();
    MemoryLevel {
        limit_bytes: limit(dir, "memory.max"),
        peak_bytes: number(dir, "memory.peak"),
        current_bytes: number(dir, "memory.current"),
        pressure: pressure.lines().find(|line| line.starts_with("some ")).unwrap_or_default().to_owned(),
        ..MemoryLevel::default()
    }
}

/// A limit in bytes; 0 for none, and for what is no number.
fn limit(dir: &Dir, file: &str) -> u64 {
    Some(number(dir, file)).filter(|bytes| *bytes < UNLIMITED_BYTES).unwrap_or(0)
}

fn number(dir: &Dir, file: &str) -> u64 {
    dir.read(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::cgroup::Features;
    use crate::{CgroupRecord, Driver};

    fn cgroup(root: &Path, mode: Mode, name: &str) -> Cgroup {
        let key = if mode == Mode::V2 { "" } else { "memory" };
        let record = CgroupRecord {
            mode,
            driver: Driver::Fs,
            rootless: false,
            paths: [(key.to_owned(), root.join(name))].into(),
            unified_mount: root.to_owned(),
            unit: None,
        };
        Cgroup::from_record(&record, Features::default())
    }

    fn files(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn the_lowest_level_of_v2_that_ran_out_is_named() {
        let root = tempfile::tempdir().unwrap();
        let (pod, own) = (root.path().join("pods/p"), root.path().join("pods/p/c"));
        files(&root.path().join("pods"), &[("memory.max", "max\n")]);
        let some = "some avg10=1.50 avg60=0.00 avg300=0.00 total=7";
        let pressure = format!("{some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
        let counts =
            [("memory.current", "4096\n"), ("memory.peak", "65536\n"), ("memory.pressure", &pressure)];
        files(&pod, &counts);
        files(&pod, &[("memory.max", "65536\n"), ("memory.events.local", "max 3\noom 1\noom_kill 0\n")]);
        files(&own, &[("memory.max", "131072\n"), ("memory.events.local", "max 0\noom 0\noom_kill 1\n")]);
        let cgroup = cgroup(root.path(), Mode::V2, "pods/p/c");
        let expect = MemoryLevel {
            cgroup: "/pods/p".into(),
            limit_bytes: 65536,
            peak_bytes: 65536,
            current_bytes: 4096,
            pressure: some.into(),
        };
        assert_eq!(cgroup.exhausted_memory().unwrap(), expect);
        assert_eq!(cgroup.memory().unwrap().limit_bytes, 131_072);
        files(&pod, &[("memory.events.local", "oom 0\n")]);
        assert_eq!(cgroup.exhausted_memory().unwrap().cgroup, "/");
    }

    #[test]
    fn the_root_of_v1_is_the_machine() {
        let root = tempfile::tempdir().unwrap();
        let (top, own) = (root.path().join("memory"), root.path().join("memory/c"));
        let none = ("memory.limit_in_bytes", "9223372036854771712\n");
        files(&top, &[none, ("memory.failcnt", "0\n")]);
        files(&own, &[("memory.limit_in_bytes", "65536\n"), ("memory.failcnt", "2\n")]);
        files(&own, &[("memory.max_usage_in_bytes", "65536\n"), ("memory.usage_in_bytes", "0\n")]);
        let cgroup = cgroup(root.path(), Mode::V1, "memory/c");
        let found = cgroup.exhausted_memory().unwrap();
        assert_eq!((found.cgroup.as_str(), found.limit_bytes, found.peak_bytes), ("/c", 65536, 65536));
        files(&own, &[none]);
        let found = cgroup.exhausted_memory().unwrap();
        assert_eq!((found.cgroup.as_str(), found.limit_bytes), ("/", 0));
        assert_eq!(cgroup.memory().unwrap().limit_bytes, 0);
    }

    #[test]
    fn a_cgroup_that_is_gone_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(cgroup(root.path(), Mode::V2, "nobody").memory().is_err());
    }
}
