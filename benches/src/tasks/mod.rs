//! Containers behind containerd's API: us and the peers in turn in one run.
//!
//! ```text
//! gantry-bench tasks --gantryd PATH [--containerd DIR]... [--count N] [--part run|start|crowd|memory|pause]... [--tasks N]
//!                    [--snapshots N] [ENGINE...]
//! ```
//!
//! `scripts/bench-tasks.sh` calls it, in namespaces of its own. All daemons run from the beginning to the end, each with its own
//! directories on a tmpfs; they take turns. `--containerd` is a directory with another containerd below `usr/bin`.
//!
//! | part | |
//! |---|---|
//! | `run` | `ctr run --rm` of a static program that does nothing, by the same `ctr` |
//! | `start` | create and start over the API, until the program runs: it writes a byte; gaps under 10 ms. The first one is told apart |
//! | `crowd` | containers that 8 clients start at once, each with a snapshot of its own: containers per second |
//! | `memory` | `--tasks` containers that sleep: memory of daemon and shims; then the daemon is killed and started again |
//! | `pause` | a collection of half of `--snapshots` snapshots: how long another client waits for a small change meanwhile. Only where asked for, one daemon after the other |

mod contender;
mod crowd;
mod memory;
mod options;
mod pause;
mod start;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::statistics::{Series, print};

use contender::Serving;
use options::{Options, Part};

/// Runs it with the words of the command line that follow `tasks`.
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
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    println!("Linux {}, {cores} cores, load {}", read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    if options.does_any_together() {
        together(options, dir.path())?;
    }
    if options.does(Part::Pause) {
        pause::measure(&options.contenders, &dir.path().join("pause"), options.snapshots)?;
    }
    Ok(())
}

/// The parts in which the daemons take turns.
fn together(options: &Options, dir: &Path) -> Result<(), String> {
    let mut serving = Vec::new();
    for contender in &options.contenders {
        serving.push(Serving::start(contender, &dir.join(&contender.name))?);
    }
    if options.does(Part::Start) {
        start::measure(&serving, options.count)?;
    }
    if options.does(Part::Run) {
        clients(&serving, options);
    }
    if options.does(Part::Crowd) {
        crowd::measure(&serving, options.count.min(3))?;
    }
    if options.does(Part::Memory) {
        memory::measure(&mut serving, options.tasks)?;
    }
    Ok(())
}

/// `ctr run --rm`.
fn clients(serving: &[Serving<'_>], options: &Options) {
    let mut series: Vec<(&Serving<'_>, Series)> =
        serving.iter().map(|one| (one, Series::new(&one.contender.name))).collect();
    for turn in 0..options.count {
        series.retain_mut(|(one, series)| {
            let mut command = one.ctr(&options.ctr);
            command.args(["run", "--rm"]).args(&one.contender.run_flags);
            command.arg(gantry_e2e::IMAGE).arg(format!("run-{turn}")).arg("/bin/true");
            let took = timed(&mut command);
            // crun of Debian 12 does not know the specification's version of a newer client.
            took.map(|took| series.add(took)).inspect_err(|error| eprintln!("{error}")).is_ok()
        });
    }
    let series: Vec<Series> = series.into_iter().map(|(_, series)| series).collect();
    print("ctr run --rm", &series, Duration::ZERO);
}

fn timed(command: &mut Command) -> Result<Duration, String> {
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let took = begin.elapsed();
    if output.status.success() {
        return Ok(took);
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}
