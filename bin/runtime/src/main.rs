//! The command line of the OCI runtime: runc's verbs and flags over the `gantry-runtime` library.
//!
//! Called by engines (containerd's shim, conmon, dockerd) and by people. It turns arguments into requests of the
//! library, and results into the exit codes, JSON, tables and log lines that those callers parse. It decides nothing
//! about containers, starts no thread, and takes input from argv, the files that argv names, standard input where a
//! flag says so, and the variables of `docs/gantry-runtime.md`.
//!
//! `unsafe` is denied and not forbidden, for the sake of one attribute in `entry`.
#![deny(unsafe_code)]
#![cfg_attr(all(target_env = "gnu", not(test)), no_main)]

mod application;
mod args;
mod clock;
mod commands;
mod engine;
mod entry;
mod failure;
mod globals;
mod input;
mod invocation;
mod log;
mod output;
mod reaper;
mod report;
mod size;
mod table;

#[cfg(any(not(target_env = "gnu"), test))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(entry::enter())
}
