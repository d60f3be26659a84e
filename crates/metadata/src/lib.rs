//! The embedded database: namespaces, records, leases, references, the event journal, and the collector.
//!
//! `primitives` is its one user. Records are read and written by the functions of the modules named after them, inside of
//! [`Database::read`] and [`Database::write`]; what they mean is docs/design/0005-store.md.
//!
//! It never opens a blob or the directory of a snapshot, never mounts, never speaks a wire format, and knows no filter
//! language: what goes away without a record is handed to the caller as a [`Release`].
//!
//! ```text
//!   read(f) ──► pooled connection, a snapshot of the database
//!   write(f), submit(f, done) ──► the writer's thread: several closures in one transaction, a savepoint for each
//!                                   │ commit ──► answers, subscribers
//!                                   └──► the flusher: before_flush (blobs), fdatasync of the log, checkpoint ──► releases
//! ```
#![forbid(unsafe_code)]

pub mod collector;
mod connection;
pub mod containers;
pub mod contents;
mod database;
pub mod documents;
mod edges;
mod error;
mod events;
mod fields;
mod flusher;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod images;
pub mod ingests;
mod invariants;
mod labels;
pub mod leases;
mod log;
pub mod mounts;
pub mod namespaces;
mod node;
mod released;
mod row;
pub mod salvage;
pub mod sandboxes;
mod schema;
pub mod settings;
pub mod snapshots;
pub mod sources;
mod subscription;
pub mod tasks;
mod time;
mod view;
mod writer;

pub use collector::{Collected, Collection, collect, dry_run, dry_run_beside};
pub use containers::Container;
pub use contents::Content;
pub use database::{Database, Dirt, Durability, FILE, IngestHold, Options, Pin};
pub use error::Error;
pub use events::{Envelope, Event};
pub use images::{Holder, Image, SharedImage};
pub use ingests::Ingest;
pub use leases::{Lease, Resource};
pub use mounts::Activation;
pub use released::{Bytes, Release};
pub use row::Opaque;
pub use sandboxes::Sandbox;
pub use snapshots::{Kind as SnapshotKind, Snapshot, Usage};
pub use subscription::{Lagged, Subscription};
pub use tasks::{State as TaskState, Task};
pub use time::Timestamp;
pub use view::{Change, View};
