//! Reading of configuration: Gantry's own TOML and containerd's, `hosts.toml` trees, Docker's `config.json` and
//! `daemon.json`.
//!
//! `gantryd` calls it at the start and on SIGHUP, and for each pull and push. It gives values and says where a file is
//! wrong: path, line, what is allowed there.
//!
//! What it never does: it writes nothing, logs nothing and connects to nothing. It starts no program but a credential
//! helper, when [`docker::Helper::get`] is called.
#![forbid(unsafe_code)]

mod config;
mod containerd;
pub mod docker;
mod document;
mod dump;
mod duration;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod hosts;
mod load;
mod reference;
mod section;
#[cfg(test)]
mod tests;
mod value;

pub use config::{
    Config, Content, ContentLimits, Debug, Docker, Durability, EventLimits, Foreign, Gc, Grpc, Images,
    LayerLimits, Level, LogFormat, Metrics, ProxyKind, ProxyPlugin, Pull, Registry, RegistryLimits,
    RegistryRetry, RegistryTimeouts, Runtime, SharingPolicy, Snapshots, Store, Tasks, Tracing, Ttrpc,
};
pub use error::Error;
pub use load::{Ignored, Loaded};
pub use value::{Endpoint, Interface, Size};
