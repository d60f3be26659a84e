//! Profiles in docker's format: read, and reduced to what holds for one container.

use std::str::FromStr;

use gantry_types::oci::{Seccomp, SyscallArg, SyscallRule, from_json};
use serde::{Deserialize, Deserializer};

use super::{Conditions, default};
use crate::host::KernelVersion;

/// The largest profile, in bytes.
pub const MAX_PROFILE_BYTES: usize = 1 << 20;
/// The most rules of a profile.
const MAX_RULES: usize = 4096;
/// The most names of all rules together.
const MAX_NAMES: usize = 65_536;
/// System calls have so many arguments at most.
const MAX_ARGS: usize = 6;

const ACTIONS: [&str; 9] = [
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
];

/// Why a profile is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Larger than [`MAX_PROFILE_BYTES`].
    #[error("{0} bytes are more than {MAX_PROFILE_BYTES}")]
    TooLarge(usize),
    /// More of something than there may be.
    #[error("{count} {what} are more than {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Not JSON of this shape.
    #[error("it is not JSON of a profile")]
    Json(#[source] serde_json::Error),
    /// Two fields that exclude each other.
    #[error("both {0:?} and {1:?} are specified, use either of them")]
    Both(&'static str, &'static str),
    /// An action that no kernel has.
    #[error("unknown action: {0:?}")]
    Action(String),
    /// A kernel version that is none.
    #[error("invalid kernel version {0:?}: it is as in \"4.8\"")]
    Kernel(String),
    /// A rule for nothing.
    #[error("rule {0} has no name of a system call")]
    Nameless(usize),
    /// The kernel has no filters.
    #[error("the kernel has no seccomp filters, so a profile cannot be used")]
    NoSeccomp,
}

/// A profile in docker's format.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    #[serde(default, deserialize_with = "nullable")]
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "nullable")]
    architectures: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "nullable")]
    listener_path: String,
    #[serde(default, deserialize_with = "nullable")]
    listener_metadata: String,
    #[serde(default, deserialize_with = "nullable")]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    #[serde(default, deserialize_with = "nullable")]
    architecture: String,
    #[serde(default, deserialize_with = "nullable")]
    sub_architectures: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    names: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "nullable")]
    args: Vec<SyscallArg>,
    #[serde(default, deserialize_with = "nullable")]
    includes: Filter,
    #[serde(default, deserialize_with = "nullable")]
    excludes: Filter,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default, deserialize_with = "nullable")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    arches: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    min_kernel: String,
}

/// `null` is what Go writes for an empty list.
fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), Error> {
    if count > limit { Err(Error::TooMany { what, count, limit }) } else { Ok(()) }
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// [`Error`]: everything that is wrong whatever the container is.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_PROFILE_BYTES {
            return Err(Error::TooLarge(text.len()));
        }
        let profile: Self = from_json(text.as_bytes()).map_err(Error::Json)?;
        if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
            return Err(Error::Both("architectures", "archMap"));
        }
        at_most("rules", profile.syscalls.len(), MAX_RULES)?;
        let names = profile.syscalls.iter().map(|rule| rule.names.len().max(1)).sum();
        at_most("names of system calls", names, MAX_NAMES)?;
        if !profile.is_none() {
            check_action(&profile.default_action)?;
        }
        for (index, rule) in profile.syscalls.iter().enumerate() {
            rule.check(index)?;
        }
        Ok(profile)
    }

    /// A profile that says nothing filters nothing.
    fn is_none(&self) -> bool {
        self.default_action.is_empty() && self.syscalls.is_empty()
    }

    /// What holds for one container; `None` if that is no filter at all.
    ///
    /// # Errors
    /// A condition that cannot be understood.
    pub fn filter(&self, conditions: &Conditions<'_>) -> Result<Option<Seccomp>, Error> {
        if self.is_none() {
            return Ok(None);
        }
        let mut architectures = self.architectures.clone();
        let own = default::architecture(conditions.architecture);
        if let Some(found) = self.arch_map.iter().find(|known| Some(known.architecture.as_str()) == own) {
            architectures.push(found.architecture.clone());
            architectures.extend(found.sub_architectures.iter().cloned());
        }
        let mut syscalls = Vec::new();
        for rule in &self.syscalls {
            if rule.holds(conditions)? {
                syscalls.push(rule.translate());
            }
        }
        Ok(Some(Seccomp {
            default_action: self.default_action.clone(),
            default_errno_ret: self.default_errno_ret,
            architectures,
            flags: self.flags.clone(),
            listener_path: self.listener_path.clone(),
            listener_metadata: self.listener_metadata.clone(),
            syscalls,
        }))
    }
}

fn check_action(action: &str) -> Result<(), Error> {
    if ACTIONS.contains(&action) { Ok(()) } else { Err(Error::Action(action.to_owned())) }
}

impl Rule {
    fn check(&self, index: usize) -> Result<(), Error> {
        check_action(&self.action)?;
        match (self.name.is_empty(), self.names.is_empty()) {
            (false, false) => return Err(Error::Both("name", "names")),
            (true, true) => return Err(Error::Nameless(index)),
            _ => {}
        }
        at_most("conditions of a rule", self.args.len(), MAX_ARGS)?;
        for filter in [&self.includes, &self.excludes] {
            filter.kernel()?;
        }
        Ok(())
    }

