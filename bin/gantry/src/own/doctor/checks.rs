//! The checks, one function each.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::fs::statvfs;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::Finding;
use crate::client::{Call, DEFAULT_SOCKET};
use crate::command::chain;
use crate::format::words::size;
use crate::session::Session;

/// The oldest kernel that is supported.
const KERNEL: (u32, u32) = (5, 10);
/// Less free space than this is poor.
const SPACE: u64 = 2 << 30;
/// Fewer free inodes than this are poor.
const INODES: u64 = 50_000;
/// How long the engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

pub(super) fn privilege() -> Finding {
    if rustix::process::geteuid().is_root() {
        return Finding::good("privilege", "root");
    }
    Finding::poor(
        "privilege",
        "not root: some checks see less, and gantryd cannot be started",
        "run this as root; to use a running gantryd, join the group of its socket ([docker] group)",
    )
}

pub(super) fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= KERNEL => {
            Finding::good("kernel", format!("Linux {release}"))
        }
        _ => Finding::bad(
            "kernel",
            format!("Linux {release} is older than {}.{}", KERNEL.0, KERNEL.1),
            "install a newer kernel: clone3, openat2 and the new mount calls are needed",
        ),
    }
}

pub(super) fn cgroups() -> Finding {
    const NEEDED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
    let missing = |known: &[String]| -> Vec<&str> {
        NEEDED.into_iter().filter(|name| !known.iter().any(|known| known == name)).collect()
    };
    if let Some(controllers) = read("/sys/fs/cgroup/cgroup.controllers") {
        let known: Vec<String> = controllers.split(' ').map(str::to_owned).collect();
        let missing = missing(&known);
        if missing.is_empty() {
            return Finding::good("cgroups", "version 2");
        }
        return Finding::poor(
            "cgroups",
            format!("version 2, without {}", missing.join(", ")),
            "enable them: kernel parameters such as cgroup_enable=memory; in a container, delegate them",
        );
    }
    let mounts = read("/proc/self/mounts").unwrap_or_default();
    let known: Vec<String> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(2);
            (fields.next() == Some("cgroup")).then(|| fields.next().unwrap_or_default().to_owned())
        })
        .flat_map(|options| options.split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    if known.is_empty() {
        return Finding::bad(
            "cgroups",
            "none are mounted at /sys/fs/cgroup",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup, or boot with systemd",
        );
    }
    let missing = missing(&known);
    if missing.is_empty() {
        return Finding::poor(
            "cgroups",
            "version 1: works, and starts of containers are slower",
            "boot with systemd.unified_cgroup_hierarchy=1",
        );
    }
    Finding::poor(
        "cgroups",
        format!("version 1, without {}", missing.join(", ")),
        "boot with systemd.unified_cgroup_hierarchy=1 and cgroup_enable=memory",
    )
}

pub(super) fn namespaces() -> Finding {
    const NEEDED: [&str; 6] = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];
    let is_missing = |name: &&str| !Path::new("/proc/self/ns").join(name).exists();
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| is_missing(name)).collect();
    if !missing.is_empty() {
        return Finding::bad(
            "namespaces",
            format!("the kernel lacks {}", missing.join(", ")),
            "use a kernel with CONFIG_NAMESPACES and all of its kinds",
        );
    }
    let has_user = Path::new("/proc/self/ns/user").exists();
    let limit = read("/proc/sys/user/max_user_namespaces").and_then(|text| text.parse::<u64>().ok());
    match (has_user, limit) {
        (true, Some(0)) => Finding::poor(
            "namespaces",
            "user namespaces are switched off: containers with a user namespace fail",
            "sysctl -w user.max_user_namespaces=15000",
        ),
        (true, _) => Finding::good("namespaces", "all kinds"),
        (false, _) => Finding::poor(
            "namespaces",
            "no user namespaces: containers with one fail",
            "use a kernel with CONFIG_USER_NS",
        ),
    }
}

