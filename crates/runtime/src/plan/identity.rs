//! Who the process is and what it may do: the configuration's `process`, checked and in the kernel's terms.

use std::ffi::CString;

use gantry_sys::exec::StringArray;
use gantry_sys::sched::SchedAttr;
use gantry_types::oci::{Capabilities, Process};

use super::{c_string, string_array};
use crate::error::Error;
use crate::seccomp::Program;

/// How many arguments or variables a process may have: far beyond what execve(2) takes in all.
const MAX_STRINGS: usize = 1 << 20;
/// How many directories of `PATH` are tried; the kernel takes no variable that has room for so many.
const MAX_CANDIDATES: usize = 65_536;
/// The longest name of a file: limits.h, NAME_MAX.
const MAX_NAME: usize = 255;
/// How many supplementary groups: the kernel's NGROUPS_MAX.
const MAX_GROUPS: usize = 65_536;
/// The search path of a process that has none, as execvp(3) would use.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub use gantry_types::oci::CAPABILITIES;
pub(crate) const CAP_DAC_OVERRIDE: u64 = 1 << 1;
pub(crate) const CAP_SYS_ADMIN: u64 = 1 << 21;
pub(crate) const CAP_CHECKPOINT_RESTORE: u64 = 1 << 40;

/// Resource limits, by number: getrlimit(2).
const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// The five capability sets, a bit a capability.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CapabilityPlan {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

/// A resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RlimitPlan {
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// What becomes of the process just before its program runs.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    pub(crate) args: StringArray,
    pub(crate) env: StringArray,
    /// Whether `HOME` is to be taken from the container's user database.
    pub(crate) needs_home: bool,
    pub(crate) cwd: CString,
    /// Paths to try for the program, in their order.
    pub(crate) candidates: Vec<CString>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `None` where the user namespace denies setgroups(2), or the original ones are kept.
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) umask: Option<u32>,
    /// `None` keeps what the process has.
    pub(crate) capabilities: Option<CapabilityPlan>,
    /// Names of capabilities that nobody here knows.
    pub(crate) unknown_capabilities: Vec<String>,
    pub(crate) no_new_privileges: bool,
    pub(crate) rlimits: Vec<RlimitPlan>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) scheduler: Option<SchedAttr>,
    pub(crate) io_priority: Option<(i32, i32)>,
    pub(crate) personality: Option<u64>,
    pub(crate) memory_policy: Option<(i32, Vec<u64>)>,
    pub(crate) final_affinity: Option<Vec<u64>>,
    pub(crate) apparmor: Option<CString>,
    pub(crate) selinux: Option<CString>,
    pub(crate) keyring: Option<CString>,
    pub(crate) seccomp: Option<Program>,
    pub(crate) terminal: bool,
    pub(crate) console_size: Option<(u16, u16)>,
    /// Whether the caller relays the terminal itself: to a terminal, which adds the carriage returns, or to a file or
    /// pipe, which wants none.
    pub(crate) relayed: bool,
    /// Descriptors from 3 on that the program inherits.
    pub(crate) preserve_fds: u32,
}

impl ProcessPlan {
    /// Tells what of the process was passed over.
    pub(crate) fn tell(&self, notices: &crate::notice::Notices) {
        if !self.unknown_capabilities.is_empty() {
            let names = self.unknown_capabilities.join(" ");
            // In the words of runc, which tests of engines look for.
            notices.warn(format_args!("ignoring unknown or unavailable capabilities: [{names}]"));
        }
    }

