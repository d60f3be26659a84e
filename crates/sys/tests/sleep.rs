//! Sleeping with less memory, by processes of one thread: this program again, which then sleeps instead of testing.
// The lint's exception for tests does not see through a harness of one's own.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use gantry_sys::memory::sleep_released;

/// Says to this program that it is to sleep, and for how long: `forever`, or milliseconds.
const SLEEPER: &str = "GANTRY_SLEEPER";

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    #[cfg(target_arch = "x86_64")]
    ("a_process_sleeps_with_less_and_goes_on", a_process_sleeps_with_less_and_goes_on),
    ("the_sleep_ends_with_its_time", the_sleep_ends_with_its_time),
];

fn main() -> ExitCode {
    if let Ok(how) = std::env::var(SLEEPER) {
        sleep(&how);
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS {
        let good = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        *(if good { &mut passed } else { &mut failed }) += 1;
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    ExitCode::from(u8::from(failed > 0))
}

/// Sleeps, says so when it wakes up, and ends with its input.
fn sleep(how: &str) {
    assert_eq!(fs::read_dir("/proc/self/task").unwrap().count(), 1, "threads");
    let text = std::hint::black_box(vec![format!("{:?}", [1, 2, 3]); 3]);
    let sum = deep(2);
    let begin = Instant::now();
    let time = how.parse().ok().map(Duration::from_millis);
    sleep_released(std::io::stdin(), time);
    assert!(time.is_none_or(|time| begin.elapsed() >= time));
    assert!(deep(2) == sum && text.iter().all(|text| *text == format!("{:?}", [1, 2, 3])));
    std::io::stdout().write_all(b"woken\n").unwrap();
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

/// Uses much stack.
#[inline(never)]
fn deep(value: u8) -> u64 {
    let mut space = [value; 64 << 10];
    space[usize::from(value)] = 1;
    std::hint::black_box(&space).iter().map(|byte| u64::from(*byte)).sum()
}

#[cfg(target_arch = "x86_64")]
fn a_process_sleeps_with_less_and_goes_on() {
    /// poll(2) of one descriptor without a limit, in `/proc/PID/syscall`.
    const ASLEEP: (&str, &str) = ("7 ", " 0x1 0xffffffffffffffff ");
    let mut process = sleeping("forever");
    let deadline = Instant::now() + Duration::from_secs(10);
    let sleeps = |call: String| call.starts_with(ASLEEP.0) && call.contains(ASLEEP.1);
    while !sleeps(fs::read_to_string(format!("/proc/{}/syscall", process.id())).unwrap()) {
        assert!(Instant::now() < deadline, "it does not call poll");
        std::thread::sleep(Duration::from_millis(1));
    }
    let asleep = resident(&process);
    process.stdin.as_mut().unwrap().write_all(b"1").unwrap();
    woken(&mut process);
    let awake = resident(&process);
    assert!(asleep + 128 < awake, "{asleep} KiB asleep, {awake} KiB after it");
    ends_well(process);
}

fn the_sleep_ends_with_its_time() {
    let mut process = sleeping("20");
    woken(&mut process);
    ends_well(process);
}

fn sleeping(how: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(SLEEPER, how)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Memory of a process that is in RAM, in KiB.
#[cfg(target_arch = "x86_64")]
fn resident(process: &Child) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.id())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Waits until the process has said that it woke up.
fn woken(process: &mut Child) {
    let mut said = [0; 6];
    process.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"woken\n");
}

fn ends_well(mut process: Child) {
    drop(process.stdin.take());
    assert!(process.wait().unwrap().success());
}
