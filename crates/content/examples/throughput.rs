//! How much the store costs over what has to be done anyway: writing the bytes and hashing them.
//!
//! `cargo run --release -p gantry-content --example throughput [directory]`. Each line is the median of rounds in which all take
//! turns. In a debug build the figures mean nothing.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use gantry_content::{Options, Store};
use gantry_types::{Algorithm, Digest, Hasher};

const LARGE: usize = 256 << 20;
/// What comes from a socket at a time.
const PART: usize = 64 << 10;
const SMALL: usize = 4 << 10;
const MANY: usize = 2_000;
const ROUNDS: usize = 7;

type Measured = Result<Duration, Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = match std::env::args_os().nth(1) {
        Some(path) => tempfile::tempdir_in(path)?,
        None => tempfile::tempdir()?,
    };
    let content = noise(LARGE);
    type Case<'a> = (&'static str, u64, &'a dyn Fn(&Path) -> Measured);
    let large = LARGE as u64;
    let cases: [Case<'_>; 8] = [
        ("write", large, &|root| raw(root, &content, false, false)),
        ("sha256", large, &|_| Ok(hash_only(&content))),
        ("write and sha256", large, &|root| raw(root, &content, true, false)),
        ("store: write and commit", large, &|root| stored(root, &content, false)),
        ("write, sha256 and fdatasync", large, &|root| raw(root, &content, true, true)),
        ("store: write, commit and sync", large, &|root| stored(root, &content, true)),
        ("2,000 files of 4 KiB: create, write, sha256, rename", 0, &|root| many_raw(root, &content)),
        ("store: 2,000 blobs of 4 KiB, then one sync", 0, &|root| many_stored(root, &content)),
    ];
    let mut times = vec![Vec::new(); cases.len()];
    for round in 0..ROUNDS {
        for (index, (_, _, case)) in cases.iter().enumerate() {
            let root = directory.path().join(format!("{round}-{index}"));
            fs::create_dir(&root)?;
            let cpu = cpu_time();
            let wall = case(&root)?;
            times[index].push((wall, cpu_time().saturating_sub(cpu)));
            fs::remove_dir_all(&root)?;
            // Nobody pays for what another left dirty.
            rustix::fs::sync();
        }
    }
    for ((name, bytes, _), mut times) in cases.into_iter().zip(times) {
        times.sort();
        let (median, best) = (times[ROUNDS / 2].0.as_secs_f64(), times[0].0.as_secs_f64());
        times.sort_by_key(|(_, cpu)| *cpu);
        let cpu = times[ROUNDS / 2].1.as_secs_f64() * 1e3;
        let rate = if bytes == 0 {
            format!("{:7.1} us each", median * 1e6 / MANY as f64)
        } else {
            format!("{:7.0} MB/s", bytes as f64 / 1e6 / median)
        };
        println!("{name:52} {:8.1} ms (best {:8.1}, processor {cpu:8.1}) {rate}", median * 1e3, best * 1e3);
    }
    Ok(())
}

/// What all threads of the process used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(length / 8).flatten().collect()
}

fn hash_only(content: &[u8]) -> Duration {
    let start = Instant::now();
    let mut hasher = Hasher::new(Algorithm::Sha256);
    content.chunks(PART).for_each(|part| hasher.update(part));
    std::hint::black_box(hasher.finish());
    start.elapsed()
}

fn raw(root: &Path, content: &[u8], hash: bool, sync: bool) -> Measured {
    let start = Instant::now();
    let mut file = File::create(root.join("data"))?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for part in content.chunks(PART) {
        file.write_all(part)?;
        if hash {
            hasher.update(part);
        }
    }
    std::hint::black_box(hasher.finish());
    if sync {
        file.sync_data()?;
    }
    Ok(start.elapsed())
}

fn stored(root: &Path, content: &[u8], sync: bool) -> Measured {
    let store = Store::open(root, Options::default())?;
    let start = Instant::now();
    let mut ingest = store.ingest("layer", Some(content.len() as u64), None)?;
    for part in content.chunks(PART) {
        ingest.write(part)?;
    }
    let committed = ingest.commit(None, None)?;
    if sync {
        store.sync(&[committed.digest])?;
    }
    Ok(start.elapsed())
}

fn many_raw(root: &Path, content: &[u8]) -> Measured {
    let start = Instant::now();
    for part in content.chunks(SMALL).take(MANY) {
        let mut file = File::create(root.join("data"))?;
        file.write_all(part)?;
        fs::rename(root.join("data"), root.join(Digest::sha256(part).hex()))?;
    }
    Ok(start.elapsed())
}

fn many_stored(root: &Path, content: &[u8]) -> Measured {
    let store = Store::open(root, Options::default())?;
    let start = Instant::now();
    for (index, part) in content.chunks(SMALL).take(MANY).enumerate() {
        let mut ingest = store.ingest(&index.to_string(), Some(SMALL as u64), None)?;
        ingest.write(part)?;
        ingest.commit(None, None)?;
    }
    store.sync_pending()?;
    Ok(start.elapsed())
}
