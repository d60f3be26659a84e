//! One pull of one engine into an empty store.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_testkit::until_within;

use super::client;
use super::engine::Engine;
use super::group::Group;
use super::memory::{self, Watch};
use super::store::Tmpfs;

/// How long a daemon may take to serve.
const START: Duration = Duration::from_secs(60);
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
    let dir = store.path();
    let group = Arc::new(Group::new(&engine.name)?);
    let result = in_group(engine, dir, &group, image);
    result.map_err(|error| {
        let log = std::fs::read_to_string(dir.join("daemon.log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        format!("{error}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
    })
}

fn in_group(engine: &Engine, dir: &Path, group: &Arc<Group>, image: &str) -> Result<Sample, String> {
    let mut sample = Sample::default();
    let mut daemon = None;
    if let Some(mut command) = engine.daemon(dir, group)? {
        let begin = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let socket = engine.socket(dir);
        let serves = until_within(START, "the daemon to serve", || match child.try_wait() {
            Ok(Some(status)) => Some(Err(format!("the daemon ended: {status}"))),
            _ => answers(&socket).then_some(Ok(())),
        });
        serves?;
        sample.start = begin.elapsed();
        daemon = Some(child);
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
    sample.client_cpu = if daemon.is_some() { went.cpu } else { Duration::ZERO };
    sample.over_idle_kib = peak.saturating_sub(sample.idle_kib);
    sample.high_water_kib = memory::high_water_kib(group);
    let fastest = |command: &dyn Fn() -> std::process::Command| {
        let walls = (0..REPEATS).map(|_| client::run(command(), dir).map(|went| went.wall));
        walls.collect::<Result<Vec<_>, _>>().map(|walls| walls.into_iter().min().unwrap_or_default())
    };
    sample.present = fastest(&|| engine.pull(dir, group, image))?;
    sample.trip = fastest(&|| engine.trip(dir, group))?;
    if let Some(mut child) = daemon {
        let _ = child.kill();
        let _ = child.wait();
    }
    Ok(sample)
}

/// Whether a server of HTTP answers on a socket: with its settings to the preface of HTTP/2 (RFC 9113, 3.4), or with any
/// response to a request.
fn answers(socket: &Path) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) else { return false };
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let sent =
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").and_then(|()| stream.write_all(&settings));
    let _ = stream.set_read_timeout(Some(START));
    sent.is_ok() && stream.read(&mut [0; 9]).is_ok_and(|got| got > 0)
}
