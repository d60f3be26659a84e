//! Arguments, environment and resource limits of a container's first process.

use std::collections::BTreeMap;

use gantry_types::oci::Rlimit;

use crate::Error;
use crate::error::at_most;
use crate::host::Host;
use crate::options::Ulimit;

/// Where programs are looked for if neither image nor request says so.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where a container sees the init that was asked for.
pub const INIT_PATH: &str = "/sbin/docker-init";

/// The most arguments, and the most variables.
const MAX_STRINGS: usize = 65_536;
/// The most bytes of all of them: what execve(2) takes at most, 3/4 of 8 MiB.
const MAX_STRING_BYTES: usize = 6 << 20;

/// Whether a process has a terminal, as far as its environment tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// It has none.
    None,
    /// It has one.
    Attached,
}

/// Entry point and command of a container, as they are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// Comes first.
    pub entrypoint: Vec<String>,
    /// Its arguments; the whole command where there is no entry point.
    pub cmd: Vec<String>,
}

impl Command {
    /// What is run.
    ///
    /// # Errors
    /// [`Error::NoCommand`].
    pub fn args(&self) -> Result<Vec<String>, Error> {
        let args: Vec<String> = self.entrypoint.iter().chain(&self.cmd).cloned().collect();
        if args.is_empty() { Err(Error::NoCommand) } else { Ok(args) }
    }
}

/// Docker's rules of what is run: a new entry point takes the image's command with it; an empty list says "as the image"
/// for the command and "none" for the entry point, and so does one empty string, which the command line sends.
pub fn process_args(image: &Command, entrypoint: Option<&[String]>, cmd: &[String]) -> Command {
    let own = entrypoint.unwrap_or_default();
    let mut command = Command { entrypoint: own.to_vec(), cmd: cmd.to_vec() };
    if own.is_empty() {
        if cmd.is_empty() {
            command.cmd.clone_from(&image.cmd);
        }
        if entrypoint.is_none() {
            command.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if command.entrypoint == [""] {
        command.entrypoint.clear();
    }
    command
}

fn key(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(key, _)| key)
}

/// The environment of a container: what was asked for, and of the image's what that does not name.
///
/// An entry without `=` stays, and takes the variable away in [`process_env`]; the order is dockerd's.
pub fn merge_env(image: &[String], user: &[String]) -> Vec<String> {
    let asked: std::collections::BTreeSet<&str> = user.iter().map(|entry| key(entry)).collect();
    let rest = image.iter().filter(|entry| !asked.contains(key(entry)));
    user.iter().chain(rest).cloned().collect()
}

/// The environment of a process: the engine's variables, in which those of `env` replace their likes or are appended;
/// an entry without `=` takes a variable away. HOME is the runtime's to find, in the container's own /etc/passwd.
pub fn process_env(env: &[String], hostname: &str, terminal: Terminal) -> Vec<String> {
    let mut defaults = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={hostname}")];
    if terminal == Terminal::Attached {
        defaults.push("TERM=xterm".to_owned());
    }
    overlay_env(defaults, env)
}

/// Variables of `changes` replace their likes in `base` or are appended; one without `=` takes its like away. This is
/// what an exec adds to the environment of its container.
pub fn overlay_env(base: Vec<String>, changes: &[String]) -> Vec<String> {
    let mut entries: Vec<Option<String>> = base.into_iter().map(Some).collect();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (place, entry) in entries.iter().flatten().enumerate() {
        places.insert(key(entry).to_owned(), place);
    }
    for change in changes {
        let place = places.get(key(change)).copied();
        match (change.contains('='), place) {
            (true, Some(place)) => entries[place] = Some(change.clone()),
            (true, None) => {
                places.insert(key(change).to_owned(), entries.len());
                entries.push(Some(change.clone()));
            }
            (false, Some(place)) => entries[place] = None,
            (false, None) => {}
        }
    }
    entries.into_iter().flatten().collect()
}

/// Checks that strings can be those of a process: no NUL, and not too much of it.
pub(crate) fn check_strings(field: &'static str, strings: &[String]) -> Result<(), Error> {
    at_most(field, strings.len(), MAX_STRINGS)?;
    at_most(
        "bytes of arguments or environment",
        strings.iter().map(|s| s.len() + 1).sum(),
        MAX_STRING_BYTES,
    )?;
    match strings.iter().find(|string| string.contains('\0')) {
        Some(string) => Err(Error::invalid(field, string, "it contains a zero byte")),
        None => Ok(()),
    }
}

/// Checks an environment: entries have a name, too.
pub(crate) fn check_env(env: &[String]) -> Result<(), Error> {
    check_strings("environment", env)?;
    match env.iter().find(|entry| key(entry).is_empty()) {
        Some(entry) => Err(Error::invalid("environment", entry, "the variable has no name")),
        None => Ok(()),
    }
}

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Resource limits in the words of the runtime: lowered to what the host can give.
pub(crate) fn rlimits(ulimits: &[Ulimit], host: &Host) -> Result<Vec<Rlimit>, Error> {
    let mut limits: Vec<Rlimit> = Vec::with_capacity(ulimits.len());
    at_most("ulimits", ulimits.len(), 4 * ULIMITS.len())?;
    for ulimit in ulimits {
        let name = ulimit.name.to_ascii_lowercase();
        let invalid = |reason: &str| Error::invalid("ulimit", &ulimit.name, reason);
        if !ULIMITS.contains(&name.as_str()) {
            return Err(invalid("there is no such limit"));
        }
        let (soft, hard) = (limit(ulimit.soft), limit(ulimit.hard));
        let (Some(soft), Some(hard)) = (soft, hard) else {
            return Err(invalid("a limit is a number, or -1"));
        };
        if soft > hard {
            return Err(invalid("the soft limit is above the hard one"));
        }
        let type_ = format!("RLIMIT_{}", name.to_ascii_uppercase());
        let ceiling = host.rlimit_ceilings.get(&type_).copied().unwrap_or(u64::MAX);
        // runc refuses a limit that is named twice, and setrlimit(2) would make the last one count.
        limits.retain(|other| other.type_ != type_);
        limits.push(Rlimit { soft: soft.min(ceiling), hard: hard.min(ceiling), type_ });
    }
    Ok(limits)
}

/// RLIM_INFINITY is all ones.
fn limit(value: i64) -> Option<u64> {
    if value == -1 { Some(u64::MAX) } else { u64::try_from(value).ok() }
}

/// The OOM score: what the host can give of it.
pub(crate) fn oom_score_adj(wanted: i32, host: &Host) -> Result<i32, Error> {
    if !(-1000..=1000).contains(&wanted) {
        return Err(Error::invalid("oom score adjustment", wanted, "it is from -1000 to 1000"));
    }
    Ok(wanted.max(host.oom_score_adj_floor.unwrap_or(-1000)))
}

#[cfg(test)]
mod tests;
