//! What is measured.

use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use gantry_testkit::Bundle;

use crate::arguments::{Contender, Options};
use crate::process::Command;
use crate::shim::Part;
use crate::statistics::{Series, print};

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// `run` of a static `true`, back to back.
    Run,
    /// The same with 30 ms between the rounds.
    RunGaps,
    /// `create`, `start` and `delete`, less what executing three processes costs.
    Lifecycle,
    /// `exec` of a static `true` in a running container.
    Exec,
    /// The library beside a program that makes only the system calls.
    Library,
    /// `run` with 1000 more mounts on the host.
    Mounts,
    /// 64 containers at once.
    Many,
    /// A part of what is measured of shims.
    Shim(Part),
}

impl Scenario {
    /// Those of the runtime.
    pub(crate) const RUNTIME: [Scenario; 7] = [
        Scenario::Run,
        Scenario::RunGaps,
        Scenario::Lifecycle,
        Scenario::Exec,
        Scenario::Library,
        Scenario::Mounts,
        Scenario::Many,
    ];

    fn name(self) -> &'static str {
        match self {
            Scenario::Run => "run",
            Scenario::RunGaps => "run-gaps",
            Scenario::Lifecycle => "lifecycle",
            Scenario::Exec => "exec",
            Scenario::Library => "library",
            Scenario::Mounts => "mounts",
            Scenario::Many => "many",
            Scenario::Shim(part) => part.name(),
        }
    }

    pub(crate) fn run(self, options: &Options) {
        match self {
            Scenario::Run => runs(options, "run of true, back to back", Duration::ZERO),
            Scenario::RunGaps => {
                runs(options, "run of true, 30 ms between rounds", Duration::from_millis(30))
            }
            Scenario::Lifecycle => lifecycle(options),
            Scenario::Exec => exec(options),
            Scenario::Library => crate::library::run(options),
            Scenario::Mounts => mounts(options),
            Scenario::Many => many(options),
            Scenario::Shim(part) => part.run(options),
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = || Scenario::RUNTIME.into_iter().chain(Part::ALL.map(Scenario::Shim));
        all().find(|scenario| scenario.name() == text).ok_or_else(|| {
            let names: Vec<_> = all().map(Scenario::name).collect();
            format!("{text:?} is no scenario: shim, {}", names.join(", "))
        })
    }
}

/// How many rounds of one contender follow one another before it is the next one's turn.
///
/// Back to back means after oneself: the first attach to a cgroup waits for an RCU grace period of 5 to 18 ms, and those
/// that follow at once do not, so that in strict turns each runtime would live on what the one before it has paid.
const BLOCK: usize = 10;

/// Calls `round` for each contender in turn, in blocks, until each has had `count` counted rounds; who begins changes. The
/// first round of each block is not counted: caches fill, page tables and cgroups settle.
pub(crate) fn in_turn(count: usize, contenders: usize, mut round: impl FnMut(usize, bool)) {
    for block in 0..count.div_ceil(BLOCK) {
        let counted = BLOCK.min(count - block * BLOCK);
        for turn in 0..contenders {
            for number in 0..=counted {
                round((turn + block) % contenders, number > 0);
            }
        }
    }
}

/// One runtime with its bundle and state directory.
pub(crate) struct Contest {
    pub(crate) contender: Contender,
    pub(crate) bundle: Bundle,
    root: String,
}

impl Contest {
    pub(crate) fn new(contender: &Contender, change: impl FnOnce(Bundle) -> Bundle) -> Self {
        let bundle = change(docker_bundle());
        let root = format!("/run/gantry-bench-{}-{}", std::process::id(), contender.name);
        Contest { contender: contender.clone(), bundle, root }
    }

    pub(crate) fn all(options: &Options, change: impl Fn(Bundle) -> Bundle) -> Vec<Self> {
        options.contenders.iter().map(|contender| Contest::new(contender, &change)).collect()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut all = vec!["--root", self.root.as_str()];
        all.extend_from_slice(arguments);
        Command::new(&self.contender.path, &all, self.bundle.path())
    }

    fn series(&self) -> Series {
        Series::new(&self.contender.name)
    }
}

/// docker's default configuration for a static `true`, with the limits that the view has controllers for.
pub(crate) fn docker_bundle() -> Bundle {
    Bundle::docker().args(["/bin/true"]).edit(|config| {
        // Older peers refuse what they do not know.
        config["ociVersion"] = serde_json::json!("1.0.2");
        // The unified tree of a hybrid host has none: only devices are confined there.
        if let Some(resources) =
            config["linux"]["resources"].as_object_mut().filter(|_| !has_memory_controller())
        {
            resources.retain(|key, _| key == "devices");
        }
    })
}

pub(crate) fn has_memory_controller() -> bool {
    match std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") {
        Ok(controllers) => controllers.split_whitespace().any(|name| name == "memory"),
        Err(_) => true,
    }
}

