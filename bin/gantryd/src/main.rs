//! `gantryd`: for now a walking skeleton, which runs one container of an image layout through a shim and ends with it.
//!
//! ```text
//!   layout ─► unpack ─► spec ─► bundle ─► shim: start, Create, Start, Wait, Delete, Shutdown
//!                                           │            └─ relay: FIFOs, terminal, signals
//!                                           └─ events ─► standard error
//! ```
//! It keeps no records, pulls nothing and makes no network: what a container needs beyond that waits for the engine.
#![forbid(unsafe_code)]

mod arguments;
mod events;
mod layout;
mod relay;
mod run;
mod shim;
mod spec;
mod unpack;

use std::process::ExitCode;

use arguments::{Arguments, HELP};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("gantryd: {error:#}\n\n{HELP}");
            return ExitCode::from(125);
        }
    };
    match run::run(&arguments) {
        // A thread may still read our standard input, and nobody waits for it.
        Ok(status) => std::process::exit(i32::from(status)),
        Err(error) => {
            eprintln!("gantryd: {error:#}");
            std::process::exit(125);
        }
    }
}
