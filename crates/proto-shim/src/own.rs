//! `gantry.shim.v1`: what our shim serves and says beyond containerd's services (docs/design/0004-shim.md).
use crate::process::Status;

/// The service.
pub const SERVICE: &str = "gantry.shim.v1.Shim";

/// The names of the methods.
pub mod method {
    pub const REOPEN_LOG: &str = "ReopenLog";
    pub const UPGRADE: &str = "Upgrade";
    pub const REPORT: &str = "Report";
}

/// Opens the log of a process anew, after somebody else has rotated it.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ReopenLogRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// It is open.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ReopenLogResponse {}

/// Lets another binary take the place of the shim.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct UpgradeRequest {
    #[prost(string, tag = "1")]
    pub path: String,
}

/// Who took its place.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct UpgradeResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    #[prost(string, tag = "2")]
    pub version: String,
}

/// Asks for what the shim holds.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ReportRequest {}

/// What the shim holds.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ReportResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(message, repeated, tag = "3")]
    pub containers: Vec<ContainerReport>,
    #[prost(uint64, tag = "4")]
    pub workers_started: u64,
    #[prost(uint64, tag = "5")]
    pub events_waiting: u64,
    #[prost(uint64, tag = "6")]
    pub events_dropped: u64,
    #[prost(uint32, tag = "7")]
    pub streams_pid: u32,
    #[prost(uint64, tag = "8")]
    pub private_bytes: u64,
    #[prost(uint32, tag = "9")]
    pub connections: u32,
}

/// A container of the shim.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ContainerReport {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(enumeration = "Status", tag = "3")]
    pub status: i32,
    #[prost(message, repeated, tag = "4")]
    pub execs: Vec<ExecReport>,
    #[prost(uint64, tag = "5")]
    pub dropped_log_bytes: u64,
    #[prost(uint32, tag = "6")]
    pub attached: u32,
}

/// An exec of a container.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ExecReport {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(enumeration = "Status", tag = "3")]
    pub status: i32,
    #[prost(uint64, tag = "4")]
    pub dropped_log_bytes: u64,
}

/// Why a process ended: field 1000 of containerd's messages that tell an end.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Cause {
    /// The signal that ended it; 0 if it ended by itself.
    #[prost(uint32, tag = "1")]
    pub signal: u32,
    /// Whether the signal was asked for over the Task service.
    #[prost(bool, tag = "2")]
    pub by_request: bool,
    /// Whether the kernel killed it for want of memory, or one of its container before it ended with an error.
    #[prost(bool, tag = "3")]
    pub out_of_memory: bool,
    /// The cgroup that had no memory left, as a path from the root of the hierarchy; `/` is the machine.
    #[prost(string, tag = "4")]
    pub cgroup: String,
    /// That one's limit, and what it held; where memory did not run out, those of the container's cgroup. 0 is unknown, or no limit.
    #[prost(uint64, tag = "5")]
    pub memory_limit_bytes: u64,
    #[prost(uint64, tag = "6")]
    pub memory_peak_bytes: u64,
    #[prost(uint64, tag = "7")]
    pub memory_current_bytes: u64,
    /// The line `some` of its `memory.pressure`: cgroup v2.
    #[prost(string, tag = "8")]
    pub pressure: String,
    /// Why it never ran.
    #[prost(string, tag = "9")]
    pub error: String,
    /// The same in one sentence.
    #[prost(string, tag = "10")]
    pub text: String,
}

named!("gantry.shim.v1": ReportResponse, Cause);