    /// Checks the configuration's process. Seccomp, keyring and descriptors are the caller's to add.
    pub(crate) fn prepare(process: &Process) -> Result<Self, Error> {
        if process.args.is_empty() {
            return Err(Error::config("process.args", "must not be empty"));
        }
        for (field, len) in [("process.args", process.args.len()), ("process.env", process.env.len())] {
            if len > MAX_STRINGS {
                return Err(Error::config(field, format!("{len} entries are more than {MAX_STRINGS}")));
            }
        }
        if !process.cwd.starts_with('/') {
            return Err(Error::config(
                "process.cwd",
                format!("Cwd must be an absolute path: {:?}", process.cwd),
            ));
        }
        let (capabilities, unknown_capabilities) =
            process.capabilities.as_ref().map(capability_plan).unwrap_or_default();
        let size = process.console_size.as_ref().filter(|_| process.terminal);
        let env = environment(&process.env)?;
        Ok(ProcessPlan {
            args: string_array(&process.args, "process.args")?,
            needs_home: !env.iter().any(|entry| entry.starts_with("HOME=") && entry.len() > 5),
            env: string_array(&env, "process.env")?,
            cwd: c_string(&process.cwd, "process.cwd")?,
            candidates: candidates(&process.args[0], &process.env)?,
            uid: valid_id(process.user.uid, "process.user.uid")?,
            gid: valid_id(process.user.gid, "process.user.gid")?,
            groups: Some(groups(&process.user.additional_gids)?),
            umask: process.user.umask.map(|mask| mask & 0o777),
            capabilities: Some(capabilities),
            unknown_capabilities,
            no_new_privileges: process.no_new_privileges,
            rlimits: rlimits(process)?,
            oom_score_adj: oom_score(process.oom_score_adj)?,
            scheduler: process.scheduler.as_ref().map(super::super::sched::scheduler).transpose()?,
            io_priority: process.io_priority.as_ref().map(super::super::sched::io_priority).transpose()?,
            personality: None,
            memory_policy: None,
            final_affinity: None,
            apparmor: label(&process.apparmor_profile, "process.apparmorProfile")?,
            selinux: label(&process.selinux_label, "process.selinuxLabel")?,
            keyring: None,
            seccomp: None,
            terminal: process.terminal,
            relayed: false,
            console_size: size.map(|size| (size.height, size.width)),
            preserve_fds: 0,
        })
    }
}

/// The environment with the later of two equal names, as in Go's `os/exec`; order is kept.
fn environment(entries: &[String]) -> Result<Vec<String>, Error> {
    let name = |entry: &str| entry.find('=').filter(|&at| at > 0).map(|at| entry[..at].to_owned());
    let mut last = std::collections::HashMap::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let Some(name) = name(entry) else {
            return Err(Error::config(
                format!("process.env[{index}]"),
                format!("invalid environment variable {entry:?}: missing '='"),
            ));
        };
        last.insert(name, index);
    }
    let mut kept: Vec<usize> = last.into_values().collect();
    kept.sort_unstable();
    Ok(kept.into_iter().map(|index| entries[index].clone()).collect())
}

/// Where the program may be, by execvp(3)'s rules and the process's own `PATH`.
fn candidates(program: &str, env: &[String]) -> Result<Vec<CString>, Error> {
    if program.is_empty() {
        return Err(Error::config("process.args[0]", "must not be empty"));
    }
    if program.contains('/') {
        return Ok(vec![c_string(program, "process.args[0]")?]);
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let count = path.split(':').count();
    if count > MAX_CANDIDATES {
        let reason = format!("PATH has {count} directories, more than {MAX_CANDIDATES}");
        return Err(Error::config("process.env", reason));
    }
    // No file has a longer name: two directories are as good as all to find that out.
    let tried = if program.len() > MAX_NAME { count.min(2) } else { count };
    path.split(':')
        .take(tried)
        .map(|dir| {
            let dir = if dir.is_empty() { "." } else { dir };
            c_string(&format!("{}/{program}", dir.trim_end_matches('/')), "process.args[0]")
        })
        .collect()
}

/// 4294967295 means "do not change" to the kernel, and is nobody's id (CVE-2024-40635 is about larger ones, which the
/// type refuses).
fn valid_id(id: u32, field: &str) -> Result<u32, Error> {
    if id == u32::MAX { Err(Error::config(field, format!("{id} is not an id"))) } else { Ok(id) }
}

fn groups(gids: &[u32]) -> Result<Vec<u32>, Error> {
    const FIELD: &str = "process.user.additionalGids";
    if gids.len() > MAX_GROUPS {
        return Err(Error::config(FIELD, format!("{} groups are more than {MAX_GROUPS}", gids.len())));
    }
    gids.iter().map(|&gid| valid_id(gid, FIELD)).collect()
}

/// The number of a capability's name.
pub(crate) fn capability(name: &str) -> Option<u32> {
    CAPABILITIES.iter().position(|known| *known == name).map(|number| number as u32)
}

/// The sets, and the names that are unknown, which are passed over as in runc: a newer engine may know more than we.
fn capability_plan(caps: &Capabilities) -> (CapabilityPlan, Vec<String>) {
    let mut unknown = Vec::new();
    let mut bits = |names: &[String]| {
        names.iter().fold(0, |set, name| match capability(name) {
            Some(number) => set | 1 << number,
            None => {
                unknown.push(name.clone());
                set
            }
        })
    };
    let plan = CapabilityPlan {
        bounding: bits(&caps.bounding),
        effective: bits(&caps.effective),
        permitted: bits(&caps.permitted),
        inheritable: bits(&caps.inheritable),
        ambient: bits(&caps.ambient),
    };
    unknown.sort_unstable();
    unknown.dedup();
    (plan, unknown)
}

fn rlimits(process: &Process) -> Result<Vec<RlimitPlan>, Error> {
    let mut seen = 0u32;
    process
        .rlimits
        .iter()
        .enumerate()
        .map(|(index, limit)| {
            let field = |name: &str| format!("process.rlimits[{index}].{name}");
            let Some(resource) = RLIMITS.iter().position(|name| *name == limit.type_) else {
                return Err(Error::config(field("type"), format!("invalid rlimit type {:?}", limit.type_)));
            };
            if seen & 1 << resource != 0 {
                return Err(Error::config(field("type"), format!("duplicate rlimit {}", limit.type_)));
            }
            seen |= 1 << resource;
            if limit.soft > limit.hard {
                return Err(Error::config(
                    field("soft"),
                    format!("{} is above the hard limit {}", limit.soft, limit.hard),
                ));
            }
            Ok(RlimitPlan { resource: resource as u32, soft: limit.soft, hard: limit.hard })
        })
        .collect()
}

fn oom_score(value: Option<i32>) -> Result<Option<i32>, Error> {
    match value {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(Error::config("process.oomScoreAdj", format!("{score} is not between -1000 and 1000")))
        }
        value => Ok(value),
    }
}

