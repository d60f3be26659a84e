//! What this build can do: the Features structure of runtime-spec v1.3.0 (`features.md`).
//!
//! Told by `gantry-runtime features` and by the shim's `-info`; nothing here looks at the kernel below.

use serde::Serialize;

use crate::plan::identity::CAPABILITIES;
use crate::plan::options::KNOWN_OPTIONS;
use crate::sched::{MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES};
use crate::seccomp::Arch;

/// The version of the runtime.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that the runtime was built from.
pub const COMMIT: &str = match option_env!("GANTRY_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// What the runtime knows, whatever the kernel below it lacks.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: &'static [&'static str],
    mount_options: &'static [&'static str],
    linux: Linux,
    annotations: Annotations,
    potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: &'static [&'static str],
    capabilities: &'static [&'static str],
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: &'static [&'static str],
    operators: &'static [&'static str],
    archs: Vec<&'static str>,
    known_flags: &'static [&'static str],
    supported_flags: &'static [&'static str],
}

#[derive(Debug, Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Debug, Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Debug, Serialize)]
struct MemoryPolicy {
    modes: Vec<&'static str>,
    flags: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

#[derive(Debug, Serialize)]
struct Annotations {
    #[serde(rename = "io.gantry.runtime.commit")]
    commit: &'static str,
    #[serde(rename = "io.gantry.runtime.version")]
    version: &'static str,
    /// podman offers checkpoints where this is "true".
    #[serde(rename = "org.opencontainers.runc.checkpoint.enabled")]
    checkpoint_enabled: &'static str,
}

fn names(table: &[(&'static str, i32)]) -> Vec<&'static str> {
    table.iter().map(|(name, _)| *name).collect()
}

/// What this build can do. Its JSON is the Features structure.
pub fn features() -> Features {
    Features {
        oci_version_min: "1.0.0",
        oci_version_max: gantry_types::oci::OCI_VERSION,
        hooks: &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        mount_options: KNOWN_OPTIONS,
        linux: Linux {
            namespaces: &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            capabilities: &CAPABILITIES,
            cgroup: Cgroup { v1: true, v2: true, systemd: true, systemd_user: true, rdma: true },
            seccomp: Seccomp {
                enabled: true,
                actions: SECCOMP_ACTIONS,
                operators: SECCOMP_OPERATORS,
                archs: Arch::all().map(Arch::name).collect(),
                known_flags: SECCOMP_FLAGS,
                supported_flags: SECCOMP_FLAGS,
            },
            apparmor: Enabled { enabled: true },
            selinux: Enabled { enabled: true },
            intel_rdt: IntelRdt { enabled: true, schemata: true, monitoring: true },
            memory_policy: MemoryPolicy {
                modes: names(&MEMORY_POLICY_MODES),
                flags: names(&MEMORY_POLICY_FLAGS),
            },
            mount_extensions: MountExtensions { idmap: Enabled { enabled: true } },
            net_devices: Enabled { enabled: true },
        },
        annotations: Annotations { commit: COMMIT, version: VERSION, checkpoint_enabled: "true" },
        potentially_unsafe_config_annotations: &["bundle", "org.systemd.property.", "org.criu.config"],
    }
}

static SECCOMP_ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

static SECCOMP_OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

static SECCOMP_FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

#[cfg(test)]
mod tests {
    use gantry_types::oci::{Seccomp as Profile, SyscallArg, SyscallRule};

    use super::*;

    fn is_known(profile: &Profile) -> bool {
        crate::seccomp::compile(profile, Arch::X86_64).is_ok()
    }

    #[test]
    fn what_is_said_of_seccomp_is_what_compiles() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let profile = |rule| Profile {
            default_action: "SCMP_ACT_ALLOW".to_owned(),
            syscalls: vec![rule],
            ..Profile::default()
        };
        let rule = |action: &str, args| SyscallRule {
            names: list(&["close"]),
            action: action.to_owned(),
            args,
            ..SyscallRule::default()
        };
        for action in SECCOMP_ACTIONS {
            assert!(is_known(&profile(rule(action, Vec::new()))), "{action}");
        }
        for operator in SECCOMP_OPERATORS {
            let arg = SyscallArg { op: (*operator).to_owned(), ..SyscallArg::default() };
            assert!(is_known(&profile(rule("SCMP_ACT_ERRNO", vec![arg]))), "{operator}");
        }
        for flag in SECCOMP_FLAGS {
            let mut profile = profile(rule("SCMP_ACT_ERRNO", Vec::new()));
            profile.flags = serde_json::from_value(serde_json::json!([flag])).unwrap();
            assert!(is_known(&profile), "{flag}");
        }
        assert!(!is_known(&profile(rule("SCMP_ACT_FOO", Vec::new()))));
    }
}
