//! Dockerfiles: parsed, and built by the engine, as docker's classic builder does.
//!
//! Doors open one [`Builder`] on the engine, and give it [requests](BuildRequest) with an archive of files. What is told meanwhile
//! are [messages](Message) in docker's words; whoever drops them cancels the build.
//!
//! ```text
//! archive ─┬─► context ─► Dockerfile ─► plan of stages ─► steps: cache, or container, or files ─► image
//! remote ──┘  (private)   (parsed)      (what is needed)
//! ```
//! Contexts, Dockerfiles and images are strangers'. Names and links in them lead nowhere but into the directory or image that
//! they are in; everything has limits; programs of an image run in containers alone.
//!
//! It never opens a socket: images and files of the web come through the engine, repositories through the program `git`. It keeps nothing but the entries of its
//! cache, which are documents of the engine's. The reference is the Dockerfile's, syntax 1, without what needs BuildKit.
#![forbid(unsafe_code)]

mod arguments;
mod build;
mod builder;
mod cache;
mod context;
mod dockerfile;
mod duration;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod glob;
mod ignore;
mod output;
mod place;
mod plan;
mod prune;
mod remote;
mod request;
mod settings;
mod sieve;
mod tree;
mod users;

pub use builder::{Builder, Running};
pub use error::{Error, Result};
pub use output::Message;
pub use prune::{CacheItem, CachePrune, CachePruned, Scope};
pub use request::{BuildRequest, CredentialsOf, Pull, Remove, UseCache, Verbosity};
