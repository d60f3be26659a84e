//! The machine, as `/info` tells of it.

use std::fs;
use std::path::Path;

const CGROUP: &str = "/sys/fs/cgroup";

/// What the kernel can limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) memory: bool,
    pub(super) swap: bool,
    pub(super) kernel_memory_tcp: bool,
    pub(super) oom_kill_disable: bool,
    pub(super) cpu_shares: bool,
    pub(super) cpu_cfs: bool,
    pub(super) cpu_set: bool,
    pub(super) pids: bool,
}

/// The kernel's release.
pub(super) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The kernel's name of the machine, and of its architecture.
pub(super) fn name_and_architecture() -> (String, String) {
    let uname = rustix::system::uname();
    (uname.nodename().to_string_lossy().into_owned(), uname.machine().to_string_lossy().into_owned())
}

/// The distribution, and its version (os-release(5)).
pub(super) fn distribution() -> (String, String) {
    let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    of_os_release(&text.unwrap_or_default())
}

fn of_os_release(text: &str) -> (String, String) {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    let name = value("PRETTY_NAME").or_else(|| value("NAME")).unwrap_or_else(|| "Linux".to_owned());
    (name, value("VERSION_ID").unwrap_or_default())
}

/// Bytes of memory.
pub(super) fn memory_bytes() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    total.and_then(|kib| kib.parse::<i64>().ok()).unwrap_or(0) << 10
}

/// Processors.
pub(super) fn processors() -> i64 {
    std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(i64::MAX))
}

/// This process's descriptors and threads.
pub(super) fn own_usage() -> (i64, i64) {
    let count =
        |path: &str| fs::read_dir(path).map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(0));
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// A switch of the kernel's below /proc/sys.
pub(super) fn is_on(name: &str) -> bool {
    fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|text| text.trim() == "1")
}

/// Whether the only tree is that of cgroup v2.
pub(super) fn is_unified() -> bool {
    Path::new(CGROUP).join("cgroup.controllers").exists()
}

/// What the kernel can limit.
pub(super) fn limits() -> Limits {
    let root = Path::new(CGROUP);
    if let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) {
        let has = |name: &str| controllers.split_whitespace().any(|controller| controller == name);
        let swaps = fs::read_to_string("/proc/swaps").is_ok();
        return Limits {
            memory: has("memory"),
            swap: has("memory") && swaps,
            cpu_shares: has("cpu"),
            cpu_cfs: has("cpu"),
            cpu_set: has("cpuset"),
            pids: has("pids"),
            ..Limits::default()
        };
    }
    let has = |path: &str| root.join(path).exists();
    Limits {
        memory: has("memory/memory.limit_in_bytes"),
        swap: has("memory/memory.memsw.limit_in_bytes"),
        kernel_memory_tcp: has("memory/memory.kmem.tcp.limit_in_bytes"),
        oom_kill_disable: has("memory/memory.oom_control"),
        cpu_shares: has("cpu/cpu.shares"),
        cpu_cfs: has("cpu/cpu.cfs_quota_us"),
        cpu_set: has("cpuset/cpuset.cpus"),
        pids: has("pids"),
    }
}

/// A proxy's address of the environment, without its credential.
pub(super) fn proxy(name: &str) -> String {
    let value = std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase())).unwrap_or_default();
    without_credential(&value)
}

fn without_credential(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://xxxxx:xxxxx@{host}{}", &rest[end..]),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_proxies_are_not_told() {
        assert_eq!(without_credential("http://a:b@p:3128/x@y"), "http://xxxxx:xxxxx@p:3128/x@y");
        assert_eq!(without_credential("http://p:3128"), "http://p:3128");
        assert_eq!(without_credential(""), "");
    }

    #[test]
    fn distributions_have_names() {
        let text = "NAME=\"D\"\nPRETTY_NAME=\"D 12\"\nVERSION_ID=\"12\"\n";
        assert_eq!(of_os_release(text), ("D 12".to_owned(), "12".to_owned()));
        assert_eq!(of_os_release(""), ("Linux".to_owned(), String::new()));
    }
}
