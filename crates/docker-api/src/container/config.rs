//! The part of a container that an image gives, too, and the body of its creation.

use crate::network::NetworkingConfig;
use crate::wire::{List, Map, Nothing, Words, wire};

use super::HostConfig;

wire! {
    /// What runs, and as whom. An image's configuration has the same shape.
    pub struct ContainerConfig {
        put "Hostname" hostname: String,
        put "Domainname" domainname: String,
        put "User" user: String,
        put "AttachStdin" attach_stdin: bool,
        put "AttachStdout" attach_stdout: bool,
        put "AttachStderr" attach_stderr: bool,
        omit "ExposedPorts" exposed_ports: Map<Nothing>,
        put "Tty" tty: bool,
        put "OpenStdin" open_stdin: bool,
        put "StdinOnce" stdin_once: bool,
        put "Env" env: List<String>,
        put "Cmd" cmd: Words,
        omit "Healthcheck" healthcheck: Option<HealthConfig>,
        omit "ArgsEscaped" args_escaped: bool,
        put "Image" image: String,
        put "Volumes" volumes: Map<Nothing>,
        put "WorkingDir" working_dir: String,
        put "Entrypoint" entrypoint: Words,
        omit "NetworkDisabled" network_disabled: bool,
        /// Of the default network, before 1.44.
        omit "MacAddress" mac_address: String,
        put "OnBuild" on_build: List<String>,
        put "Labels" labels: Map<String>,
        omit "StopSignal" stop_signal: String,
        /// Seconds.
        omit "StopTimeout" stop_timeout: Option<i64>,
        omit "Shell" shell: Words,
    }
}

wire! {
    /// How a container's health is found out. Durations are nanoseconds; zero is the default.
    pub struct HealthConfig {
        /// Empty inherits, `NONE` disables, `CMD` and words, or `CMD-SHELL` and a line.
        omit "Test" test: List<String>,
        omit "Interval" interval: i64,
        omit "Timeout" timeout: i64,
        omit "StartPeriod" start_period: i64,
        /// Since 1.44.
        omit "StartInterval" start_interval: i64,
        omit "Retries" retries: i64,
    }
}

wire! {
    /// The body of `POST /containers/create`.
    pub struct ContainerCreateRequest {
        /// Its fields stand among the others.
        flat config: ContainerConfig,
        omit "HostConfig" host_config: Option<HostConfig>,
        omit "NetworkingConfig" networking_config: Option<NetworkingConfig>,
    }
}
