//! Pulls of a large image from a registry on the loopback device: us and the peers in turn in one run.
//!
//! ```text
//! gantry-bench pull --layout DIR [--sid DIR] [--inflaters DIR] [--gantryd PATH] [--count N] [--image TAG]... [ENGINE...]
//! ```
//!
//! `scripts/bench-pull.sh` calls it, in namespaces of its own. Every pull finds an empty store on a new tmpfs, and a daemon that
//! was started for it; the registry keeps its blobs on a tmpfs, too. So no disk is measured, and nobody has a warmer cache than
//! another. Nothing of what is measured runs beside a pull but the registry.
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

mod client;
mod engine;
mod group;
mod memory;
mod options;
mod report;
mod round;
mod store;

use std::path::Path;
use std::process::ExitCode;

use gantry_e2e::{Access, Registry};

use options::Options;
use report::Report;

/// Runs it with the words of the command line that follow `pull`.
pub(crate) fn main(words: impl Iterator<Item = String>) -> ExitCode {
    match Options::parse(words).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| format!("a temporary directory: {error}"))?;
    let at = |name: &str| dir.path().join(name);
    let blobs = store::Tmpfs::mount(&at("registry"))?;
    let registry = Registry::start(blobs.path(), Access::Plain);
    for image in &options.images {
        let layout = format!("{}:{image}", options.layout.display());
        registry.push(&layout, &format!("bench:{image}"));
    }
    for image in &options.images {
        let mut report = Report::new(image);
        measure(options, &registry, image, &at("store"), &mut report)?;
        report.print();
    }
    Ok(())
}

fn measure(
    options: &Options,
    registry: &Registry,
    image: &str,
    dir: &Path,
    report: &mut Report,
) -> Result<(), String> {
    let name = registry.name(&format!("bench:{image}"));
    for turn in 0..options.count {
        for engine in &options.engines {
            let store = store::Tmpfs::mount(dir)?;
            let sample =
                round::run(engine, &store, &name).map_err(|error| format!("{}: {error}", engine.name))?;
            eprintln!("{image} {}/{} {}: {sample}", turn + 1, options.count, engine.name);
            report.add(&engine.name, sample);
        }
    }
    Ok(())
}
