//! Pulls of a large image from a registry on the loopback device: us and the peers in turn in one run.
//!
//! ```text
//! gantry-bench pull --layout DIR [--sid DIR] [--inflaters DIR] [--gantryd PATH] [--count N] [--image TAG]...
//!                   [--part pulls|stages|latency|crowd]... [--crowd IMAGES,SNAPSHOTS] [ENGINE...]
//! ```
//!
//! `scripts/bench-pull.sh` calls it, in namespaces of its own. Every pull finds an empty store on a new tmpfs, and a daemon that
//! was started for it; the registry keeps its blobs on a tmpfs, too. So no disk is measured, and nobody has a warmer cache than
//! another. Nothing of what is measured runs beside a pull but the registry.
//!
//! `stages` measures what a pull is made of, each part alone; `latency` what another client feels during a pull; `crowd` a
//! store with many images and snapshots.

mod calls;
mod client;
mod crowd;
mod engine;
mod group;
mod latency;
mod memory;
mod options;
mod report;
mod round;
mod serving;
mod stages;
mod store;

use std::path::Path;
use std::process::ExitCode;

use gantry_e2e::{Access, Registry};

use options::{Options, Part};
use report::Report;
use stages::Stages;
use store::Tmpfs;

/// How much of an error is shown.
const ERROR_LINES: usize = 2;
/// Where the images are in the registry.
const REPOSITORY: &str = "bench";

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
    let blobs = Tmpfs::mount(&at("registry"))?;
    let registry = Registry::start(blobs.path(), Access::Plain);
    for image in &options.images {
        let layout = format!("{}:{image}", options.layout.display());
        registry.push(&layout, &format!("{REPOSITORY}:{image}"));
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    println!("Linux {}, {cores} cores, load {}", read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    for image in &options.images {
        let mut report = Report::new(image);
        if options.does(Part::Pulls) {
            pulls(options, &registry, image, &at("store"), &mut report)?;
            report.print();
        }
        if options.does(Part::Stages) {
            let stages = Stages::measure(&options.layout, image, &registry, REPOSITORY, &at("store"))?;
            stages.print(image, &report.walls());
        }
        if options.does(Part::Latency) {
            others(options, &registry, image, &at("store"))?;
        }
    }
    if options.does(Part::Crowd) {
        crowds(options, &at("store"))?;
    }
    Ok(())
}

fn pulls(
    options: &Options,
    registry: &Registry,
    image: &str,
    dir: &Path,
    report: &mut Report,
) -> Result<(), String> {
    let name = registry.name(&format!("{REPOSITORY}:{image}"));
    for turn in 0..options.count {
        for engine in &options.engines {
            let store = Tmpfs::mount(dir)?;
            match round::run(engine, &store, &name) {
                Ok(sample) => {
                    eprintln!("{image} {}/{} {}: {sample}", turn + 1, options.count, engine.name);
                    report.add(&engine.name, sample);
                }
                // docker 20.10 does not know zstd.
                Err(error) => {
                    let short: Vec<&str> = error.lines().take(ERROR_LINES).collect();
                    eprintln!("{image} {}/{} {}: {}", turn + 1, options.count, engine.name, short.join("\n"));
                }
            }
        }
    }
    Ok(())
}

fn others(options: &Options, registry: &Registry, image: &str, dir: &Path) -> Result<(), String> {
    let name = registry.name(&format!("{REPOSITORY}:{image}"));
    let mut rows = Vec::new();
    for engine in options.engines.iter().filter(|engine| engine.speaks_grpc()) {
        let store = Tmpfs::mount(dir)?;
        rows.push((engine.name.clone(), latency::measure(engine, &store, &name)?));
    }
    latency::print(image, &rows);
    Ok(())
}

fn crowds(options: &Options, dir: &Path) -> Result<(), String> {
    let mut rows = Vec::new();
    let mut seen = Vec::new();
    for engine in options.engines.iter().filter(|engine| engine.speaks_grpc()) {
        // One row for each daemon, whatever its clients.
        if !seen.contains(&engine.program()) {
            seen.push(engine.program());
            let store = Tmpfs::mount(dir)?;
            rows.push((engine.name.clone(), crowd::measure(engine, &store, options.crowd)?));
        }
    }
    crowd::print(options.crowd, &rows);
    Ok(())
}
