//! A shim that has nothing to do.

use std::fs;
use std::time::Duration;

use gantry_testkit::{Bundle, Need, require, until_true};

use crate::harness::{Daemon, ours};

/// How much of its program an idle shim may have mapped, in KiB: the page that it sleeps on, and the kernel's.
const PROGRAM_KIB: u64 = 16;
/// How much memory of its own it may have with one container, in KiB.
const OWN_KIB: u64 = 256;

/// Memory of a process that files back, and memory that none does, in KiB.
fn memory(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kib = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    (kib("Rss:") - kib("Anonymous:"), kib("Anonymous:"))
}

fn switches(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect()
}

#[test]
fn an_idle_shim_sleeps_without_its_program_and_works_again() {
    ours!("the reference keeps its memory");
    require!(Need::Root);
    let daemon = Daemon::new();
    let task = daemon.running(Bundle::new().sleeping());
    let pid = task.shim.pid();
    for round in 0..2 {
        assert_eq!(task.sh(&format!("e{round}"), "exit 3"), 3);
        until_true("the shim to sleep", || !cfg!(target_arch = "x86_64") || memory(pid).0 <= PROGRAM_KIB);
        let before = switches(pid);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(switches(pid), before, "it has woken up");
        assert!(memory(pid).1 <= OWN_KIB, "{:?} KiB", memory(pid));
    }
}