fn label(text: &str, field: &str) -> Result<Option<CString>, Error> {
    // A line break would end the label and begin another command to the kernel.
    if text.contains('\n') {
        return Err(Error::config(field, "contains a line break"));
    }
    if text.is_empty() { Ok(None) } else { c_string(text, field).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_searched_along_the_processes_path() {
        let env = vec!["PATH=/a/:".to_owned(), "X=1".to_owned()];
        assert_eq!(candidates("p", &env).unwrap(), [c"/a/p".to_owned(), c"./p".to_owned()]);
        assert_eq!(candidates("./p", &env).unwrap(), [c"./p".to_owned()]);
        assert!(candidates("", &env).is_err());
    }

    #[test]
    fn a_search_path_cannot_multiply_a_name() {
        let path = |count: usize| vec![format!("PATH={}", ":".repeat(count))];
        assert_eq!(candidates(&"p".repeat(1 << 20), &path(1000)).unwrap().len(), 2);
        assert_eq!(candidates("p", &path(1000)).unwrap().len(), 1001);
        assert!(candidates("p", &path(MAX_CANDIDATES)).is_err());
    }

    #[test]
    fn the_last_of_equal_variables_stays() {
        let env: Vec<String> = ["A=1", "B=2", "A=3"].map(str::to_owned).to_vec();
        assert_eq!(environment(&env).unwrap(), ["B=2", "A=3"]);
        assert!(environment(&["=x".to_owned()]).is_err());
        assert!(environment(&["x".to_owned()]).is_err());
    }

    #[test]
    fn unknown_capabilities_are_named_once() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let caps = Capabilities {
            bounding: names(&["CAP_NEW", "CAP_KILL"]),
            effective: names(&["CAP_NEW", "cap_kill"]),
            ..Capabilities::default()
        };
        let (plan, unknown) = capability_plan(&caps);
        assert_eq!((plan.bounding, plan.effective), (1 << 5, 0));
        assert_eq!(unknown, ["CAP_NEW", "cap_kill"]);
    }

    #[test]
    fn a_home_that_is_overridden_by_nothing_is_needed() {
        let needs = |env: &[&str]| {
            let env = env.iter().map(|entry| (*entry).to_owned()).collect();
            let process =
                Process { args: vec!["x".to_owned()], cwd: "/".to_owned(), env, ..Process::default() };
            ProcessPlan::prepare(&process).unwrap().needs_home
        };
        assert!(needs(&["HOME=/override", "HOME="]) && needs(&[]));
        assert!(!needs(&["HOME=", "HOME=/override"]));
    }

    #[test]
    fn capability_numbers_are_the_kernels() {
        assert_eq!(capability("CAP_SYS_ADMIN"), Some(21));
        assert_eq!(capability("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(capability("CAP_NOPE"), None);
    }
}
