//! The primitives: namespaced content, images, snapshots, leases, containers, sandboxes and events, over bytes that all share.
//!
//! It joins `metadata` (records), `content` and `snapshot` (bytes), `layer` (what bytes become) and `registry` (where they
//! come from) into one [`Store`], which doors and the engine call: pulls, pushes, imports, exports, applying and making
//! layers, collection, recovery. `docs/design/0005-store.md` is what it holds to.
//!
//! What it never does: it speaks no wire format but that of foreign snapshotters, mounts nothing for a client, trusts no
//! digest, name or size of a registry or archive, and lets no door change a record past its methods.
//!
//! Methods are asynchronous; what waits for a disk runs on tokio's blocking threads. What was begun runs to its end when its
//! future is dropped, but for transfers, which end and can be resumed.
#![forbid(unsafe_code)]

pub mod access;
mod adopt;
mod archive;
mod collect;
mod containers;
mod content;
mod context;
mod diff;
mod documents;
mod error;
mod events;
#[cfg(debug_assertions)]
pub mod failpoint;
#[cfg(not(debug_assertions))]
mod failpoint;
pub mod filter;
mod flight;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod image_labels;
mod images;
mod leases;
mod mounts;
mod namespaces;
pub mod progress;
mod pull;
mod push;
mod recover;
mod remote;
mod repair;
mod sandboxes;
mod snapshots;
mod spans;
mod store;
pub mod tasks;

pub use archive::{ExportImage, ExportRequest, ImportRequest, Imported, Naming};
pub use collect::{Schedule, plan};
pub use content::{IngestStatus, Reader, Writer, WriterStatus};
pub use context::Context;
pub use diff::{DiffRequest, SnapshotLayer};
pub use documents::{CONTAINER_DOCUMENT, ENGINE_NAMESPACE, ENGINE_TOPICS, Step};
pub use error::{Error, Result, chain};
pub use events::Events;
pub use gantry_metadata::FILE as DATABASE;
pub use gantry_metadata::collector::{Item, Plan};
pub use gantry_metadata::salvage::{Finding, Report};
pub use gantry_metadata::{
    Collected, Container, Content, Durability, Envelope, Event, Holder, Image, Lease, Opaque, Resource,
    Sandbox, Snapshot, SnapshotKind, Task, TaskState, Timestamp,
};
pub use gantry_registry as registry;
pub use mounts::{ActivateRequest, Activation, ActiveMount};
pub use pull::{Access, Adoption, Breadth, Concurrency, PullRequest, Pulled, Unpack};
pub use push::PushRequest;
pub use repair::Repair;
pub use snapshots::{SnapshotRequest, Usage, proxy};
pub use spans::SPANS;
pub use store::{DEFAULT_SNAPSHOTTER, Options, ProxySnapshotter, Store};
pub use tasks::{EventSource, ShimEvent};
