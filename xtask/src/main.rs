//! Automation of the workspace.
#![forbid(unsafe_code)]

mod conformance;
mod gate;
#[cfg(feature = "protos")]
mod protos;
mod syscalls;
mod tidy;
mod vm;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <command>

commands:
  ci               the whole gate: formatting, tidy, lints, tests
  tidy             the crate table, file sizes and other rules of the house
  test             every test, with the skipped ones counted
  conformance      other projects' suites, compared with the lists of conformance/
  conformance-vm   the tests of cgroups and of the runtime in a virtual machine
  smoke-vm         a short selection of them
  protos           write the Rust of crates/proto-containerd/proto (needs --features protos)
  syscall-tables   write the seccomp compiler's tables of system calls from Debian's kernel headers";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((command, [])) if command == "ci" => gate::ci(),
        Some((command, [])) if command == "tidy" => tidy::run(),
        Some((command, [])) if command == "test" => gate::test(),
        Some((command, rest)) if command == "conformance" => conformance::run(rest),
        Some((command, [])) if command == "conformance-vm" => vm::conformance(),
        Some((command, [])) if command == "smoke-vm" => vm::smoke().map(drop),
        Some((command, rest)) if command == "syscall-tables" => syscalls::run(rest),
        #[cfg(feature = "protos")]
        Some((command, [])) if command == "protos" => protos::run(),
        #[cfg(not(feature = "protos"))]
        Some((command, [])) if command == "protos" => {
            Err("the generator is not built in: cargo run -p xtask --features protos -- protos".into())
        }
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
