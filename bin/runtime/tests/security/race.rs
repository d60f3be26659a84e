//! A racer beside the runtime: it swaps names as fast as it can.

use std::path::Path;
use std::time::{Duration, Instant};

use gantry_testkit::{Invocation, Running, probe_binary, until_true};

/// How often, and for how long at most, a container is started against a racer.
const STARTS: u32 = 200;
const SECONDS: f64 = 3.0;

/// Calls `start` again and again, within the limits of this run.
pub(crate) fn repeat(mut start: impl FnMut()) {
    let soak = std::env::var("GANTRY_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs_f64(soak.unwrap_or(SECONDS));
    let mut left = if soak.is_some() { u32::MAX } else { STARTS };
    while left > 0 && Instant::now() < end {
        start();
        left -= 1;
    }
}

/// Exchanges two names until the result is dropped.
pub(crate) fn exchange(a: &Path, b: &Path) -> Running {
    racer(["exchange".as_ref(), a, b])
}

/// Points a link at one target and then at the other, until the result is dropped.
pub(crate) fn flip(link: &Path, one: &Path, other: &Path) -> Running {
    racer(["flip".as_ref(), link, one, other])
}

fn racer<'a>(args: impl IntoIterator<Item = &'a Path>) -> Running {
    let racer = Invocation::new(probe_binary()).args(args.into_iter().map(Path::as_os_str)).spawn();
    until_true("the racer to begin", || racer.stdout().contains("ready"));
    racer
}
