//! The engine: containers as people mean them. Images by name, volumes, networks, logs, health, restarts.
//!
//! Doors for people (Docker's, later the CRI) call it, and the command line through them. It stands on `primitives` alone
//! for bytes, records and processes, and sees no protobuf or HTTP type: what a door's client says is translated into
//! [`Options`] and its like once, and what is known of a container is a [`Record`].
//!
//! ```text
//! create ─► record, snapshot                                  (container/create.rs)
//! start  ─► namespace, address, ports ┐                       (container/start.rs)
//!           mounts, files, user       ┴─► specification ─► task made ─► clients attached ─► started
//! end    ◄─ journal: /tasks/exit ◄─ shim                      (container/end.rs): task deleted, record, restart or removal
//! ```
//! A container is a sandbox of one: what it needs of namespaces and network is made for its sandbox, and it joins.
//!
//! It never parses what a container wrote, and never runs a program of a container's on the host.
#![forbid(unsafe_code)]

mod container;
mod engine;
mod error;
mod event;
pub mod image;
mod login;
mod names;
mod options;
mod record;
mod timing;
mod tree;
mod userns;
mod volume;

pub use container::{
    AttachRequest, Attached, Container, Created, Exec, ExecOptions, ExecState, Frame, LogRequest, LogStream,
    Moment, Owner, RemoveRequest, Stats, StreamInput, StreamOutput, Streams, Traffic, UpdateRequest, WaitFor,
    signal,
};
pub use engine::{Engine, Parts, Settings};
pub use error::{Error, Result};
pub use event::{ENGINE_EVENT, Event, EventKind, Events, MAX_PAST};
pub use gantry_network::{Endpoint, Protocol, PublishedPort};
pub use gantry_primitives::chain;
pub use names::MAX_NAME_BYTES;
pub use options::{
    HealthCheck, Isolation, LogOptions, MountKind, MountRequest, NetworkOptions, Options, PortRequest,
    Process, ReadOnlyBelow, Resources, RestartPolicy,
};
pub use record::{
    Command, DEFAULT_STOP_TIMEOUT, Health, HealthStatus, ImageOf, MountPoint, Probe, Record, State, Status,
};
pub use timing::Timings;
pub use tree::{FileChange, FileChangeKind, FileStat, Overwrite, Ownership, PutOptions, Sizes};
pub use userns::{DefaultMode, IdMaps, Origin, Userns, UsernsSettings};
pub use volume::{Volume, VolumeRequest};
