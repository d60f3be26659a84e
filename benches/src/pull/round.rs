//! One pull of one engine into an empty store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::client;
use super::engine::Engine;
use super::memory::{self, Watch};
use super::serving::Serving;
use super::store::Tmpfs;

/// After it, an idle daemon has given back what its start needed.
const SETTLE: Duration = Duration::from_millis(500);
/// How often short things are repeated.
const REPEATS: usize = 5;

/// What was measured.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// From the daemon's start to its first answer.
    pub(crate) start: Duration,
    pub(crate) idle_kib: u64,
    /// The pull, as its client sees it.
    pub(crate) wall: Duration,
    pub(crate) daemon_cpu: Duration,
    pub(crate) client_cpu: Duration,
    /// The most anonymous memory during the pull, over the idle daemon's.
    pub(crate) over_idle_kib: u64,
    pub(crate) high_water_kib: u64,
    /// The pull of what is there; the fastest of some.
    pub(crate) present: Duration,
    /// The client's start and one round trip; the fastest of some.
    pub(crate) trip: Duration,
}

impl Sample {
    /// The processor time of daemon and client.
    pub(crate) fn cpu(&self) -> Duration {
        self.daemon_cpu + self.client_cpu
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} s, {:.2} CPU s, {} MiB over {} MiB",
            self.wall.as_secs_f64(),
            self.cpu().as_secs_f64(),
            self.over_idle_kib >> 10,
            self.idle_kib >> 10
        )
    }
}

/// Starts the engine, pulls, and ends it.
pub(crate) fn run(engine: &Engine, store: &Tmpfs, image: &str) -> Result<Sample, String> {
    let serving = Serving::start(engine, store)?;
    pull(&serving, image).map_err(|error| format!("{error}\n{}", serving.log()))
}

fn pull(serving: &Serving<'_>, image: &str) -> Result<Sample, String> {
    let Serving { engine, group, dir, .. } = serving;
    let mut sample = Sample { start: serving.start, ..Sample::default() };
    if serving.has_daemon() {
        // What the first client makes a daemon load is no part of the pull.
        client::run(engine.trip(dir, group), dir)?;
        std::thread::sleep(SETTLE);
        sample.idle_kib = memory::anonymous_kib(group);
    }
    let before = group.cpu();
    let watch = Watch::start(Arc::clone(group));
    let went = client::run(engine.pull(dir, group, image), dir);
    let peak = watch.stop();
    let went = went?;
    sample.wall = went.wall;
    sample.daemon_cpu = group.cpu().saturating_sub(before);
    // A client without a daemon is in the group.
    sample.client_cpu = if serving.has_daemon() { went.cpu } else { Duration::ZERO };
    sample.over_idle_kib = peak.saturating_sub(sample.idle_kib);
    sample.high_water_kib = memory::high_water_kib(group);
    let fastest = |command: &dyn Fn() -> std::process::Command| {
        let walls = (0..REPEATS).map(|_| client::run(command(), dir).map(|went| went.wall));
        walls.collect::<Result<Vec<_>, _>>().map(|walls| walls.into_iter().min().unwrap_or_default())
    };
    sample.present = fastest(&|| engine.pull(dir, group, image))?;
    sample.trip = fastest(&|| engine.trip(dir, group))?;
    Ok(sample)
}
