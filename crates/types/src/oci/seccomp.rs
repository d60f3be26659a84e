use serde::{Deserialize, Serialize};

/// A seccomp profile: config-linux.md, Seccomp.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// What happens to a system call that no rule matches, such as `SCMP_ACT_ERRNO`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub default_action: String,
    /// The errno of the default action; EPERM when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures such as `SCMP_ARCH_X86`, besides the native one.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Flags such as `SECCOMP_FILTER_FLAG_LOG`. Absent is not the same as empty: it means the runtime's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<String>>,
    /// The socket that gets the notification descriptor.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub listener_path: String,
    /// Free text that goes with it.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "String::is_empty")]
    pub listener_metadata: String,
    /// Rules.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<SyscallRule>,
}

/// One action for a set of system calls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallRule {
    /// Names of system calls; unknown ones are skipped.
    #[serde(default, deserialize_with = "super::nullable")]
    pub names: Vec<String>,
    /// What happens, such as `SCMP_ACT_ALLOW`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub action: String,
    /// The errno, or the data of SCMP_ACT_TRACE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions, which must all hold.
    #[serde(default, deserialize_with = "super::nullable", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<SyscallArg>,
}

/// A condition on an argument.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallArg {
    /// Which argument, 0 to 5.
    #[serde(default, deserialize_with = "super::nullable")]
    pub index: u32,
    /// The value to compare with, or the mask of `SCMP_CMP_MASKED_EQ`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub value: u64,
    /// The value after masking.
    #[serde(default, deserialize_with = "super::nullable")]
    pub value_two: u64,
    /// A comparison such as `SCMP_CMP_EQ`.
    #[serde(default, deserialize_with = "super::nullable")]
    pub op: String,
}
