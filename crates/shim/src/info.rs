//! `-info` and `-v`.

use std::io::Read;
use std::process::Command;

use gantry_proto_shim::Message;
use gantry_proto_shim::any::{Any, FEATURES};
use gantry_proto_shim::info::{RuntimeInfo, RuntimeVersion};
use gantry_types::ErrorKind;

use crate::failure::Failure;
use crate::options::RuntimeOptions;

/// The runtime's name, as daemons call it.
pub const RUNTIME_NAME: &str = "io.containerd.gantry.v2";

/// The largest input of `-info`, in bytes.
const MAX_INPUT_BYTES: u64 = 1 << 20;

/// What `-info` prints: an encoded `RuntimeInfo`. The standard input may name an external runtime, in an `Any` of options.
///
/// # Errors
/// InvalidArgument for options that cannot be read; what executing an external runtime gives.
pub fn info() -> Result<Vec<u8>, Failure> {
    let mut input = Vec::new();
    if !rustix::termios::isatty(rustix::stdio::stdin()) {
        let mut stdin = std::io::stdin().take(MAX_INPUT_BYTES);
        stdin.read_to_end(&mut input).map_err(Failure::io("read the standard input"))?;
    }
    let any = Any::decode(&*input).ok().filter(|any| !any.type_url.is_empty());
    let options = RuntimeOptions::decode(any.as_ref())?;
    let features = if options.binary_name.is_empty() {
        serde_json::to_vec(&gantry_runtime::features())
            .map_err(|error| Failure::new(ErrorKind::Internal, format!("features: {error}")))?
    } else {
        external_features(&options.binary_name)?
    };
    let version = RuntimeVersion { version: env!("CARGO_PKG_VERSION").to_owned(), revision: String::new() };
    let info = RuntimeInfo {
        name: RUNTIME_NAME.to_owned(),
        version: Some(version),
        options: any,
        features: Some(Any::json(FEATURES, features)),
        ..RuntimeInfo::default()
    };
    Ok(info.encode_to_vec())
}

fn external_features(binary: &str) -> Result<Vec<u8>, Failure> {
    let output =
        Command::new(binary).arg("features").output().map_err(Failure::io(format!("runtime {binary:?}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(ErrorKind::Internal, format!("{binary} features: {text} ({})", output.status)))
}

/// What `-v` prints.
pub fn version(program: &str) -> String {
    format!(
        "{program}:\n  Version:  {}\n  Runtime:  {RUNTIME_NAME}, OCI runtime linked in\n",
        env!("CARGO_PKG_VERSION")
    )
}
