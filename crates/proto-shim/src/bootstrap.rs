//! `containerd.runtime.bootstrap.v1`: what a daemon tells `start`, and what it prints.
use std::collections::BTreeMap;

use crate::any::{Any, Named, UnpackError};

/// What a daemon from containerd 2.3 on writes to the standard input of `start`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct BootstrapParams {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(enumeration = "LogLevel", tag = "3")]
    pub log_level: i32,
    #[prost(string, tag = "4")]
    pub containerd_version: String,
    #[prost(string, tag = "5")]
    pub containerd_ttrpc_address: String,
    #[prost(string, tag = "6")]
    pub containerd_grpc_address: String,
    #[prost(string, tag = "7")]
    pub containerd_binary: String,
    #[prost(message, repeated, tag = "8")]
    pub extensions: Vec<Extension>,
    #[prost(string, optional, tag = "9")]
    pub socket_dir: Option<String>,
}

/// A message of whoever calls: the options of the runtime are one.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Extension {
    #[prost(message, optional, tag = "1")]
    pub value: Option<Any>,
}

/// What `start` prints.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct BootstrapResult {
    #[prost(int32, tag = "1")]
    pub version: i32,
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(string, tag = "3")]
    pub protocol: String,
    #[prost(enumeration = "Capability", repeated, tag = "4")]
    pub capabilities: Vec<i32>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub metadata: BTreeMap<String, String>,
}

/// What is to be logged: all from this level on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum LogLevel {
    Trace = -8,
    Debug = -4,
    Info = 0,
    Warn = 4,
    Error = 8,
    Fatal = 10,
    Panic = 12,
}

/// What a shim can do beyond the services that it serves; none is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum Capability {
    Unspecified = 0,
}

impl BootstrapParams {
    /// The first extension of a type.
    ///
    /// # Errors
    /// When there is one that cannot be decoded.
    pub fn extension<M: Named>(&self) -> Result<Option<M>, UnpackError> {
        let mut values = self.extensions.iter().filter_map(|extension| extension.value.as_ref());
        values.find(|value| value.is::<M>()).map(Any::unpack).transpose()
    }
}

named!("containerd.runtime.bootstrap.v1": BootstrapParams, Extension, BootstrapResult);
