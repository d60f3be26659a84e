//! What happens to calls that no rule mentions, by number.
//!
//! | numbers | answer |
//! |---|---|
//! | up to the newest that the profile mentions | the default action |
//! | above | `ENOSYS`, unless the default lets calls through |
//! | of the other ABI of x86_64's architecture, if the profile does not name it | the thread is killed |
//!
//! The second line is runc's: programs probe for new calls and fall back on `ENOSYS`, but not on the `EPERM` of a
//! profile that is older than the call.

use super::arch::{Arch, X32_BIT};
use super::profile::Policy;
use gantry_sys::seccomp::action;

/// The part of an answer that is not data: `SECCOMP_RET_ACTION_FULL`.
const ACTION_BITS: u32 = 0xffff_0000;

/// Where ARM's own calls are, of which no newer ones come.
const ARM_PRIVATE: u32 = 0x000f_0000;

/// Half of the numbers of x86_64's architecture, which no ABI uses.
const BIT_31: u32 = 1 << 31;

/// What happens to the calls of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// The default action.
    Default,
    /// `ENOSYS`.
    Unknown,
    /// The answer to a foreign ABI.
    Foreign,
}

/// Zones by their first number, in order, from 0.
pub(super) type Zones = Vec<(u32, Zone)>;

/// The zones of an ABI that has an architecture of its own.
pub(super) fn zones(policy: &Policy, arch: Arch) -> Zones {
    let Some(newest) = Newest::of(policy, arch) else { return vec![(0, Zone::Default)] };
    let mut zones = match arch {
        // Numbers that do not fit into the instruction arrive as 0 if the kernel does not know them.
        Arch::S390 | Arch::S390X => vec![(0, Zone::Unknown), (1, Zone::Default)],
        _ => vec![(0, Zone::Default)],
    };
    zones.push((newest.common + 1, Zone::Unknown));
    if let Some(private) = newest.private {
        zones.extend([(ARM_PRIVATE, Zone::Default), (private + 1, Zone::Unknown)]);
    }
    zones
}

/// The zones of x86_64's architecture, where bit 30 means x32, for a profile with one of its two ABIs or both.
pub(super) fn x86_64_zones(policy: &Policy, x86_64: bool, x32: bool) -> Zones {
    let newest = |present, arch| if present { Newest::of(policy, arch) } else { None };
    let (newest_x86_64, newest_x32) = (newest(x86_64, Arch::X86_64), newest(x32, Arch::X32));
    let mut zones = Zones::with_capacity(8);

    zones.push((0, if x86_64 { Zone::Default } else { Zone::Foreign }));
    zones.extend(newest_x86_64.map(|newest| (newest.common + 1, Zone::Unknown)));
    zones.push((X32_BIT, if x32 { Zone::Default } else { Zone::Foreign }));
    zones.extend(newest_x32.map(|newest| (newest.common + 1, Zone::Unknown)));

    // libseccomp takes what is above bit 30 for x32, and runc what has bit 30.
    let after = match (newest_x86_64, x86_64, x32) {
        (Some(_), ..) => Zone::Unknown,
        (None, true, false) => Zone::Foreign,
        (None, ..) => Zone::Default,
    };
    zones.push((BIT_31, after));
    let after = match (newest_x32, x32) {
        (Some(_), _) => Zone::Unknown,
        (None, true) => Zone::Default,
        (None, false) => Zone::Foreign,
    };
    zones.push((BIT_31 | X32_BIT, after));
    if !x32 {
        // What a tracer sets to skip a call is not a foreign call.
        zones.push((u32::MAX, Zone::Default));
    }
    zones
}

/// The greatest numbers that a profile mentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Newest {
    common: u32,
    /// Of ARM's own calls, which are apart so that they do not hide how old the profile is.
    private: Option<u32>,
}

impl Newest {
    /// `None` if newer calls are answered as all others.
    fn of(policy: &Policy, arch: Arch) -> Option<Newest> {
        // A tracer answers for calls that are new to it.
        if matches!(policy.default & ACTION_BITS, action::ALLOW | action::LOG | action::TRACE) {
            return None;
        }
        let (mut common, mut private) = (0, None);
        for number in policy.mentioned.iter().filter_map(|syscall| syscall.number(arch)) {
            if arch == Arch::Arm && number >= ARM_PRIVATE {
                private = private.max(Some(number));
            } else {
                common = common.max(number);
            }
        }
        // As in runc, a profile that mentions nothing but number 0 says nothing about its age.
        (common != 0).then_some(Newest { common, private })
    }
}
