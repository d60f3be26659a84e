//! Whether containers can be in user namespaces of their own: mounts whose ids are mapped, and subordinate ids.

use std::fs;
use std::path::Path;

use gantry_config::docker::DockerDaemon;
use rustix::fs::statfs;

use super::Finding;

/// Since when the layers of overlayfs can be id-mapped.
const KERNEL: Version = (5, 19);
/// Where the daemon's files are, unless it is told otherwise.
const ROOT: &str = "/var/lib/gantry";
/// dockerd's configuration, which the daemon reads.
const DAEMON_JSON: &str = "/etc/docker/daemon.json";
/// A version of Linux.
type Version = (u32, u32);

/// File systems that map no ids, or only in newer kernels than the rest: magic numbers of statfs(2), name, since when.
const UNMAPPED: [(u64, &str, Option<Version>); 5] = [
    (0x6969, "NFS", None),
    (0x794c_7630, "overlayfs", None),
    (0x0102_1997, "9p", None),
    (0x6573_5546, "FUSE", Some((6, 12))),
    (0x0102_1994, "tmpfs", Some((6, 3))),
];
const SUBJECT: &str = "user ids";

/// What is known of the machine.
struct Facts {
    kernel: Version,
    /// Of the file system that the daemon's files are on.
    magic: u64,
    /// `userns-remap` of daemon.json.
    remap: Option<String>,
    subuid: String,
    subgid: String,
}

pub(super) fn ids() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let there = Path::new(ROOT).ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let daemon = Path::new(DAEMON_JSON);
    judge(&Facts {
        kernel: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
        magic: statfs(there).map_or(0, |facts| facts.f_type as u64),
        remap: DockerDaemon::load(daemon).ok().and_then(|daemon| daemon.containers.userns_remap),
        subuid: text("/etc/subuid"),
        subgid: text("/etc/subgid"),
    })
}

fn judge(facts: &Facts) -> Finding {
    if facts.kernel < KERNEL {
        return Finding::poor(
            SUBJECT,
            "layers cannot be id-mapped: containers with a user namespace fail",
            format!("use Linux {}.{} or newer", KERNEL.0, KERNEL.1),
        );
    }
    let unmapped = |(magic, _, since): &&(u64, &str, Option<Version>)| {
        *magic == facts.magic && since.is_none_or(|since| facts.kernel < since)
    };
    if let Some((_, name, _)) = UNMAPPED.iter().find(unmapped) {
        return Finding::poor(
            SUBJECT,
            format!("{name} below {ROOT} maps no ids: containers with a user namespace fail"),
            "put it on ext4, XFS or Btrfs (a mount there, or root in gantryd's configuration)",
        );
    }
    let has = |text: &str, user: &str| text.lines().any(|line| line.split(':').next() == Some(user));
    let user = facts.remap.as_deref().map(|asked| asked.split(':').next().unwrap_or(asked));
    let named = match user {
        Some("default") | None => None,
        Some(user) => Some(user).filter(|user| user.parse::<u32>().is_err() && *user != "root"),
    };
    for (user, must) in [(named, true), (Some("containers"), false), (Some("dockremap"), false)] {
        let Some(user) = user else { continue };
        let (uids, gids) = (has(&facts.subuid, user), has(&facts.subgid, user));
        if uids != gids || must && !uids {
            let file = if uids { "/etc/subgid" } else { "/etc/subuid" };
            return Finding::poor(
                SUBJECT,
                format!("{user} has no subordinate ids in {file}: containers with a user namespace fail"),
                format!("add a line such as {user}:231072:65536, whose ids nobody else has"),
            );
        }
    }
    let ids = if has(&facts.subuid, "containers") { "those of the user containers" } else { "free ones" };
    Finding::good(SUBJECT, format!("mounts can be mapped; automatic ranges are {ids}"))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let good = || Facts {
            kernel: (6, 1),
            magic: 0xef53,
            remap: None,
            subuid: String::new(),
            subgid: String::new(),
        };
        let check = |change: &dyn Fn(&mut Facts), verdict: Verdict, word: &str| {
            let mut facts = good();
            change(&mut facts);
            let found = judge(&facts);
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert!(found.what.contains(word), "{found:?}");
        };
        check(&|_| {}, Verdict::Good, "free ones");
        check(&|facts| facts.kernel = (5, 15), Verdict::Poor, "layers");
        check(&|facts| facts.magic = 0x0102_1994, Verdict::Poor, "tmpfs");
        check(&|facts| (facts.magic, facts.kernel) = (0x0102_1994, (6, 3)), Verdict::Good, "");
        check(&|facts| facts.magic = 0x6969, Verdict::Poor, "NFS");
        check(
            &|facts| facts.remap = Some("ann:ann".into()),
            Verdict::Poor,
            "ann has no subordinate ids in /etc/subuid",
        );
        check(&|facts| facts.remap = Some("default".into()), Verdict::Good, "");
        check(&|facts| facts.remap = Some("root".into()), Verdict::Good, "");
        let line = "containers:1:2\n".to_owned();
        check(&|facts| facts.subuid = line.clone(), Verdict::Poor, "/etc/subgid");
        check(
            &|facts| (facts.subuid, facts.subgid) = (line.clone(), line.clone()),
            Verdict::Good,
            "of the user containers",
        );
    }
}
