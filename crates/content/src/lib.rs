//! Content-addressed blobs: ingest, verify, commit, read.
//!
//! ```text
//! ingest(key) ──► Ingest ──write*──► commit ──rename──► blobs/<algorithm>/<hex> ──► flusher: fdatasync, fsync
//!                   │ drop keeps the bytes        │ wrong size or digest: the Ingest comes back
//!                   └──► ingest(key) resumes      └ the digest is there: the bytes go
//! ```
//!
//! `primitives` is its caller: it joins blobs with the records that name them. The model is containerd's content store
//! (v2.2, `core/content`): one writer per key, resumable, status, abort. The order of durability is that of
//! `docs/design/0005-store.md`.
//!
//! On disk: `blobs/<algorithm>/<hex>`, and `ingest/<sha256 of the key>/{status,data}` for what is being written.
//!
//! - A blob is invisible until its bytes were hashed and match; the rename is the commit.
//! - Bytes of an ingest that another boot wrote are believed only as far as a checkpoint's digest proves them.
//! - A reader that holds a [`Blob`] keeps its bytes, whoever removes it.
//!
//! It never opens a socket, never knows a namespace, a label or a reference, and removes no blob on its own account.
//! Everything blocks; nothing here is async.
#![forbid(unsafe_code)]

mod blob;
mod error;
mod failpoint;
mod flush;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod ingest;
mod layout;
mod lock;
mod options;
mod store;
pub mod testsuite;

pub use blob::{Blob, BlobInfo};
pub use error::{Error, Refused};
pub use ingest::{Committed, Ingest, Status};
pub use options::{
    DEFAULT_IDLE_INGEST_AGE, DEFAULT_MAX_BLOB_BYTES, DEFAULT_MAX_INGESTS, DEFAULT_MAX_KEY_BYTES, Options,
};
pub use store::{Blobs, Store};
