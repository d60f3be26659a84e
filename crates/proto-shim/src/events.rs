//! `containerd.events`: what happened to a container, and under which topic it is published.
use crate::any::{Named, Timestamp};
use crate::mount::Mount;
use crate::own::Cause;

/// A message that is published.
pub trait Event: Named {
    /// Where it is published.
    const TOPIC: &'static str;
}

macro_rules! events {
    ($($event:ident => $topic:literal,)+) => {
        $(impl Event for $event {
            const TOPIC: &'static str = $topic;
        })+
    };
}

/// A container was created.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TaskCreate {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub bundle: String,
    #[prost(message, repeated, tag = "3")]
    pub rootfs: Vec<Mount>,
    #[prost(message, optional, tag = "4")]
    pub io: Option<TaskIO>,
    #[prost(string, tag = "5")]
    pub checkpoint: String,
    #[prost(uint32, tag = "6")]
    pub pid: u32,
}

/// A container's process was started.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TaskStart {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
}

/// A container or an exec was deleted.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TaskDelete {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(uint32, tag = "3")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "4")]
    pub exited_at: Option<Timestamp>,
    #[prost(string, tag = "5")]
    pub id: String,
}

/// The paths of a process's streams.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TaskIO {
    #[prost(string, tag = "1")]
    pub stdin: String,
    #[prost(string, tag = "2")]
    pub stdout: String,
    #[prost(string, tag = "3")]
    pub stderr: String,
    #[prost(bool, tag = "4")]
    pub terminal: bool,
}

/// A process ended; `id` is the exec, or the container once more.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TaskExit {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    #[prost(uint32, tag = "4")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "5")]
    pub exited_at: Option<Timestamp>,
    #[prost(message, optional, tag = "1000")]
    pub cause: Option<Cause>,
}

/// The kernel killed a process of a container for want of memory.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TaskOOM {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// An exec was registered.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TaskExecAdded {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// An exec was started.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TaskExecStarted {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
}

/// A container was frozen.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TaskPaused {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// A container was thawed.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TaskResumed {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// A checkpoint of a container was written.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct TaskCheckpointed {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub checkpoint: String,
}
/// A sandbox was created.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct SandboxCreate {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// A sandbox was started.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct SandboxStart {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
}

/// A sandbox ended.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct SandboxExit {
    #[prost(string, tag = "1")]
    pub sandbox_id: String,
    #[prost(uint32, tag = "2")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "3")]
    pub exited_at: Option<Timestamp>,
}

named!("containerd.events": TaskIO, TaskCreate, TaskStart, TaskExit, TaskDelete, TaskOOM, TaskExecAdded, TaskExecStarted, TaskPaused, TaskResumed, TaskCheckpointed, SandboxCreate, SandboxStart, SandboxExit);

events! {
TaskCreate => "/tasks/create",
TaskStart => "/tasks/start",
TaskExit => "/tasks/exit",
TaskDelete => "/tasks/delete",
TaskOOM => "/tasks/oom",
TaskExecAdded => "/tasks/exec-added",
TaskExecStarted => "/tasks/exec-started",
TaskPaused => "/tasks/paused",
TaskResumed => "/tasks/resumed",
TaskCheckpointed => "/tasks/checkpointed",
SandboxCreate => "/sandboxes/create",
SandboxStart => "/sandboxes/start",
SandboxExit => "/sandboxes/exit",
}
