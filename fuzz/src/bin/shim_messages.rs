//! The messages between a shim and its daemon.
#![no_main]

use gantry_proto_shim::any::Any;
use gantry_proto_shim::{
    Message, bootstrap, events, forward, info, metrics_v1, metrics_v2, mount, options, own, process, sandbox,
    task,
};

/// What was understood is understood again, and is the same.
fn check<M: Message + Default + PartialEq>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let again = message.encode_to_vec();
        assert_eq!(again.len(), message.encoded_len());
        let second = M::decode(&*again).expect("our own message");
        // Not a number is no other either.
        assert_eq!(second.encode_to_vec(), again);
    }
}

macro_rules! check_each {
    ($bytes:expr, $which:expr; $($message:ty),+ $(,)?) => {{
        let checks: &[fn(&[u8])] = &[$(check::<$message>),+];
        checks[usize::from($which) % checks.len()]($bytes);
    }};
}

// The first byte chooses the message.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    check_each!(bytes, *which;
        task::CreateTaskRequest, task::CreateTaskResponse, task::DeleteRequest, task::DeleteResponse,
        task::ExecProcessRequest, task::ResizePtyRequest, task::StateRequest, task::StateResponse,
        task::KillRequest, task::CloseIORequest, task::PidsRequest, task::PidsResponse,
        task::CheckpointTaskRequest, task::UpdateTaskRequest, task::StartRequest, task::StartResponse,
        task::WaitRequest, task::WaitResponse, task::StatsRequest, task::StatsResponse,
        task::ConnectRequest, task::ConnectResponse, task::ShutdownRequest, task::PauseRequest,
        task::ResumeRequest, events::TaskCreate, events::TaskStart, events::TaskDelete, events::TaskExit,
        events::TaskOOM, events::TaskExecAdded, events::TaskExecStarted, events::TaskPaused,
        events::TaskResumed, events::TaskCheckpointed, events::SandboxCreate, events::SandboxStart,
        events::SandboxExit, forward::ForwardRequest, sandbox::CreateSandboxRequest,
        sandbox::StartSandboxRequest, sandbox::StartSandboxResponse, sandbox::PlatformRequest,
        sandbox::PlatformResponse, sandbox::StopSandboxRequest, sandbox::UpdateSandboxRequest,
        sandbox::WaitSandboxRequest, sandbox::WaitSandboxResponse, sandbox::SandboxStatusRequest,
        sandbox::SandboxStatusResponse, sandbox::PingRequest, sandbox::ShutdownSandboxRequest,
        sandbox::SandboxMetricsRequest, sandbox::SandboxMetricsResponse, options::Options,
        options::GenericOptions, options::CheckpointOptions, options::ProcessDetails,
        bootstrap::BootstrapParams, bootstrap::BootstrapResult, info::RuntimeRequest, info::RuntimeInfo,
        mount::Mount, process::Process, process::ProcessInfo, metrics_v1::Metrics, metrics_v2::Metrics,
        own::ReopenLogRequest, own::UpgradeRequest, own::UpgradeResponse, own::ReportRequest,
        own::ReportResponse, Any,
    );
});
