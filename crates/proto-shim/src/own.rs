//! `gantry.shim.v1.Shim`: what our shim serves beyond containerd's services (docs/design/0004-shim.md).
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

named!("gantry.shim.v1": ReportResponse);
