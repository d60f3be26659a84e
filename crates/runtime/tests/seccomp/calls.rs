//! Which calls to ask a program about.

use crate::model::X32_BIT;
use gantry_runtime::seccomp::{Arch, syscall_number};
use gantry_types::oci::Seccomp;
use std::collections::BTreeSet;

/// Calls on and next to everything that the profile mentions, by architecture and number.
pub(crate) fn calls(profile: &Seccomp, arches: &[Arch]) -> Vec<(u32, u32, Vec<[u64; 6]>)> {
    let mut values = BTreeSet::from([0, 1, u64::MAX, 1 << 32]);
    for arg in profile.syscalls.iter().flat_map(|rule| &rule.args) {
        for value in [arg.value, arg.value_two, arg.value & arg.value_two] {
            values.extend([value, value.wrapping_add(1), value.wrapping_sub(1)]);
            values.extend([value ^ (1 << 32), value & 0xffff_ffff]);
        }
    }
    let values: Vec<u64> = values.into_iter().collect();
    let mut seed = 1u64;
    let mut pick = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        values[(seed >> 33) as usize % values.len()]
    };
    let names = profile.syscalls.iter().flat_map(|rule| &rule.names).map(String::as_str);
    let names: BTreeSet<&str> = names.chain(["socketcall", "ipc"]).collect();
    let mut calls = Vec::new();
    for arch in arches {
        for number in names.iter().filter_map(|name| syscall_number(name, *arch)) {
            // Multiplexed calls have small numbers in their first argument.
            let small = [1, 3, 21].map(|first| [first, pick(), pick(), 0, 0, 0]);
            let arguments = (0..9).map(|_| [pick(), pick(), pick(), 0, 0, 0]);
            calls.push((arch.audit(), number, arguments.chain(small).collect()));
            calls.push((arch.audit(), number + 1, vec![[0; 6]]));
            calls.push((arch.audit(), number.saturating_sub(1), vec![[0; 6]]));
        }
        for number in [0, 500, X32_BIT, X32_BIT + 600, 1 << 31, 3 << 30, u32::MAX - 1, u32::MAX] {
            calls.push((arch.audit(), number, vec![[0; 6]]));
        }
    }
    calls
}
