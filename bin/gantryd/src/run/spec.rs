//! From an image's configuration to the container's (runtime-spec v1.0.2), as docker has it without flags.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::run::layout::Config;
use crate::run::unpack::text_of;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What is asked for beyond the image.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) id: &'a str,
    pub(crate) args: &'a [String],
    pub(crate) terminal: bool,
}

/// The container's `config.json`.
pub(crate) fn config(image: &Config, layers: &[PathBuf], wanted: &Wanted<'_>) -> Result<Value> {
    let user = user(&image.user, layers)?;
    let mut env = image.env.clone().unwrap_or_default();
    let mut default = |key: &str, value: &str| {
        if !env.iter().any(|line| line.starts_with(key)) {
            env.push(value.to_owned());
        }
    };
    default("PATH=", PATH);
    default("HOME=", &format!("HOME={}", user.home));
    if wanted.terminal {
        default("TERM=", "TERM=xterm");
    }
    let cwd = if image.working_dir.is_empty() { "/" } else { &image.working_dir };
    // An ordinary user's program has none; what it may get by set-user-id programs is bounded.
    let capabilities = if user.uid == 0 {
        json!({ "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES })
    } else {
        json!({ "bounding": CAPABILITIES })
    };
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
    Ok(json!({
        // Nothing newer is used, and older runtimes refuse newer versions.
        "ociVersion": "1.0.2",
        "hostname": wanted.id.chars().take(63).collect::<String>(),
        "root": { "path": "rootfs" },
        "process": {
            "terminal": wanted.terminal,
            "user": { "uid": user.uid, "gid": user.gid },
            "args": args(image, wanted.args)?,
            "env": env,
            "cwd": cwd,
            "capabilities": capabilities,
            "noNewPrivileges": false,
        },
        "mounts": mounts(),
        "linux": {
            "cgroupsPath": format!("/gantryd/{}", wanted.id),
            "namespaces": namespaces,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    }))
}

/// Arguments take the place of the image's, behind its entry point.
fn args(image: &Config, given: &[String]) -> Result<Vec<String>> {
    let mut args = image.entrypoint.clone().unwrap_or_default();
    args.extend(if given.is_empty() { image.cmd.clone().unwrap_or_default() } else { given.to_vec() });
    if args.is_empty() {
        bail!("the image has no command: give one after `--`");
    }
    Ok(args)
}

fn mounts() -> Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    json!([
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ])
}

#[derive(Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
    home: String,
}

/// The user of `NAME[:GROUP]`, each a number or a name of the image's.
fn user(text: &str, layers: &[PathBuf]) -> Result<User> {
    let (name, group) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
    let name = if name.is_empty() { "0" } else { name };
    let passwd = text_of(layers, "etc/passwd").unwrap_or_default();
    let line = find(&passwd, name);
    let field = |index: usize| line.as_ref().and_then(|fields| fields.get(index).copied());
    let uid = field(2).unwrap_or(name).parse().with_context(|| format!("the image has no user {name:?}"))?;
    let gid = match group {
        None => field(3).and_then(|gid| gid.parse().ok()).unwrap_or(0),
        Some(group) => {
            let groups = text_of(layers, "etc/group").unwrap_or_default();
            let found = find(&groups, group).and_then(|fields| fields.get(2).copied()).unwrap_or(group);
            found.parse().with_context(|| format!("the image has no group {group:?}"))?
        }
    };
    let home = field(5).filter(|home| !home.is_empty()).unwrap_or("/");
    Ok(User { uid, gid, home: home.to_owned() })
}

/// The fields of the line with this name, or with this number.
fn find<'a>(table: &'a str, wanted: &str) -> Option<Vec<&'a str>> {
    let lines = || table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let by = |index: usize| lines().find(|fields| fields.get(index).is_some_and(|field| *field == wanted));
    by(0).or_else(|| by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_names_of_the_image() {
        let layer = tempfile::tempdir().unwrap();
        std::fs::create_dir(layer.path().join("etc")).unwrap();
        std::fs::write(layer.path().join("etc/passwd"), "root:x:0:0::/root:\nweb:x:33:34::/srv:\n").unwrap();
        std::fs::write(layer.path().join("etc/group"), "staff:x:50:\n").unwrap();
        let layers = [layer.path().to_owned()];
        let check = |text, uid, gid, home: &str| {
            assert_eq!(user(text, &layers).unwrap(), User { uid, gid, home: home.into() }, "{text}");
        };
        check("", 0, 0, "/root");
        check("web", 33, 34, "/srv");
        check("33", 33, 34, "/srv");
        check("web:staff", 33, 50, "/srv");
        check("7:8", 7, 8, "/");
        assert!(user("nobody", &layers).is_err());
        assert!(user("web:nobody", &layers).is_err());
    }

    #[test]
    fn arguments_replace_the_command_and_not_the_entry_point() {
        let image = Config {
            entrypoint: Some(vec!["entry".into()]),
            cmd: Some(vec!["cmd".into()]),
            ..Config::default()
        };
        assert_eq!(args(&image, &[]).unwrap(), ["entry", "cmd"]);
        assert_eq!(args(&image, &["x".into()]).unwrap(), ["entry", "x"]);
        assert!(args(&Config::default(), &[]).is_err());
    }
}