pub(super) fn overlay() -> Finding {
    let known = read("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.split('\t').next_back() == Some("overlay")) {
        return Finding::good("overlayfs", "there");
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let modules = format!("/lib/modules/{release}/kernel/fs/overlayfs");
    if Path::new(&modules).exists() {
        return Finding::poor("overlayfs", "a module that is not loaded", "modprobe overlay");
    }
    Finding::poor(
        "overlayfs",
        "not in this kernel: the native driver copies every layer",
        "use a kernel with CONFIG_OVERLAY_FS, or set [snapshots] driver = \"native\"",
    )
}

pub(super) fn seccomp() -> Finding {
    match read("/proc/sys/kernel/seccomp/actions_avail") {
        Some(actions) if actions.contains("errno") => Finding::good("seccomp", "filters"),
        _ => Finding::bad(
            "seccomp",
            "no filters: containers would have every system call",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

/// Asks nftables for the number of its rules' generation: the smallest question there is.
pub(super) fn nftables() -> Finding {
    match ask_nftables() {
        Ok(()) => Finding::good("nftables", "answers"),
        Err(Errno::PERM | Errno::ACCESS) => {
            Finding::poor("nftables", "may not be asked", "run this as root, or with CAP_NET_ADMIN")
        }
        Err(error) => Finding::bad(
            "nftables",
            format!("does not answer ({error}): ports cannot be published"),
            "modprobe nf_tables, or use a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET",
        ),
    }
}

fn ask_nftables() -> Result<(), Errno> {
    /// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN` (linux/netfilter/nfnetlink.h, nf_tables.h).
    const GET_GENERATION: u16 = 10 << 8 | 16;
    /// `NLM_F_REQUEST` (linux/netlink.h).
    const REQUEST: u16 = 1;
    /// `NLMSG_ERROR`.
    const ERROR: u16 = 2;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(rustix::net::netlink::NETFILTER),
    )?;
    let mut message = Vec::with_capacity(20);
    message.extend_from_slice(&20_u32.to_ne_bytes());
    message.extend_from_slice(&GET_GENERATION.to_ne_bytes());
    message.extend_from_slice(&REQUEST.to_ne_bytes());
    // Sequence and port, then the family, the version and the resource of netfilter's own header.
    message.extend_from_slice(&[0; 12]);
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 4096];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    let kind = answer.get(4..6).map_or(0, |bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    if kind != ERROR || length < 20 {
        return Ok(());
    }
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(-code)) }
}

pub(super) fn forwarding() -> Finding {
    match read("/proc/sys/net/ipv4/ip_forward").as_deref() {
        Some("1") => Finding::good("forwarding", "of IPv4 is on"),
        Some(_) => Finding::poor(
            "forwarding",
            "of IPv4 is off: gantryd switches it on with the first network",
            "sysctl -w net.ipv4.ip_forward=1, and a file in /etc/sysctl.d so that it stays",
        ),
        None => Finding::bad("forwarding", "cannot be read", "mount /proc with its sys directory"),
    }
}

pub(super) fn disk() -> Vec<Finding> {
    ["/var/lib/gantry", "/run/gantry"].into_iter().map(space).collect()
}

fn space(path: &'static str) -> Finding {
    // What is not there yet will be on its parent's file system.
    let mut there = Path::new(path);
    while !there.exists() {
        there = there.parent().unwrap_or(Path::new("/"));
    }
    let status = match statvfs(there) {
        Ok(status) => status,
        Err(error) => return Finding::poor("disk", format!("{path}: {error}"), "mount its file system"),
    };
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    let shown = size(i64::try_from(free).unwrap_or(i64::MAX));
    let is_state = path.starts_with("/run");
    if !is_state && free < SPACE {
        return Finding::poor(
            "disk",
            format!("{path} has {shown} left"),
            "gantry system prune --all, or a larger file system (root in /etc/gantry/config.toml)",
        );
    }
    if status.f_files > 0 && status.f_favail < INODES {
        return Finding::poor(
            "disk",
            format!("{path} has {} inodes left", status.f_favail),
            "gantry system prune --all, or a file system with more inodes",
        );
    }
    Finding::good("disk", format!("{path} has {shown} left"))
}

pub(super) async fn engine(session: &Session) -> Finding {
    let client = match session.client() {
        Ok(client) => client,
        Err(error) => {
            return Finding::bad("engine", chain(&error), "correct --host, DOCKER_HOST or the TLS files");
        }
    };
    let endpoint = client.endpoint().to_string();
    if endpoint == format!("unix://{DEFAULT_SOCKET}") && !Path::new(DEFAULT_SOCKET).exists() {
        return Finding::poor(
            "engine",
            format!("nothing serves {DEFAULT_SOCKET}"),
            "systemctl start gantryd; as root any command of gantry starts it, too",
        );
    }
    let asked = client.json::<gantry_docker_api::system::Version>(Call::get("/version"));
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(version)) => Finding::good(
            "engine",
            format!("{endpoint} is {} (API {})", version.version, version.api_version),
        ),
        Ok(Err(error)) => Finding::bad(
            "engine",
            chain(&error),
            "systemctl status gantryd, and its log: journalctl -u gantryd, or /var/log/gantry/gantryd.log",
        ),
        Err(_) => Finding::bad(
            "engine",
            format!("{endpoint} does not answer within {PATIENCE:?}"),
            "journalctl -u gantryd; systemctl restart gantryd: containers go on meanwhile",
        ),
    }
}
