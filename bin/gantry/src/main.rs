//! `gantry`, the command line: docker's verbs over Docker's Engine API, of any engine.
//!
//! It is a thin client: it parses, asks, shows. What docker lacks is in `own`. `docs/gantry.md` lists what differs.
#![forbid(unsafe_code)]

mod build;
mod client;
mod command;
mod config_file;
mod container;
mod format;
mod image;
mod network;
mod output;
mod own;
mod progress;
mod registry;
mod session;
mod system;
mod terminal;
mod volume;

use std::process::exit;

fn main() {
    let arguments = std::env::args_os().collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("gantry: no event loop: {error}");
            exit(125);
        }
    };
    let status = runtime.block_on(command::main(arguments));
    // Not the runtime's end: a thread may still wait for standard input.
    exit(status.into());
}
