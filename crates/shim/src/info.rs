//! `-info` and `-v`.

use gantry_proto_shim::Message;
use gantry_proto_shim::info::{RuntimeInfo, RuntimeVersion};

/// The runtime's name, as daemons call it.
pub const RUNTIME_NAME: &str = "io.containerd.gantry.v2";

/// What `-info` prints: an encoded `RuntimeInfo`.
pub fn info() -> Vec<u8> {
    let version = RuntimeVersion { version: env!("CARGO_PKG_VERSION").to_owned(), revision: String::new() };
    let info = RuntimeInfo { name: RUNTIME_NAME.to_owned(), version: Some(version), ..RuntimeInfo::default() };
    info.encode_to_vec()
}

/// What `-v` prints.
pub fn version(program: &str) -> String {
    format!("{program}:\n  Version:  {}\n  Runtime:  {RUNTIME_NAME}, OCI runtime linked in\n", env!("CARGO_PKG_VERSION"))
}
