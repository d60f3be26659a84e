//! From the strings of a profile to checked values: actions, flags, architectures, rules.

use super::arch::Arch;
use super::error::SeccompError;
use super::syscalls::Syscall;
use super::{ARGUMENTS, MAX_CONDITIONS, MAX_NAMES, MAX_RULES};
use gantry_sys::seccomp::{action, flag};
use gantry_types::oci::{Seccomp, SyscallArg, SyscallRule};
use std::ops::Range;

/// The names of actions, with the kernel's values.
pub(super) const ACTIONS: [(&str, u32); 9] = [
    ("SCMP_ACT_ALLOW", action::ALLOW),
    ("SCMP_ACT_ERRNO", action::ERRNO),
    ("SCMP_ACT_KILL", action::KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", action::KILL_PROCESS),
    ("SCMP_ACT_KILL_THREAD", action::KILL_THREAD),
    ("SCMP_ACT_LOG", action::LOG),
    ("SCMP_ACT_NOTIFY", action::NOTIFY),
    ("SCMP_ACT_TRACE", action::TRACE),
    ("SCMP_ACT_TRAP", action::TRAP),
];

/// The names of comparisons.
pub(super) const OPERATORS: [(&str, Operator); 7] = [
    ("SCMP_CMP_EQ", Operator::Equal),
    ("SCMP_CMP_GE", Operator::GreaterEqual),
    ("SCMP_CMP_GT", Operator::Greater),
    ("SCMP_CMP_LE", Operator::LessEqual),
    ("SCMP_CMP_LT", Operator::Less),
    ("SCMP_CMP_MASKED_EQ", Operator::MaskedEqual),
    ("SCMP_CMP_NE", Operator::NotEqual),
];

/// The names of flags. As in runc, `TSYNC` is accepted and means nothing: the process that loads the filter has one
/// thread.
pub(super) const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", flag::SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_LOG", flag::LOG),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", flag::WAIT_KILLABLE_RECV),
];

/// The empty set of conditions in [`Policy::conditions`].
const UNCONDITIONAL: Range<usize> = 0..1;

const EPERM: u32 = 1;
/// The kernel turns a greater errno into this one.
const MAX_ERRNO: u32 = 4095;
/// What fits into the data of an action.
const MAX_DATA: u32 = 0xffff;

/// A comparison of an argument with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    MaskedEqual,
}

/// One condition: `argument & mask <operator> value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) operator: Operator,
    pub(super) mask: u64,
    pub(super) value: u64,
}

/// One action for one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) syscall: Syscall,
    /// The kernel's value, with its data.
    pub(super) action: u32,
    /// An index into [`Policy::conditions`].
    pub(super) conditions: usize,
}

/// A checked profile.
#[derive(Debug)]
pub(super) struct Policy {
    /// The action of calls that no rule matches, with its data.
    pub(super) default: u32,
    /// All rules but those that repeat the default, in the profile's order.
    pub(super) rules: Vec<Rule>,
    /// Sets of conditions which must all hold, in the order of the arguments, one for each argument at most.
    pub(super) conditions: Vec<Vec<Condition>>,
    /// Every known call that the profile mentions.
    pub(super) mentioned: Vec<Syscall>,
    /// The native architecture first, and without those of the other byte order, which its kernel cannot run.
    pub(super) architectures: Vec<Arch>,
    /// For seccomp(2).
    pub(super) flags: u32,
    /// Whether a notification descriptor is needed.
    pub(super) listener: bool,
}

impl Policy {
    /// Checks `profile` in full before it drops anything of it.
    pub(super) fn new(profile: &Seccomp, native: Arch) -> Result<Policy, SeccompError> {
        check_limits(profile)?;
        let default = parse_action(&profile.default_action, profile.default_errno_ret)?;
        if default == action::NOTIFY {
            return Err(SeccompError::Notify { place: "as the default action" });
        }
        let mut policy = Policy {
            default,
            rules: Vec::new(),
            conditions: vec![Vec::new()],
            mentioned: Vec::new(),
            architectures: parse_architectures(&profile.architectures, native)?,
            flags: parse_flags(profile.flags.as_deref())?,
            listener: false,
        };
        for rule in &profile.syscalls {
            policy.add(rule)?;
        }
        if policy.listener {
            policy.flags |= flag::NEW_LISTENER;
        } else {
            // Without a listener it means nothing, and the kernel refuses it.
            policy.flags &= !flag::WAIT_KILLABLE_RECV;
        }
        Ok(policy)
    }

