use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::runtime::version_under_test;
use crate::{Cgroups, Peer, User};

/// Something that a test cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The tests run as root.
    Root,
    /// `/sys/fs/cgroup` is the unified hierarchy.
    CgroupV2,
    /// Controllers are on version 1.
    CgroupV1,
    /// This cgroup controller, in whatever version.
    Controller(&'static str),
    /// A capability that this process must have, by its number and name.
    Capability(u32, &'static str),
    /// A program on the path.
    Program(&'static str),
    /// A file or directory of the host.
    File(&'static str),
    /// The user `gantry-test` with subordinate ids.
    User,
    /// At least this version when the test is proven on runc; older ones lack the feature.
    Runc(u32, u32),
    /// At least this version when the test is proven on crun.
    Crun(u32, u32),
    /// A contract of Gantry alone, or one that this peer breaks, for the reason given.
    Not(Peer, &'static str),
    /// A contract of Gantry alone.
    Ours,
    /// systemd as pid 1.
    Systemd,
    /// AppArmor in force, and the program that loads its profiles.
    AppArmor,
    /// At least this version of Linux, as the runtime is told to see it (`GANTRY_KERNEL_FEATURES`).
    Kernel(u32, u32),
}

/// `CAP_SYS_RESOURCE`.
const SYS_RESOURCE: u32 = 24;

impl Need {
    /// `CAP_SYS_RESOURCE`: to raise hard limits and lower `oom_score_adj`.
    pub const SYS_RESOURCE: Self = Self::Capability(SYS_RESOURCE, "CAP_SYS_RESOURCE");

    fn lacking(self) -> Option<String> {
        let lacks = |met: bool, what: String| (!met).then_some(what);
        match self {
            Self::Root => lacks(rustix::process::geteuid().is_root(), "needs root".into()),
            Self::CgroupV2 => lacks(Cgroups::detect().is_v2(), "needs cgroup v2 alone".into()),
            Self::CgroupV1 => lacks(!Cgroups::detect().is_v2(), "needs cgroup v1".into()),
            Self::Controller(name) => {
                lacks(Cgroups::detect().has(name), format!("needs the cgroup controller {name}"))
            }
            Self::Capability(number, name) => lacks(has_capability(number), format!("needs {name}")),
            Self::Program(name) => lacks(on_path(name), format!("needs the program {name}")),
            Self::File(path) => lacks(Path::new(path).exists(), format!("needs {path}")),
            Self::User => lacks(
                User::find().is_some_and(|user| user.sub_uid > 0),
                "needs the user gantry-test with subordinate ids (scripts/setup.sh)".into(),
            ),
            Self::Kernel(a, b) => lacks(kernel() >= (a, b), format!("needs Linux {a}.{b}")),
            Self::Systemd => lacks(Path::new("/run/systemd/system").is_dir(), "needs systemd".into()),
            Self::AppArmor => lacks(
                Path::new("/sys/kernel/security/apparmor/profiles").exists() && on_path("apparmor_parser"),
                "needs AppArmor".into(),
            ),
            Self::Runc(..) | Self::Crun(..) | Self::Not(..) | Self::Ours => self.lacking_of_peer(),
        }
    }

    fn lacking_of_peer(self) -> Option<String> {
        let under_test = version_under_test();
        let (major, minor) = under_test.number;
        let too_old = |peer, wanted: (u32, u32)| under_test.peer == peer && under_test.number < wanted;
        match self {
            Self::Runc(a, b) if too_old(Peer::Runc, (a, b)) => {
                Some(format!("runc {major}.{minor} lacks it, {a}.{b} has it"))
            }
            Self::Crun(a, b) if too_old(Peer::Crun, (a, b)) => {
                Some(format!("crun {major}.{minor} lacks it, {a}.{b} has it"))
            }
            Self::Not(peer, why) if under_test.peer == peer => Some(format!("{peer:?}: {why}")),
            Self::Ours if under_test.peer != Peer::Gantry => Some("a contract of Gantry alone".into()),
            _ => None,
        }
    }
}

/// The reason to skip a test, when any need is not met.
pub fn missing(needs: &[Need]) -> Option<String> {
    needs.iter().find_map(|need| need.lacking())
}

/// Counts a test as skipped: prints `SKIP <test>: <reason>`, also into the file that `GANTRY_TEST_SKIPS` names.
///
/// # Panics
/// When that file cannot be written.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIP {test}: {reason}\n");
    print!("{line}");
    if let Some(path) = env::var_os("GANTRY_TEST_SKIPS") {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        // One write of a short line: other tests append to the same file.
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list of skipped tests");
    }
}

/// The kernel's version, or the one that the runtime is to take it for.
fn kernel() -> (u32, u32) {
    let real = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let lowered = env::var("GANTRY_KERNEL_FEATURES").ok().map(|text| version(&text));
    lowered.map_or(version(&real), |lowered| lowered.min(version(&real)))
}

fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << number) != 0
}

fn on_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    env::split_paths(&path).chain(standard).any(|dir| dir.join(name).exists())
}
