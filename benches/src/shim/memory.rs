use std::fs;
use std::time::Duration;

use gantry_testkit::Bundle;

use super::contender::Contender;
use super::pod::{Daemon, Shim, Unit};
use crate::arguments::Options;
use crate::scenario::docker_bundle;

/// How many containers join the first in its pod.
const MORE: usize = 10;
/// How long an idle shim is watched.
const WATCHED: Duration = Duration::from_secs(5);

/// Memory of some processes: theirs alone, and their share of all.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    uss_kib: u64,
    pss_kib: u64,
    /// What of the first no file backs: a file's pages are a process's own only while no other maps them.
    dirty_kib: u64,
}

impl std::ops::Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            uss_kib: self.uss_kib + other.uss_kib,
            pss_kib: self.pss_kib + other.pss_kib,
            dirty_kib: self.dirty_kib + other.dirty_kib,
        }
    }
}

impl Memory {
    fn of(shim: &Shim) -> Self {
        let mut sum = Self::default();
        for pid in shim.processes() {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            for line in text.lines() {
                let mut words = line.split_ascii_whitespace();
                let (Some(key), Some(kib)) =
                    (words.next(), words.next().and_then(|kib| kib.parse::<u64>().ok()))
                else {
                    continue;
                };
                match key {
                    "Pss:" => sum.pss_kib += kib,
                    "Private_Clean:" => sum.uss_kib += kib,
                    "Private_Dirty:" => {
                        sum.uss_kib += kib;
                        sum.dirty_kib += kib;
                    }
                    _ => {}
                }
            }
        }
        sum
    }
}

/// Containers that sleep, in shims of their own or in one.
struct Sleepers<'a> {
    daemon: &'a Daemon,
    contender: &'a Contender,
    bundle: &'a Bundle,
    shims: Vec<Shim>,
    units: Vec<(usize, Unit)>,
}

impl<'a> Sleepers<'a> {
    fn new(daemon: &'a Daemon, contender: &'a Contender, bundle: &'a Bundle) -> Self {
        Self { daemon, contender, bundle, shims: Vec::new(), units: Vec::new() }
    }

    fn add_shim(&mut self) {
        let unit = Unit::new(self.bundle, None);
        let shim = Shim::start(self.daemon, self.contender, &unit);
        shim.create_and_start(&unit);
        self.shims.push(shim);
        self.units.push((self.shims.len() - 1, unit));
    }

    /// Another container for the first shim.
    fn add_container(&mut self) {
        let unit = Unit::new(self.bundle, None);
        self.shims[0].create_and_start(&unit);
        self.units.push((0, unit));
    }

    fn memory(&self) -> Memory {
        self.shims.iter().map(Memory::of).fold(Memory::default(), std::ops::Add::add)
    }

    fn end(self) {
        for (index, unit) in &self.units {
            self.shims[*index].kill(unit);
            self.shims[*index].wait_and_delete(unit);
        }
        self.shims.into_iter().for_each(Shim::end);
    }
}

pub(super) fn run(options: &Options, contenders: &[Contender]) {
    let daemon = Daemon::new();
    println!("\n## memory of shims, in KiB");
    println!(
        "| shim | USS, one container | of it dirty | PSS, one container | dirty per further container | PSS of {0} shims | per shim |",
        options.shims
    );
    println!("|---|---|---|---|---|---|---|");
    for contender in contenders {
        let bundle = docker_bundle().args(["/bin/sleep", "100000"]);
        let mut pod = Sleepers::new(&daemon, contender, &bundle);
        pod.add_shim();
        let one = pod.memory();
        (0..MORE).for_each(|_| pod.add_container());
        let many = pod.memory();
        pod.end();
        let mut shims = Sleepers::new(&daemon, contender, &bundle);
        (0..options.shims).for_each(|_| shims.add_shim());
        let all = shims.memory();
        shims.end();
        println!(
            "| {} | {} | {} | {} | {:.1} | {} | {:.0} |",
            contender.name,
            one.uss_kib,
            one.dirty_kib,
            one.pss_kib,
            (many.dirty_kib as f64 - one.dirty_kib as f64) / MORE as f64,
            all.pss_kib,
            all.pss_kib as f64 / options.shims as f64,
        );
    }
}

pub(super) fn idle(contenders: &[Contender]) {
    let daemon = Daemon::new();
    println!("\n## an idle shim with one container, watched for {WATCHED:?}");
    println!("| shim | processes | threads | context switches |");
    println!("|---|---|---|---|");
    for contender in contenders {
        let bundle = docker_bundle().args(["/bin/sleep", "100000"]);
        let mut pod = Sleepers::new(&daemon, contender, &bundle);
        pod.add_shim();
        // What its start has set in motion comes to rest.
        std::thread::sleep(Duration::from_secs(2));
        let (before, _) = switches(&pod.shims[0]);
        std::thread::sleep(WATCHED);
        let (after, threads) = switches(&pod.shims[0]);
        let processes = pod.shims[0].processes().len();
        println!("| {} | {processes} | {threads} | {} |", contender.name, after - before);
        pod.end();
    }
}

/// How often the threads of a shim were switched to so far, and how many they are.
fn switches(shim: &Shim) -> (u64, usize) {
    let (mut sum, mut threads) = (0, 0);
    for pid in shim.processes() {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            threads += 1;
            sum += text
                .lines()
                .filter_map(|line| line.split_once("ctxt_switches:"))
                .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    (sum, threads)
}
