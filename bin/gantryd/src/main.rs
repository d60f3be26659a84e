//! `gantryd`: the daemon. It reads the configuration, opens the store, and serves it at its sockets.
//!
//! ```text
//!   command ─► serve ─► settings ─► place (directories, lock) ─► sockets ─► store ─► door
//!           │                                                       └─ signals, metrics, service manager
//!           ├► gc: the daemon's collector, or the store without a daemon
//!           ├► repair: a new database from what is left of a damaged one
//!           ├► config default, config dump
//!           ├► oci-hook: a hook of a container whose arguments tell of that
//!           └► run: one container of an image layout, without a daemon
//! ```
//! The one place that puts concrete parts together. It never forks itself, and holds no state but what its parts hold.
#![forbid(unsafe_code)]

mod command;
mod gc;
mod hook;
mod repair;
mod run;
mod serve;

use std::process::ExitCode;

use command::{Command, HELP};

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1).peekable();
    if given.next_if(|word| word == "run").is_some() {
        return run::main(given);
    }
    if given.next_if(|word| word == "oci-hook").is_some() {
        return ended(hook::run(given));
    }
    let result = match Command::parse(given) {
        Ok(Command::Serve(options)) => serve::run(&options),
        Ok(Command::Upgrade(options)) => serve::upgrade(&options),
        Ok(Command::Gc(options)) => gc::collect(&options),
        Ok(Command::GcDryRun(options, format)) => gc::dry_run(&options, format),
        Ok(Command::Repair(options, consent)) => repair::repair(&options, consent),
        Ok(Command::ConfigDefault) => serve::print_default(),
        Ok(Command::ConfigDump(options)) => serve::print_config(&options),
        Ok(Command::Version) => {
            println!("gantryd {} (API of containerd {})", env!("CARGO_PKG_VERSION"), serve::API_VERSION);
            Ok(())
        }
        Ok(Command::Help) => {
            print!("{HELP}");
            Ok(())
        }
        Err(error) => {
            eprintln!("gantryd: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    ended(result)
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gantryd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
