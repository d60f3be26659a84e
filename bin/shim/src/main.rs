//! The shim's place.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    eprintln!("containerd-shim-gantry-v2 is not in this build");
    std::process::ExitCode::FAILURE
}
