use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_testkit::until_true;

use super::contender::Contender;
use super::pod::{Daemon, Shim, Unit};
use crate::scenario::docker_bundle;

/// How many shims, and containers beside the first in one, a mean is taken of: the kernel counts whole pages.
const COUNT: usize = 10;
/// How long nothing may have changed before a cgroup is read.
const SETTLED: Duration = Duration::from_secs(2);

/// A memory cgroup of our own, in which shims are started. Containers leave it for theirs; what was made for them before, such
/// as their mounts, is the kernel's memory of whoever made it.
struct Account {
    dir: PathBuf,
    unified: bool,
}

/// The memory of an account, in KiB.
#[derive(Debug, Clone, Copy, Default)]
struct Charged {
    kernel: f64,
    all: f64,
}

impl Account {
    fn new() -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let unified = root.join("cgroup.controllers").exists();
        let parent = if unified { root.to_owned() } else { root.join("memory") };
        let dir = parent.join(format!("gantry-bench-{}", std::process::id()));
        fs::create_dir(&dir).expect("a cgroup of our own");
        Self { dir, unified }
    }

    fn number(&self, file: &str) -> f64 {
        let text = fs::read_to_string(self.dir.join(file)).expect("a file of the cgroup");
        text.trim().parse().expect("a number")
    }

    /// What is charged once nothing changes any more.
    fn charged(&self) -> Charged {
        std::thread::sleep(SETTLED);
        let kernel = if self.unified {
            let text = fs::read_to_string(self.dir.join("memory.stat")).expect("memory.stat");
            let line = text.lines().find_map(|line| line.strip_prefix("kernel "));
            line.expect("Linux 5.18").parse().expect("a number")
        } else {
            self.number("memory.kmem.usage_in_bytes")
        };
        let all = self.number(if self.unified { "memory.current" } else { "memory.usage_in_bytes" });
        Charged { kernel: kernel / 1024.0, all: all / 1024.0 }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        until_true("the cgroup to be empty", || fs::remove_dir(&self.dir).is_ok());
    }
}

fn end(shims: Vec<Shim>, units: &[(usize, Unit)]) {
    for (index, unit) in units {
        shims[*index].kill(unit);
        shims[*index].wait_and_delete(unit);
    }
    shims.into_iter().for_each(Shim::end);
}

/// The kernel's memory of shims, by the account of a cgroup that they are in.
pub(super) fn run(contenders: &[Contender]) {
    println!("\n## kernel memory that shims are charged for, in KiB, means of {COUNT}");
    println!(
        "| shim | a shim with one container | each further container of a pod | with user memory: a shim | further |"
    );
    println!("|---|---|---|---|---|");
    for contender in contenders {
        let (daemon, account) = (Daemon::new(), Account::new());
        let bundle = docker_bundle().args(["/bin/sleep", "100000"]);
        let begin = || {
            let unit = Unit::new(&bundle, None);
            let shim = Shim::start_in(&daemon, contender, &unit, Some(&account.dir));
            shim.create_and_start(&unit);
            (shim, unit)
        };
        // The first one pays for what all share: the binary's pages, the caches' first slabs.
        let (first, unit) = begin();
        let shared = account.charged();
        let (mut shims, mut units) = (vec![first], vec![(0, unit)]);
        for number in 1..=COUNT {
            let (shim, unit) = begin();
            shims.push(shim);
            units.push((number, unit));
        }
        let many = account.charged();
        for _ in 0..COUNT {
            let unit = Unit::new(&bundle, None);
            shims[0].create_and_start(&unit);
            units.push((0, unit));
        }
        let more = account.charged();
        end(shims, &units);
        let mean = |after: f64, before: f64| (after - before) / COUNT as f64;
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} |",
            contender.name,
            mean(many.kernel, shared.kernel),
            mean(more.kernel, many.kernel),
            mean(many.all, shared.all),
            mean(more.all, many.all),
        );
    }
}
