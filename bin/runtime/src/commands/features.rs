use gantry_runtime::seccomp::Arch;
use gantry_runtime::{CAPABILITIES, KNOWN_OPTIONS, MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES};
use serde::Serialize;

use crate::application::{COMMIT, VERSION};
use crate::args::{Command, Flags};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::output::print;

pub(super) static COMMAND: Command = Command {
    name: "features",
    summary: "print what this build can do",
    usage: "",
    about: "Prints the Features structure of runtime-spec (features.md) as JSON: what this program knows, whatever\n   \
            the kernel below it lacks.",
    flags: &[],
    placement: Flags::Anywhere,
    min: 0,
    max: 0,
    run,
};

fn run(_: &Invocation<'_>) -> Result<u8, Failure> {
    let mut text = Vec::with_capacity(8192);
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
    features().serialize(&mut serializer).expect("plain data has a form in JSON");
    text.push(b'\n');
    print(&String::from_utf8_lossy(&text)).map(|()| 0)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: &'static [&'static str],
    mount_options: &'static [&'static str],
    linux: Linux,
    annotations: Annotations,
    potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Serialize)]
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: &'static [&'static str],
    operators: &'static [&'static str],
    archs: Vec<&'static str>,
    known_flags: &'static [&'static str],
    supported_flags: &'static [&'static str],
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: Vec<&'static str>,
    flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

#[derive(Serialize)]
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

fn features() -> Features {
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
        gantry_runtime::seccomp::compile(profile, Arch::X86_64).is_ok()
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
