//! containerd's gRPC messages and services, as clients (`*_client`) and servers (`*_server`): layouts only.
//!
//! Used by the containerd door, by snapshotters behind a socket, and by tests. The definitions are in `proto/`; the Rust in
//! `src/generated` is written by `cargo run -p xtask --features protos -- protos` and checked in. It never sends, checks or
//! judges.
//!
//! Three things of the wire that one would not guess: an [`Any`] carries the bare name of its message; the events of
//! images are in the package of the images' service ([`images::ImageCreate`]), all others in [`events`]; specifications of
//! the OCI runtime travel as JSON ([`any::json`]).
#![forbid(unsafe_code)]

pub mod any;
mod generated;
pub mod header;

pub use any::Any;
pub use prost::{Message, Name};
pub use prost_types::{FieldMask, Timestamp};

#[doc(inline)]
pub use generated::containerd::services::{
    containers::v1 as containers, content::v1 as content, diff::v1 as diff, events::v1 as events_service,
    images::v1 as images, introspection::v1 as introspection, leases::v1 as leases, mounts::v1 as mounts,
    namespaces::v1 as namespaces, sandbox::v1 as sandbox, snapshots::v1 as snapshots,
    streaming::v1 as streaming, tasks::v1 as tasks, transfer::v1 as transfer_service, version::v1 as version,
};
#[doc(inline)]
pub use generated::containerd::types::transfer;
#[doc(inline)]
pub use generated::containerd::v1::types as task;
#[doc(inline)]
pub use generated::containerd::{events, types};
#[doc(inline)]
pub use generated::google::rpc;
#[doc(inline)]
pub use generated::grpc::health::v1 as health;