    fn add(&mut self, rule: &SyscallRule) -> Result<(), SeccompError> {
        let action = parse_action(&rule.action, rule.errno_ret)?;
        let first = self.conditions.len();
        self.conditions.extend(parse_conditions(&rule.args)?);
        let sets = if first == self.conditions.len() { UNCONDITIONAL } else { first..self.conditions.len() };
        for name in &rule.names {
            if name.is_empty() {
                return Err(SeccompError::EmptyName);
            }
            if action == action::NOTIFY {
                // The descriptor has to leave the process after the filter is in force.
                if name == "write" {
                    return Err(SeccompError::Notify { place: "for the write syscall" });
                }
                self.listener = true;
            }
            let Some(syscall) = Syscall::from_name(name) else { continue };
            self.mentioned.push(syscall);
            if action != self.default {
                self.rules.extend(sets.clone().map(|conditions| Rule { syscall, action, conditions }));
            }
        }
        Ok(())
    }
}

/// The profile's calls that no architecture has; they are skipped, as in runc, and worth a line in a debug log.
pub fn unknown_syscalls(profile: &Seccomp) -> impl Iterator<Item = &str> {
    let names = profile.syscalls.iter().flat_map(|rule| &rule.names);
    names.map(String::as_str).filter(|name| Syscall::from_name(name).is_none())
}

fn check_limits(profile: &Seccomp) -> Result<(), SeccompError> {
    let check = |what, count, limit| {
        if count > limit { Err(SeccompError::TooMany { what, count, limit }) } else { Ok(()) }
    };
    let rules = &profile.syscalls;
    check("rules", rules.len(), MAX_RULES)?;
    check("system call names", names(profile), MAX_NAMES)?;
    check("conditions", conditions(profile), MAX_CONDITIONS)
}

/// How many names the profile has.
pub(super) fn names(profile: &Seccomp) -> usize {
    profile.syscalls.iter().map(|rule| rule.names.len()).sum()
}

/// How many conditions it has, counted for each call that they apply to.
pub(super) fn conditions(profile: &Seccomp) -> usize {
    profile.syscalls.iter().map(|rule| rule.names.len().max(1).saturating_mul(rule.args.len())).sum()
}

fn parse_action(name: &str, errno: Option<u32>) -> Result<u32, SeccompError> {
    let action = find("action", &ACTIONS, name)?;
    let max = match action {
        action::ERRNO => MAX_ERRNO,
        action::TRACE => MAX_DATA,
        // As in runc, the others have no use for it.
        _ => return Ok(action),
    };
    match errno.unwrap_or(EPERM) {
        data if data <= max => Ok(action | data),
        value => Err(SeccompError::ErrnoOutOfRange { value, max }),
    }
}

pub(super) fn parse_flags(flags: Option<&[String]>) -> Result<u32, SeccompError> {
    // As in runc and crun: a profile that says nothing about flags does not want the mitigation of speculative
    // store bypass, which the kernel would turn on for every filtered process.
    let Some(flags) = flags else { return Ok(flag::SPEC_ALLOW) };
    flags.iter().try_fold(0, |bits, name| Ok(bits | find("flag", &FLAGS, name)?))
}

fn parse_architectures(names: &[String], native: Arch) -> Result<Vec<Arch>, SeccompError> {
    let mut architectures = vec![native];
    for name in names {
        let arch = Arch::from_name(name).ok_or_else(|| {
            SeccompError::unknown("architecture", name, Arch::all().map(Arch::name).collect())
        })?;
        if arch.endian() == native.endian() && !architectures.contains(&arch) {
            architectures.push(arch);
        }
    }
    Ok(architectures)
}

/// Reads the conditions of a rule as sets that must hold in full, of which any may hold.
///
/// A rule normally is one set. If two of its conditions are on the same argument, each one is a set of its own: what
/// runc did before libseccomp could express several conditions, and what profiles have relied on since.
fn parse_conditions(arguments: &[SyscallArg]) -> Result<Vec<Vec<Condition>>, SeccompError> {
    let mut seen = [false; ARGUMENTS];
    let mut repeated = false;
    let mut conditions = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let operator = find("operator", &OPERATORS, &argument.op)?;
        let (mask, value) = match operator {
            // libseccomp ignores the bits of the value that are outside of the mask.
            Operator::MaskedEqual => (argument.value, argument.value_two & argument.value),
            _ => (u64::MAX, argument.value),
        };
        let index = argument.index;
        let slot = seen.get_mut(index as usize).ok_or(SeccompError::ArgumentIndex { index })?;
        repeated |= std::mem::replace(slot, true);
        conditions.push(Condition { argument: index as u8, operator, mask, value });
    }
    if conditions.is_empty() {
        return Ok(Vec::new());
    }
    if repeated {
        return Ok(conditions.into_iter().map(|condition| vec![condition]).collect());
    }
    conditions.sort_by_key(|condition| condition.argument);
    Ok(vec![conditions])
}

fn find<T: Copy>(what: &'static str, table: &[(&'static str, T)], name: &str) -> Result<T, SeccompError> {
    match table.iter().find(|(candidate, _)| *candidate == name) {
        Some((_, value)) => Ok(*value),
        None => Err(SeccompError::unknown(what, name, table.iter().map(|(name, _)| *name).collect())),
    }
}
