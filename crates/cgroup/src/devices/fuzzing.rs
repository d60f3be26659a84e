use std::collections::{BTreeMap, BTreeSet};

use gantry_types::oci::DeviceRule;

use super::program::compile;
use super::program::interpreter::{all_reachable, interpret};
use super::v1::{parse_list, transition};
use super::{Access, Kind, Policy, Rule, policy};

/// More rules, or more numbers in them, take too long to compare in full.
const MAX_RULES: usize = 64;
const MAX_NUMBERS: usize = 12;

pub(crate) fn rules(rules: &[DeviceRule]) {
    let Ok(asked) = policy(rules) else { return };
    if rules.len() > MAX_RULES {
        return;
    }
    decides_alike(&asked, &numbers(rules));
    let before = policy(&rules[..rules.len() / 2]).unwrap_or_default();
    is_written(&before, &asked);
}

/// The numbers of rules, and those next to them.
fn numbers(rules: &[DeviceRule]) -> BTreeSet<u32> {
    let named = rules.iter().flat_map(|rule| [rule.major, rule.minor]).flatten();
    let named = named.filter_map(|number| u32::try_from(number).ok());
    let near = named.flat_map(|number| [number, number.wrapping_add(1), number.wrapping_sub(1)]);
    [0, 5, u32::MAX].into_iter().chain(near).take(MAX_NUMBERS).collect()
}

/// The program answers as the policy does, and has nothing that the verifier would refuse.
fn decides_alike(policy: &Policy, numbers: &BTreeSet<u32>) {
    let program = compile(policy);
    assert!(all_reachable(&program), "{policy:?}");
    for kind in [Kind::Block, Kind::Char] {
        for (&major, &minor) in
            numbers.iter().flat_map(|major| numbers.iter().map(move |minor| (major, minor)))
        {
            for access in (1..=7).map(Access::from_bits) {
                assert_eq!(
                    interpret(&program, kind, major, minor, access),
                    policy.permits(kind, major, minor, access),
                    "{kind:?} {major}:{minor} {access} of {policy:?}"
                );
            }
        }
    }
}

/// The lines that lead a kernel of cgroup v1 from one policy to another do so.
fn is_written(from: &Policy, to: &Policy) {
    let mut default = from.allows_by_default();
    let mut exceptions: BTreeMap<_, _> = from.exceptions().collect();
    let done = transition(Some(from), to, |allow, line| {
        if line == "a" {
            default = allow;
            exceptions.clear();
            return Ok::<(), ()>(());
        }
        let one = parse_list(line).expect("a line reads as it is written");
        for (devices, access) in one.exceptions() {
            let had = exceptions.get(&devices).copied().unwrap_or(Access::NONE);
            let has = if allow == default { had.without(access) } else { had.or(access) };
            if has.is_none() {
                exceptions.remove(&devices)
            } else {
                exceptions.insert(devices, has)
            };
        }
        Ok(())
    });
    assert_eq!(done, Ok(()));
    assert_eq!(default, to.allows_by_default());
    assert_eq!(exceptions, to.exceptions().collect(), "{from:?} {to:?}");
}

/// `devices.list` of cgroup v1: what is read means what is written of it.
pub(crate) fn list(text: &str) {
    let Some(read) = parse_list(text) else { return };
    let mut all = Policy::deny_all();
    let reset = all.apply(&Rule::Reset { allow: read.allows_by_default() });
    assert_eq!(reset, Ok(()));
    is_written(&all, &read);
    is_written(&read, &all);
}
