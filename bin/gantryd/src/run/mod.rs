//! `gantryd run`: runs one container of an image layout through a shim and ends with it.
//!
//! ```text
//!   layout ─► unpack ─► spec ─► bundle ─► shim: start, Create, Start, Wait, Delete, Shutdown
//!                                           │            └─ relay: FIFOs, terminal, signals
//!                                           └─ events ─► standard error
//! ```
//! It keeps no records, pulls nothing and makes no network: what a container needs beyond that waits for the engine.

mod arguments;
mod container;
mod events;
mod layout;
mod relay;
mod shim;
mod spec;
mod unpack;

use std::process::ExitCode;

use arguments::{Arguments, HELP};

/// The status of a container that could not be run.
const CANNOT_RUN: u8 = 125;

/// Ends with the container's status.
pub(crate) fn main(given: impl Iterator<Item = String>) -> ExitCode {
    let arguments = match Arguments::parse(given) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("gantryd: {error:#}\n\n{HELP}");
            return ExitCode::from(CANNOT_RUN);
        }
    };
    match container::run(&arguments) {
        // A thread may still read our standard input, and nobody waits for it.
        Ok(status) => std::process::exit(i32::from(status)),
        Err(error) => {
            eprintln!("gantryd: {error:#}");
            std::process::exit(i32::from(CANNOT_RUN));
        }
    }
}
