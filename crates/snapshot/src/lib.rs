//! Snapshots: the file systems of containers and of the layers they are made of.
//!
//! Two storeys. A [`Driver`] keeps directories by [number](SnapshotNumber) and knows neither names nor namespaces;
//! `primitives` joins numbers to records. A [`Snapshotter`] is containerd's contract over names, which a foreign
//! snapshotter meets over gRPC, and [`Local`] by a driver and its [`Records`]. [`testsuite`] holds any snapshotter
//! against that contract.
//!
//! ```text
//!            prepare ──► Active ──commit──► Committed ──prepare──► Active …
//!   view ──► View          │                    │
//!              └───────────┴──────remove────────┴──► trash ──collect──► gone
//! ```
//!
//! A driver's directory, owned by this crate alone (`/var/lib/gantry/snapshots/<driver>`, mode 0700):
//!
//! ```text
//!   <number>/fs         the files: of a layer, or of a container
//!   <number>/work       overlayfs's, for an active snapshot with parents
//!   new-<number>/       is being made; nobody's after a crash
//!   trash-<number>/     was removed; its files go in `collect`
//! ```
//!
//! This crate returns mounts and never mounts, but for one detached probe inside a user namespace; the [`testsuite`]
//! mounts, in the mount namespace of its caller. It never logs, never opens a socket, and starts no thread.
#![forbid(unsafe_code)]

mod contract;
mod driver;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod local;
mod mapping;
mod native;
mod overlayfs;
mod root;
pub mod testsuite;
mod tree;

pub use contract::{Each, Info, Kind, Snapshotter, Usage};
pub use driver::{ApplyTarget, Capabilities, Driver, Format, Request, SnapshotNumber};
pub use error::Error;
pub use local::{Local, Matcher, MemoryRecords, Read, Record, Records, Table, Write};
pub use mapping::IdMapping;
pub use native::Native;
pub use overlayfs::{Options, Overlayfs};

/// Labels that mean something to a driver.
pub mod labels {
    /// How user ids of the container are mapped: `container:host:size[,…]`.
    pub const UID_MAPPING: &str = "containerd.io/snapshot/uidmapping";
    /// How group ids of the container are mapped.
    pub const GID_MAPPING: &str = "containerd.io/snapshot/gidmapping";
    /// Where the files of a snapshot lie; shown where the configuration asks for it, never stored.
    pub const UPPER_DIR: &str = "containerd.io/snapshot/overlay.upperdir";
    /// What a driver is to see of a name's labels: those with this prefix, and `containerd.io/snapshot.ref`.
    pub const INHERITED_PREFIX: &str = "containerd.io/snapshot/";

    /// The labels that a driver, or a foreign snapshotter, is to see.
    pub fn inherited(labels: &gantry_types::Labels) -> gantry_types::Labels {
        let wanted =
            |key: &str| key.starts_with(INHERITED_PREFIX) || key == gantry_types::labels::SNAPSHOT_REF;
        labels.iter().filter(|(key, _)| wanted(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}
