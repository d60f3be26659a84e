//! `containerd.types`: what `-info` is asked and prints.
use std::collections::BTreeMap;

use crate::any::Any;

/// Asks the daemon about a runtime.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct RuntimeRequest {
    #[prost(string, tag = "1")]
    pub runtime_path: String,
    #[prost(message, optional, tag = "2")]
    pub options: Option<Any>,
}

/// A version and the commit that it was built from.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct RuntimeVersion {
    #[prost(string, tag = "1")]
    pub version: String,
    #[prost(string, tag = "2")]
    pub revision: String,
}

/// A runtime, what it was built from, and what it can do.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct RuntimeInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub version: Option<RuntimeVersion>,
    #[prost(message, optional, tag = "3")]
    pub options: Option<Any>,
    #[prost(message, optional, tag = "4")]
    pub features: Option<Any>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub annotations: BTreeMap<String, String>,
}

named!("containerd.types": RuntimeRequest, RuntimeVersion, RuntimeInfo);
