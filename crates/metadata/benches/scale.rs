//! What the size of the store costs: the same requests on an empty one, and on one of 10,000 images and 100,000 snapshots.
//!
//! `cargo bench -p gantry-metadata [-- IMAGES SNAPSHOTS]`
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that cannot go on says why by its panic")]

use std::path::Path;
use std::time::{Duration, Instant};

use gantry_metadata::{
    Change, Collection, Database, Error, Holder, Image, Options, collect, contents, images, leases, snapshots,
};
use gantry_types::{ChainId, Descriptor, Digest, Labels, Namespace};

const DRIVER: &str = "overlayfs";
/// Layers of an image.
const DEPTH: usize = 10;
/// Requests of each kind.
const ROUNDS: usize = 400;

fn namespace() -> Namespace {
    "default".parse().unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn stack(change: &mut Change<'_>, id: usize) -> Result<String, Error> {
    let ns = namespace();
    let mut parent: Option<ChainId> = None;
    for layer in 0..DEPTH {
        let chain = ChainId(digest(&format!("chain {id} {layer}")));
        prepare(change, &ns, "extract", None)?;
        let request = snapshots::Commit {
            driver: DRIVER,
            key: "extract",
            name: chain.as_str(),
            parent: parent.as_ref().map(ChainId::as_str),
            labels: &Labels::from([("containerd.io/snapshot.ref".into(), chain.to_string())]),
            usage: snapshots::Usage { size: 1, inodes: 1 },
            chain: Some(&chain),
            lease: None,
        };
        snapshots::commit(change, &ns, &request)?;
        parent = Some(chain);
    }
    Ok(parent.map(|chain| chain.to_string()).unwrap_or_default())
}

fn prepare(change: &mut Change<'_>, ns: &Namespace, key: &str, parent: Option<&str>) -> Result<(), Error> {
    let labels = Labels::new();
    let new = snapshots::Creation { driver: DRIVER, key, parent, labels: &labels, number: None, lease: None };
    snapshots::prepare(change, ns, &new).map(drop)
}

fn add_image(change: &mut Change<'_>, id: usize, top: &str) -> Result<(), Error> {
    let ns = namespace();
    let manifest = digest(&format!("manifest {id}"));
    let config = digest(&format!("config {id}"));
    let put = |change: &mut Change<'_>, digest: &Digest, labels: &Labels| {
        let new = contents::Creation { digest, size: 7, labels, media_type: "", ingest: None, lease: None };
        contents::create(change, &ns, &new).map(drop)
    };
    let snapshot = ("containerd.io/gc.ref.snapshot.overlayfs".to_owned(), top.to_owned());
    put(change, &config, &Labels::from([snapshot]))?;
    let refers = ("containerd.io/gc.ref.content.config".to_owned(), config.to_string());
    put(change, &manifest, &Labels::from([refers]))?;
    let target = Descriptor::new("application/vnd.oci.image.manifest.v1+json", manifest, 7);
    let name = format!("registry.example/team/image-{id:05}:latest");
    let labels = Labels::from([("io.cri-containerd.image".to_owned(), "managed".to_owned())]);
    images::create(
        change,
        images::By::new(&ns, &Holder::Containerd(ns.clone())),
        &Image::new(name, target, labels),
    )
    .map(drop)
}

fn fill(database: &Database, images: usize, snapshots: usize) {
    let stacks = snapshots / DEPTH;
    for first in (0..stacks.max(images)).step_by(100) {
        database
            .write::<_, Error>(move |change| {
                let mut top = String::new();
                for id in first..first + 100 {
                    if id < stacks {
                        top = stack(change, id)?;
                    }
                    if id < images {
                        add_image(change, id, &top)?;
                    }
                }
                Ok(())
            })
            .unwrap();
    }
}

/// The median and the 99th percentile of `ROUNDS` runs.
fn time(mut run: impl FnMut(usize)) -> (Duration, Duration) {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|round| {
            let begun = Instant::now();
            run(round);
            begun.elapsed()
        })
        .collect();
    times.sort();
    (times[ROUNDS / 2], times[ROUNDS * 99 / 100])
}

