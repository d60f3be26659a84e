//! Random operations on several pods at once, for a while: every call is answered, nothing is left, no memory is lost.
//!
//! `GANTRY_SOAK_SECONDS` says for how long, and `GANTRY_SOAK_SEED` which operations. Each pod has a thread: it creates
//! containers and does to them, in whatever state they are, what a daemon or a bad client may do. Meanwhile the daemon's
//! event service goes and comes back.

mod case;
mod ledger;
mod pod;
mod random;

use std::env;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gantry_testkit::{DEADLINE, Need, mounts_below, require};

use self::ledger::Ledger;
use self::pod::{Kind, Pod};
use self::random::Random;
use crate::harness::{Daemon, is_gone, ours};

const PODS: [Kind; 4] = [Kind::Lasting, Kind::Falling, Kind::Falling, Kind::Single];
const SECONDS: u64 = 5;
const SEED: u64 = 0x6761_6e74_7279;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

#[test]
fn random_operations_are_answered_and_leave_nothing() {
    ours!("the reference loses the containers of killed shims");
    require!(Need::Root);
    let seed = number("GANTRY_SOAK_SEED", SEED);
    let end = Instant::now() + Duration::from_secs(number("GANTRY_SOAK_SECONDS", SECONDS));
    println!("GANTRY_SOAK_SEED={seed}");
    let (daemon, ledger, over) = (Daemon::new(), Ledger::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        let pods = PODS.iter().enumerate().map(|(index, kind)| {
            let pod = Pod::new(&daemon, &ledger, seed.wrapping_add(index as u64), *kind);
            scope.spawn(move || pod.run(end))
        });
        let pods: Vec<_> = pods.collect();
        scope.spawn(|| weather(&daemon, &ledger, seed, &over));
        let results: Vec<_> = pods.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok), "a pod's thread panicked");
    });
    let patience = Instant::now() + DEADLINE;
    while !processes(&daemon).is_empty() && Instant::now() < patience {
        thread::sleep(Duration::from_millis(5));
    }
    let left = (processes(&daemon), mounts_below(daemon.state_root().parent().unwrap()));
    if !left.0.is_empty() || !left.1.is_empty() {
        ledger.wrong("processes or mounts are left", &left);
    }
    ledger.close();
}

/// Lets the event service go and come back until it is over.
fn weather(daemon: &Daemon, ledger: &Ledger, seed: u64, over: &AtomicBool) {
    let mut random = Random::new(!seed);
    while !over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(200 + random.next() % 800));
        daemon.events().go_away();
        thread::sleep(Duration::from_millis(50 + random.next() % 500));
        daemon.events().come_back();
        ledger.count("daemon away");
    }
}

/// The processes that were started for a daemon.
fn processes(daemon: &Daemon) -> Vec<String> {
    let address = daemon.address().display().to_string();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let words = |pid: u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).into_owned()
    };
    // Forks have the shim's arguments and names of their own.
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let bundle = |pid| words(pid).split('\0').skip_while(|word| *word != "-id").nth(1).map(str::to_owned);
    let ours = pids.filter(|pid| words(*pid).contains(&address) && !is_gone(*pid));
    ours.map(|pid| format!("{pid} {} of {:?}", name(pid).trim(), bundle(pid))).collect()
}
