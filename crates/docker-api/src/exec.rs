//! Processes in running containers.

use crate::wire::{List, Words, wire};

wire! {
    /// The body of `POST /containers/{id}/exec`.
    pub struct ExecCreateRequest {
        put "User" user: String,
        put "Privileged" privileged: bool,
        put "Tty" tty: bool,
        /// Height and width; since 1.42.
        omit "ConsoleSize" console_size: Option<[u32; 2]>,
        put "AttachStdin" attach_stdin: bool,
        put "AttachStderr" attach_stderr: bool,
        put "AttachStdout" attach_stdout: bool,
        put "Detach" detach: bool,
        put "DetachKeys" detach_keys: String,
        put "Env" env: List<String>,
        put "WorkingDir" working_dir: String,
        put "Cmd" cmd: Words,
    }
}

wire! {
    /// The answer to it.
    pub struct ExecCreateResponse {
        put "Id" id: String,
    }
}

wire! {
    /// The body of `POST /exec/{id}/start`.
    pub struct ExecStartRequest {
        put "Detach" detach: bool,
        put "Tty" tty: bool,
        /// Since 1.42.
        omit "ConsoleSize" console_size: Option<[u32; 2]>,
    }
}

wire! {
    /// The answer to `GET /exec/{id}/json`.
    pub struct ExecInspect {
        put "ID" id: String,
        put "Running" running: bool,
        /// `null` until it ended.
        put "ExitCode" exit_code: Option<i64>,
        put "ProcessConfig" process_config: Option<ProcessConfig>,
        put "OpenStdin" open_stdin: bool,
        put "OpenStderr" open_stderr: bool,
        put "OpenStdout" open_stdout: bool,
        put "CanRemove" can_remove: bool,
        put "ContainerID" container_id: String,
        /// The keys' bytes, in base64.
        put "DetachKeys" detach_keys: String,
        put "Pid" pid: i64,
    }
}

wire! {
    /// What an exec runs.
    pub struct ProcessConfig {
        put "tty" tty: bool,
        put "entrypoint" entrypoint: String,
        put "arguments" arguments: List<String>,
        omit "privileged" privileged: Option<bool>,
        omit "user" user: String,
    }
}
