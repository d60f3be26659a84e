//! How long the calls of a driver take, with an empty directory and with a full one. Run by hand:
//! `cargo run --release -p gantry-snapshot --example figures -- DIRECTORY [SNAPSHOTS]`.
//!
//! The directory should lie on the file system in question; what is made in it is deleted in the end.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gantry_snapshot::{Driver, Error, Local, MemoryRecords, Options, Overlayfs, Snapshotter};
use gantry_types::Labels;

/// How often each call is measured.
const ROUNDS: usize = 1000;
/// How many layers lie below a snapshot.
const LAYERS: usize = 6;
/// How many snapshots make a full directory, where nothing else is asked for.
const FULL: usize = 100_000;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().unwrap_or_else(|| usage()));
    let full = arguments.next().map_or(FULL, |count| count.parse().unwrap_or_else(|_| usage()));
    let root = root.join(format!("figures-{}", std::process::id()));
    let local = open(&root)?;
    for n in 0..LAYERS {
        let parent = n.checked_sub(1).map(|below| format!("layer-{below}"));
        local.prepare("layer", parent.as_deref(), &Labels::new())?;
        local.commit(&format!("layer-{n}"), "layer", None, &Labels::new())?;
    }
    println!("{:<10} {:>10} {:>12} {:>12}", "call", "snapshots", "median", "99 %");
    measure(&local, LAYERS)?;
    for n in 0..full {
        local.prepare(&format!("full-{n}"), Some(&top()), &Labels::new())?;
    }
    measure(&local, full)?;
    let start = Instant::now();
    let highest = Overlayfs::open(&root, Options::default())?.highest()?;
    println!("open and find the highest number ({highest:?}): {:?}", start.elapsed());
    let start = Instant::now();
    local.cleanup()?;
    println!("clean up with nothing to do: {:?}", start.elapsed());
    drop(local);
    let start = Instant::now();
    let driver = Overlayfs::open(&root, Options::default())?;
    driver.cleanup(&|_| false)?;
    println!("take all out of sight: {:?}", start.elapsed());
    while driver.collect()? > 0 {}
    println!("and delete their files: {:?}", start.elapsed());
    let _ = std::fs::remove_dir(&root);
    Ok(())
}

fn usage() -> ! {
    eprintln!("figures DIRECTORY [SNAPSHOTS]");
    std::process::exit(2)
}

fn open(root: &Path) -> Result<Local<Overlayfs, MemoryRecords>, Error> {
    Local::new(Overlayfs::open(root, Options::default())?, MemoryRecords::new())
}

fn top() -> String {
    format!("layer-{}", LAYERS - 1)
}

fn measure(local: &Local<Overlayfs, MemoryRecords>, snapshots: usize) -> Result<(), Error> {
    let (top, labels) = (top(), Labels::new());
    let report = |name: &str, times: Vec<Duration>| report(name, snapshots, times);
    report("prepare", timed(|n| local.prepare(&format!("key-{n}"), Some(&top), &labels))?);
    report("stat", timed(|n| local.stat(&format!("key-{n}")))?);
    report("mounts", timed(|n| local.mounts(&format!("key-{n}")))?);
    report("commit", timed(|n| local.commit(&format!("name-{n}"), &format!("key-{n}"), None, &labels))?);
    report("view", timed(|n| local.view(&format!("view-{n}"), Some(&top), &labels))?);
    report("remove", timed(|n| local.remove(&format!("name-{n}")))?);
    let start = Instant::now();
    while local.driver().collect()? > 0 {}
    let each = start.elapsed() / u32::try_from(ROUNDS).unwrap_or(u32::MAX);
    println!("{:<10} {snapshots:>10} {each:>12.1?} on average", "collect");
    (0..ROUNDS).try_for_each(|n| local.remove(&format!("view-{n}")))
}

fn timed<T>(mut call: impl FnMut(usize) -> Result<T, Error>) -> Result<Vec<Duration>, Error> {
    (0..ROUNDS)
        .map(|n| {
            let start = Instant::now();
            call(n)?;
            Ok(start.elapsed())
        })
        .collect()
}

fn report(name: &str, snapshots: usize, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    println!("{name:<10} {snapshots:>10} {:>12.1?} {:>12.1?}", at(50), at(99));
}
