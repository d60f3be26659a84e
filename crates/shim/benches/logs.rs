//! How fast a log is written, what that costs, and what the processes keep in memory.
//!
//! `cargo bench -p gantry-shim --bench logs -- [DRIVER] [MIB] [LINE BYTES]`
#![allow(clippy::unwrap_used, dead_code)]

#[path = "../tests/it/harness.rs"]
mod harness;

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use gantry_shim::streams::protocol::Op;
use harness::{Pod, key};

/// User and system time of a process.
fn cpu(pid: i32) -> [Duration; 2] {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let per_second = rustix::param::clock_ticks_per_second();
    [11, 12].map(|field| Duration::from_millis(fields[field].parse::<u64>().unwrap() * 1000 / per_second))
}

fn memory(pid: i32) -> String {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let wanted = ["Rss", "Private_Clean", "Private_Dirty"];
    let fields = rollup.lines().filter(|line| wanted.iter().any(|field| line.starts_with(field)));
    fields.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let mib = numbers.first().copied().unwrap_or(1024);
    let line = numbers.get(1).copied().unwrap_or(100);
    let mut block: Vec<u8> = Vec::new();
    while block.len() < 1 << 20 {
        let number = block.len();
        let text = format!("{number:08} GET /index.html?a=1 \"Mozilla/5.0 (X11; Linux x86_64)\" 200 ");
        block.extend(text.bytes().cycle().take(line - 1).chain([b'\n']));
    }
    block.truncate(1 << 20);
    let only =
        std::env::args().skip(1).find(|argument| argument.parse::<usize>().is_err() && argument != "--bench");
    for (id, uri) in [
        ("json-file", "json-file://PATH"),
        ("json-file-rotated", "json-file://PATH?max-size=100000000&max-file=3"),
        ("json-file-compressed", "json-file://PATH?max-size=100000000&max-file=3&compress=1"),
        ("cri", "cri://PATH"),
    ] {
        if only.as_ref().is_some_and(|only| only != id) {
            continue;
        }
        let mut pod = Pod::new();
        let hub = pod.process.id() as i32;
        let path = pod.path(id);
        let (mut stdout, stderr, _) = pod.add_log(id, &uri.replace("PATH", &path.display().to_string()));
        let writer = pod.writers()[0];
        // Once for the file system.
        stdout.write_all(&block).unwrap();
        let (start, before) = (Instant::now(), cpu(writer));
        for _ in 0..mib {
            stdout.write_all(&block).unwrap();
        }
        drop((stdout, stderr));
        pod.drained(id);
        let (took, after) = (start.elapsed(), cpu(writer));
        let [user, system] =
            [after[0] - before[0], after[1] - before[1]].map(|used| used * 1024 / mib as u32);
        let rate = mib as f64 / took.as_secs_f64();
        println!(
            "{id}: {mib} MiB in {took:.2?}, {rate:.0} MiB/s; CPU per GiB: {user:.2?} user, {system:.2?} system"
        );
        while pod.hear(Duration::from_secs(1)) {}
        println!("  hub: {}\n  log writer: {}", memory(hub), memory(writer));
        pod.ok(Op::Remove(key(id)), &[]);
    }
}