fn measure(database: &Database, existing: usize) -> Vec<(&'static str, Duration, Duration)> {
    let top = database.write(|change| stack(change, usize::MAX)).unwrap();
    let mut rows = Vec::new();
    let mut row = |name, (median, late)| rows.push((name, median, late));
    let stat = |round: usize| {
        let id = if existing == 0 { usize::MAX } else { round * 7919 % existing };
        let key = digest(&format!("chain {id} {}", round % DEPTH)).to_string();
        database.read(|view| snapshots::get(view, &namespace(), DRIVER, &key)).unwrap();
    };
    row("stat", time(stat));
    let parent = top.clone();
    row(
        "prepare",
        time(|round| {
            let parent = parent.clone();
            let write = move |change: &mut Change<'_>| {
                prepare(change, &namespace(), &format!("active {round}"), Some(&parent))
            };
            database.write(write).unwrap();
        }),
    );
    row(
        "commit",
        time(|round| {
            let write = move |change: &mut Change<'_>| {
                let request = snapshots::Commit {
                    driver: DRIVER,
                    key: &format!("active {round}"),
                    name: &format!("done {round}"),
                    parent: None,
                    labels: &Labels::new(),
                    usage: snapshots::Usage::default(),
                    chain: None,
                    lease: None,
                };
                snapshots::commit(change, &namespace(), &request).map(drop)
            };
            database.write(write).unwrap();
        }),
    );
    row(
        "remove",
        time(|round| {
            let write = move |change: &mut Change<'_>| {
                snapshots::remove(change, &namespace(), DRIVER, &format!("done {round}"), None)
            };
            database.write(write).unwrap();
        }),
    );
    database.write(|change| add_image(change, usize::MAX, "")).unwrap();
    row(
        "image by name",
        time(|round| {
            let id = if existing == 0 { usize::MAX } else { round * 7919 % existing };
            let name = format!("registry.example/team/image-{id:05}:latest");
            database.read(|view| images::get(view, &namespace(), &name)).unwrap();
        }),
    );
    row(
        "lease",
        time(|round| {
            let write = move |change: &mut Change<'_>| {
                leases::create(change, &namespace(), &format!("l{round}"), &Labels::new()).map(drop)
            };
            database.write(write).unwrap();
        }),
    );
    rows
}

fn anonymous_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn open(directory: &Path) -> Database {
    Database::open(directory, Options::new("boot")).unwrap()
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (images, snapshots) = (*numbers.first().unwrap_or(&10_000), *numbers.get(1).unwrap_or(&100_000));
    let (small, large) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let begun = Instant::now();
    let database = open(large.path());
    fill(&database, images, snapshots);
    println!("filled with {images} images, {snapshots} snapshots in {:?}", begun.elapsed());
    drop(database);
    let base = anonymous_kib();
    let begun = Instant::now();
    let full = open(large.path());
    println!(
        "open: {:?}; file {} MiB",
        begun.elapsed(),
        std::fs::metadata(large.path().join("meta.db")).unwrap().len() >> 20
    );
    let empty = open(small.path());
    let existing = images.min(snapshots / DEPTH);
    println!(
        "{:<14} {:>12} {:>12} {:>12} {:>12} {:>7}",
        "", "empty p50", "full p50", "empty p99", "full p99", "ratio"
    );
    for (small, large) in measure(&empty, 0).into_iter().zip(measure(&full, existing)) {
        let ratio = large.1.as_secs_f64() / small.1.as_secs_f64();
        println!(
            "{:<14} {:>12.1?} {:>12.1?} {:>12.1?} {:>12.1?} {ratio:>7.2}",
            small.0, small.1, large.1, small.2, large.2
        );
    }
    for name in ["images", "snapshots"] {
        let mut best = Duration::MAX;
        let mut count = 0;
        for _ in 0..5 {
            let begun = Instant::now();
            count = match name {
                "images" => full.read(|view| images::list(view, &namespace())).unwrap().len(),
                _ => full.read(|view| snapshots::list(view, &namespace(), DRIVER)).unwrap().len(),
            };
            best = best.min(begun.elapsed());
        }
        println!("list of {count} {name}: {best:.1?}");
    }
    let idle = anonymous_kib();
    println!("anonymous memory: {base} KiB before the open, {idle} KiB after all of the above");
    let collected = collect(&full, Collection::now()).unwrap();
    println!("collection of nothing: {collected:?}");
    full.write(|change| {
        let ns = namespace();
        let holder = Holder::Containerd(ns.clone());
        for image in images::list(change, &ns)?.iter().take(2000) {
            images::delete(change, images::By::new(&ns, &holder), &image.name, None)?;
        }
        Ok::<_, Error>(())
    })
    .unwrap();
    let collected = collect(&full, Collection::now()).unwrap();
    println!("collection after 2,000 images went: {collected:?}");
    println!("anonymous memory after it: {} KiB", anonymous_kib());
}
