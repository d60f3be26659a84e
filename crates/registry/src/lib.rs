//! The distribution client: what Gantry says to registries.
//!
//! OCI distribution specification v1.1.1 and Docker's registry protocol, over HTTP/1.1 and HTTP/2: resolve, pull, push,
//! tags, referrers, deletion, with mirrors, proxies, Basic and Bearer authentication. `primitives` calls it for every pull
//! and push. A [`Client`] is one for the process (connections, tokens); a [`Repository`] is one operation's authority:
//! it carries the credentials and the mirrors of whoever asked.
//!
//! ```text
//! Repository ── hosts in order ──► Transport ── pool per TLS identity ──► dial (proxy, CONNECT) ──► TLS ──► registry
//!     │                               │  ▲
//!     │                               │  └── redirects: bounded, never with credentials, never down to plain HTTP
//!     └── Authority: challenge ──► token (cached per realm, service, scope and credential)
//! ```
//!
//! What it never does: it writes nothing and reads no file but, once, the host's trusted certificates; it sends
//! a credential to no other host than the one it was given for, or the token server that this host names (CVE-2020-15157);
//! it takes no byte of a manifest before its digest fits. The bytes of a blob are checked for their number only: whoever
//! stores them hashes them on their way.
#![forbid(unsafe_code)]

mod auth;
mod blob;
mod client;
mod credential;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod host;
mod link;
mod options;
mod push;
mod repository;
mod retry;
mod transport;
mod web;

pub use blob::{BlobStream, Ranges};
pub use client::Client;
pub use credential::{Anonymous, BoxFuture, Credential, Credentials, Secret};
pub use error::{BoxError, Error};
pub use host::{Capabilities, Capability, ClientCertificate, DefaultHosts, Host, Hosts, Scheme};
pub use options::{Limits, Options, Proxies, Retry, Roots, Timeouts};
pub use push::{BodyStream, Pushed};
pub use repository::{Repository, Target};
pub use web::{Download, Found, redacted};
