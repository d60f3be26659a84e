//! What `features` says of seccomp: features-linux.md of runtime-spec, as runc fills it in.

use super::arch::Arch;
use super::profile::{ACTIONS, FLAGS, OPERATORS};
use gantry_sys::seccomp::{flag, flags_available};

/// The names that profiles may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// `SCMP_ACT_*`, sorted.
    pub actions: Vec<&'static str>,
    /// `SCMP_CMP_*`, sorted.
    pub operators: Vec<&'static str>,
    /// `SCMP_ARCH_*`, sorted.
    pub archs: Vec<&'static str>,
    /// `SECCOMP_FILTER_FLAG_*` that are understood.
    pub known_flags: Vec<&'static str>,
    /// Those of them that this kernel supports.
    pub supported_flags: Vec<&'static str>,
}

/// Lists what profiles may use, and asks the kernel which flags it supports.
pub fn features() -> Features {
    let mut archs: Vec<&'static str> = Arch::all().map(Arch::name).collect();
    archs.sort_unstable();
    let supported = |bits: u32| {
        // This one is only valid with a listener.
        let listener = if bits == flag::WAIT_KILLABLE_RECV { flag::NEW_LISTENER } else { 0 };
        flags_available(bits | listener)
    };
    Features {
        actions: ACTIONS.iter().map(|(name, _)| *name).collect(),
        operators: OPERATORS.iter().map(|(name, _)| *name).collect(),
        archs,
        known_flags: FLAGS.iter().map(|(name, _)| *name).collect(),
        supported_flags: FLAGS.iter().filter(|(_, bits)| supported(*bits)).map(|(name, _)| *name).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_complete() {
        let features = features();
        assert!(features.actions.is_sorted() && features.actions.len() == 9);
        assert!(features.operators.is_sorted() && features.operators.len() == 7);
        assert!(features.archs.is_sorted() && features.archs.contains(&"SCMP_ARCH_LOONGARCH64"));
        assert!(features.supported_flags.contains(&"SECCOMP_FILTER_FLAG_LOG"));
        assert!(features.supported_flags.iter().all(|name| features.known_flags.contains(name)));
    }
}
