//! Containers: what they are made of, and what is told of them.

mod answers;
mod config;
mod host_config;
mod inspect;
mod resources;
mod stats;
mod summary;

pub use answers::{
    Change, ContainerCreateResponse, ContainerPruneResponse, ContainerTopResponse, ContainerUpdateRequest,
    ContainerUpdateResponse, ContainerWaitResponse, PathChange, PathStat, WaitError,
};
pub use config::{ContainerConfig, ContainerCreateRequest, HealthConfig};
pub use host_config::{
    BindOptions, DriverConfig, HostConfig, ImageOptions, LogConfig, Mount, PortBinding, PortMap,
    RestartPolicy, TmpfsOptions, VolumeOptions,
};
pub use inspect::{
    Address, ContainerInspect, ContainerState, GraphDriver, Health, HealthLog, MountPoint, NetworkSettings,
};
pub use resources::{DeviceMapping, DeviceRequest, Resources, ThrottleDevice, Ulimit, WeightDevice};
pub use stats::{
    BlkioEntry, BlkioStats, ContainerStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats,
    ThrottlingData,
};
pub use summary::{ContainerSummary, HealthSummary, PortSummary, SummaryHostConfig, SummaryNetworks};
