//! `containerd.runtime.sandbox.v1.Sandbox`: a pod as the shim sees it.
use std::collections::BTreeMap;

use crate::any::{Any, Timestamp};
use crate::mount::Mount;

/// The service.
pub const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// The names of the methods.
pub mod method {
    pub const CREATE_SANDBOX: &str = "CreateSandbox";
    pub const START_SANDBOX: &str = "StartSandbox";
    pub const PLATFORM: &str = "Platform";
    pub const STOP_SANDBOX: &str = "StopSandbox";
    pub const WAIT_SANDBOX: &str = "WaitSandbox";
    pub const SANDBOX_STATUS: &str = "SandboxStatus";
    pub const PING_SANDBOX: &str = "PingSandbox";
    pub const SHUTDOWN_SANDBOX: &str = "ShutdownSandbox";
    pub const SANDBOX_METRICS: &str = "SandboxMetrics";
}

/// Makes a sandbox.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct CreateSandboxRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(string, tag = "2")]
    pub bundle_path: String,
    #[prost(message, repeated, tag = "3")]
    pub rootfs: Vec<Mount>,
    #[prost(message, optional, tag = "4")]
    pub options: Option<Any>,
    #[prost(string, tag = "5")]
    pub netns_path: String,
    #[prost(btree_map = "string, string", tag = "6")]
    pub annotations: BTreeMap<String, String>,
}

/// It is made.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct CreateSandboxResponse {}

/// Starts a sandbox.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct StartSandboxRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// It runs.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct StartSandboxResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    #[prost(message, optional, tag = "2")]
    pub created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    pub spec: Option<Any>,
}

/// Asks for a sandbox's platform.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct PlatformRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// A sandbox's platform.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct PlatformResponse {
    #[prost(message, optional, tag = "1")]
    pub platform: Option<Platform>,
}

/// Stops a sandbox; the time limit is in seconds.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct StopSandboxRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(uint32, tag = "2")]
    pub timeout_secs: u32,
}

/// It is stopped.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct StopSandboxResponse {}

/// Changes a sandbox's limits; no method takes it yet.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct UpdateSandboxRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    pub resources: Option<Any>,
    #[prost(btree_map = "string, string", tag = "3")]
    pub annotations: BTreeMap<String, String>,
}

/// They are changed.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct UpdateSandboxResponse {}

/// Waits for the end of a sandbox.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct WaitSandboxRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// How a sandbox ended.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct WaitSandboxResponse {
    #[prost(uint32, tag = "1")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "2")]
    pub exited_at: Option<Timestamp>,
}

/// Asks for the state of a sandbox.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct SandboxStatusRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// The state of a sandbox.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct SandboxStatusResponse {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(string, tag = "3")]
    pub state: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub info: BTreeMap<String, String>,
    #[prost(message, optional, tag = "5")]
    pub created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    pub exited_at: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    pub extra: Option<Any>,
}

/// Asks whether a sandbox answers.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct PingRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// It does.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct PingResponse {}

/// Ends a sandbox and its shim.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ShutdownSandboxRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// They are ending.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ShutdownSandboxResponse {}

/// Asks for the counters of a sandbox.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct SandboxMetricsRequest {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// The counters of a sandbox.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct SandboxMetricsResponse {
    #[prost(message, optional, tag = "1")]
    pub metrics: Option<Metric>,
}
/// An operating system on an architecture, in the words of OCI's images.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Platform {
    #[prost(string, tag = "1")]
    pub os: String,
    #[prost(string, tag = "2")]
    pub architecture: String,
    #[prost(string, tag = "3")]
    pub variant: String,
    #[prost(string, tag = "4")]
    pub os_version: String,
    #[prost(string, repeated, tag = "5")]
    pub os_features: Vec<String>,
}
/// Counters, one of `metrics_v1` or `metrics_v2`, with their time.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Metric {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(message, optional, tag = "3")]
    pub data: Option<Any>,
}

named!("containerd.types": Platform, Metric);
