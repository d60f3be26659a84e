//! What the kernel can do.
//!
//! Decided by its version, once a process, at the cost of one uname(2); a feature that is missing all the same (a
//! seccomp filter around us, an odd build) answers `ENOSYS` where it is used, and the caller falls back as on an older
//! kernel. `GANTRY_KERNEL_FEATURES=5.10` lowers the version, to run the fallbacks on a newer kernel.

use std::sync::OnceLock;

/// A kernel interface that Gantry uses and does not require.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// `CLOSE_RANGE_CLOEXEC`.
    CloseRangeCloexec,
    /// mount_setattr(2), and id-mapped mounts with it.
    MountSetattr,
    /// `cgroup.kill`.
    CgroupKill,
    /// Layers of overlayfs from id-mapped mounts.
    OverlayMappedLayers,
    /// `lowerdir+` and values by descriptor for overlay's fsconfig(2).
    OverlayLowerdirAppend,
}

impl Feature {
    /// The first version that has it.
    fn since(self) -> (u32, u32) {
        match self {
            Feature::CloseRangeCloexec => (5, 11),
            Feature::MountSetattr => (5, 12),
            Feature::CgroupKill => (5, 14),
            Feature::OverlayMappedLayers => (5, 19),
            Feature::OverlayLowerdirAppend => (6, 7),
        }
    }
}

/// The variable that lowers the kernel's version.
pub const OVERRIDE_VARIABLE: &str = "GANTRY_KERNEL_FEATURES";

/// Whether the kernel has `feature`.
pub fn has(feature: Feature) -> bool {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    let version = *VERSION.get_or_init(|| {
        let real = parse(rustix::system::uname().release().to_bytes());
        let lowered = std::env::var(OVERRIDE_VARIABLE).ok().map(|text| parse(text.as_bytes()));
        lowered.map_or(real, |lowered| lowered.min(real))
    });
    version >= feature.since()
}

fn parse(release: &[u8]) -> (u32, u32) {
    let mut numbers = release.split(|b| !b.is_ascii_digit()).map(|digits| {
        digits.iter().fold(0u32, |n, b| n.saturating_mul(10).saturating_add(u32::from(b - b'0')))
    });
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #[test]
    fn releases_are_read() {
        assert_eq!(super::parse(b"6.18.44-fc-v657"), (6, 18));
        assert_eq!(super::parse(b"5.10"), (5, 10));
        assert_eq!(super::parse(b"garbage"), (0, 0));
    }
}