impl Drop for Contest {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn runs(options: &Options, title: &str, gap: Duration) {
    let contests = Contest::all(options, |bundle| bundle);
    measure_runs(options, title, gap, &contests);
}

fn measure_runs(options: &Options, title: &str, gap: Duration, contests: &[Contest]) {
    let commands: Vec<_> = contests.iter().map(|contest| contest.command(&["run", "bench"])).collect();
    let mut series: Vec<_> = contests.iter().map(Contest::series).collect();
    in_turn(options.count, contests.len(), |index, counted| {
        std::thread::sleep(gap);
        let run = commands[index].run_ok();
        if counted {
            series[index].add(run.elapsed);
            series[index].note_rss(run.peak_rss_kib);
        }
    });
    print(title, &series, Duration::ZERO);
}

/// What starting and reaping a process costs the harness: a static program that does nothing.
fn own_cost(count: usize) -> Duration {
    let command = Command::new(Path::new("/bin/busybox"), &["true"], Path::new("/"));
    let mut series = Series::new("true");
    for _ in 0..count {
        series.add(command.run_ok().elapsed);
    }
    series.median()
}

fn lifecycle(options: &Options) {
    let contests = Contest::all(options, |bundle| bundle);
    let mut series: Vec<_> = contests.iter().map(Contest::series).collect();
    in_turn(options.count, contests.len(), |index, counted| {
        let contest = &contests[index];
        let pid_file = contest.bundle.path().join("pid");
        let mut elapsed = Duration::ZERO;
        let mut measure = |arguments: &[&str]| {
            let run = contest.command(arguments).run_ok();
            elapsed += run.elapsed;
            series[index].note_rss(run.peak_rss_kib);
        };
        measure(&["create", "--pid-file", &pid_file.to_string_lossy(), "bench"]);
        let pid = std::fs::read_to_string(&pid_file).expect("the pid file").parse().expect("a process id");
        measure(&["start", "bench"]);
        // Outside the measurement. We adopted it when the runtime ended, and reap it.
        let _ = gantry_sys::process::wait_with_usage(pid);
        measure(&["delete", "bench"]);
        if counted {
            series[index].add(elapsed);
        }
    });
    print("create + start + delete, three processes", &series, 3 * own_cost(options.count));
}

fn exec(options: &Options) {
    let contests = Contest::all(options, |bundle| bundle.args(["/bin/sleep", "1000"]));
    for contest in &contests {
        contest.command(&["run", "-d", "bench"]).run_ok();
    }
    let commands: Vec<_> =
        contests.iter().map(|contest| contest.command(&["exec", "bench", "/bin/true"])).collect();
    let mut series: Vec<_> = contests.iter().map(Contest::series).collect();
    in_turn(options.count, contests.len(), |index, counted| {
        let run = commands[index].run_ok();
        if counted {
            series[index].add(run.elapsed);
            series[index].note_rss(run.peak_rss_kib);
        }
    });
    for contest in &contests {
        contest.command(&["delete", "-f", "bench"]).run();
    }
    print("exec of true in a running container", &series, Duration::ZERO);
}

fn mounts(options: &Options) {
    const EXTRA: usize = 1000;
    let directory = format!("/run/gantry-bench-mounts-{}", std::process::id());
    std::fs::create_dir_all(&directory).expect("a directory in /run");
    for _ in 0..EXTRA {
        rustix::mount::mount_bind(&directory, &directory).expect("a bind mount");
    }
    let contests = Contest::all(options, |bundle| bundle);
    measure_runs(options, "run of true with 1000 more mounts on the host", Duration::ZERO, &contests);
    drop(contests);
    for _ in 0..EXTRA {
        rustix::mount::unmount(&directory, rustix::mount::UnmountFlags::DETACH).expect("unmount");
    }
    let _ = std::fs::remove_dir(&directory);
}

fn many(options: &Options) {
    const CONTAINERS: usize = 64;
    const ROUNDS: usize = 5;
    let contests = Contest::all(options, |bundle| bundle);
    let mut series: Vec<_> = contests.iter().map(Contest::series).collect();
    for _ in 0..ROUNDS {
        for (contest, series) in contests.iter().zip(&mut series) {
            series.add(at_once(contest, CONTAINERS));
        }
    }
    print("64 containers at once: all of them have ended", &series, Duration::ZERO);
}

/// Runs containers at once, each with a cgroup of its own.
fn at_once(contest: &Contest, count: usize) -> Duration {
    let start = Instant::now();
    let children: Vec<_> = (0..count)
        .map(|number| {
            std::process::Command::new(&contest.contender.path)
                .args(["--root", &contest.root, "run", "-b"])
                .arg(numbered_bundle(contest, number))
                .arg(format!("bench-{number}"))
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("the runtime starts")
        })
        .collect();
    for mut child in children {
        assert!(
            child.wait().expect("the child is ours").success(),
            "a container of {} failed",
            contest.contender.name
        );
    }
    start.elapsed()
}

/// A bundle that shares the root but not the cgroup.
fn numbered_bundle(contest: &Contest, number: usize) -> std::path::PathBuf {
    let directory = contest.bundle.path().join(format!("b{number}"));
    if !directory.is_dir() {
        std::fs::create_dir(&directory).expect("a directory in the bundle");
        let mut config = contest.bundle.config().clone();
        config["root"]["path"] = serde_json::json!(contest.bundle.rootfs());
        config["linux"]["cgroupsPath"] = serde_json::json!(format!("{}-{number}", contest.bundle.cgroup()));
        std::fs::write(directory.join("config.json"), config.to_string()).expect("a file in the bundle");
    }
    directory
}