    fn holds(&self, conditions: &Conditions<'_>) -> Result<bool, Error> {
        let has = |name: &String| conditions.capabilities.contains(name);
        let here = |names: &[String]| names.iter().any(|name| name == conditions.architecture);
        let since = |kernel: Option<KernelVersion>| kernel.map(|kernel| conditions.kernel >= kernel);
        let (without, with) = (&self.excludes, &self.includes);
        let excluded = here(&without.arches)
            || without.caps.iter().any(has)
            || since(without.kernel()?).unwrap_or(false);
        let included = (with.arches.is_empty() || here(&with.arches))
            && with.caps.iter().all(has)
            && since(with.kernel()?).unwrap_or(true);
        Ok(included && !excluded)
    }

    fn translate(&self) -> SyscallRule {
        let names = if self.name.is_empty() { self.names.clone() } else { vec![self.name.clone()] };
        SyscallRule { names, action: self.action.clone(), errno_ret: self.errno_ret, args: self.args.clone() }
    }
}

impl Filter {
    fn kernel(&self) -> Result<Option<KernelVersion>, Error> {
        let text = self.min_kernel.as_str();
        let invalid = || Error::Kernel(text.chars().take(64).collect());
        let digits = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        match text.split_once('.') {
            None if text.is_empty() => Ok(None),
            Some((major, minor)) if digits(major) && digits(minor) => {
                KernelVersion::from_str(text).map(Some).map_err(|_| invalid())
            }
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str, capabilities: &[&str]) -> Result<Option<Seccomp>, Error> {
        let capabilities: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
        let kernel = KernelVersion { major: 5, minor: 4 };
        Profile::parse(text)?.filter(&Conditions {
            capabilities: &capabilities,
            kernel,
            architecture: "amd64",
        })
    }

    fn names(rules: &str, capabilities: &[&str]) -> Vec<String> {
        let text = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#);
        let filter = filter(&text, capabilities).unwrap().unwrap();
        filter.syscalls.into_iter().flat_map(|rule| rule.names).collect()
    }

    fn rule(name: &str, conditions: &str) -> String {
        format!(r#"{{"names":["{name}"],"action":"SCMP_ACT_ALLOW",{conditions}}}"#)
    }

    #[test]
    fn rules_hold_on_their_conditions() {
        let check =
            |conditions: &str, capabilities: &[&str]| !names(&rule("a", conditions), capabilities).is_empty();
        assert!(check(r#""args":null,"includes":{},"excludes":null"#, &[]));
        assert!(check(r#""includes":{"caps":["A","B"]}"#, &["A", "B"]));
        assert!(!check(r#""includes":{"caps":["A","B"]}"#, &["A"]));
        assert!(!check(r#""excludes":{"caps":["A","B"]}"#, &["B"]));
        assert!(check(r#""excludes":{"caps":["A","B"]}"#, &["C"]));
        assert!(check(r#""includes":{"arches":["x86","amd64"]}"#, &[]));
        assert!(!check(r#""includes":{"arches":["x86"]}"#, &[]));
        assert!(!check(r#""excludes":{"arches":["amd64"]}"#, &[]));
        assert!(check(r#""includes":{"minKernel":"5.4"}"#, &[]));
        assert!(!check(r#""includes":{"minKernel":"5.10"}"#, &[]));
        assert!(!check(r#""excludes":{"minKernel":"4.8"}"#, &[]));
        assert!(!check(r#""includes":{"caps":["A"]},"excludes":{"caps":["A"]}"#, &["A"]));
    }

    #[test]
    fn old_profiles_have_one_name_a_rule_and_architectures() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],
            "syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW","args":[]}]}"#;
        let filter = filter(text, &[]).unwrap().unwrap();
        assert_eq!(
            (filter.architectures, filter.syscalls[0].names.clone()),
            (vec!["SCMP_ARCH_X86".into()], vec!["read".into()])
        );
    }

    #[test]
    fn the_map_gives_this_machines_architectures() {
        let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[
            {"architecture":"SCMP_ARCH_ARM","subArchitectures":null},
            {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}]}"#;
        assert_eq!(filter(text, &[]).unwrap().unwrap().architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    }

    #[test]
    fn a_profile_that_says_nothing_is_no_filter() {
        assert_eq!(filter("{}", &[]).unwrap(), None);
    }

    #[test]
    fn profiles_that_mean_nothing_are_refused() {
        let allow = r#"{"names":["a"],"action":"SCMP_ACT_ALLOW"}"#;
        for bad in [
            "",
            "[]",
            "null",
            "{} {}",
            r#"{"defaultAction":"ALLOW"}"#,
            &format!(r#"{{"syscalls":[{allow}]}}"#),
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["a"],"archMap":[{}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[null]}"#,
        ] {
            assert!(filter(bad, &[]).is_err(), "{bad}");
        }
        for kernel in ["4", "4.8.1", "a.b", "-1.2", "4.", "1000.1", "4.8-rc1"] {
            let text = rule("a", &format!(r#""includes":{{"minKernel":"{kernel}"}}"#));
            let text = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{text}]}}"#);
            assert!(matches!(filter(&text, &[]), Err(Error::Kernel(_))), "{kernel}");
        }
    }

    #[test]
    fn profiles_have_limits() {
        let rules = vec![r#"{"name":"a","action":"SCMP_ACT_ALLOW"}"#; MAX_RULES + 1].join(",");
        let text = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#);
        assert!(matches!(filter(&text, &[]), Err(Error::TooMany { .. })));
        assert!(matches!(filter(&" ".repeat(MAX_PROFILE_BYTES + 1), &[]), Err(Error::TooLarge(_))));
        let args = ["{}"; MAX_ARGS + 1].join(",");
        let text = rule("a", &format!(r#""args":[{args}]"#));
        assert!(
            filter(&format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{text}]}}"#), &[]).is_err()
        );
    }
}
