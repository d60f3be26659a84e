//! Containers as people run them: us and the peers in turn in one run.
//!
//! ```text
//! gantry-bench engine --bin DIR [--sid DIR] [--count N] [--part run|exec|build|logs|idle]... [--mib N] [ENGINE...]
//! ```
//!
//! `scripts/bench-engine.sh` calls it, in namespaces of its own. `--bin` has our binaries, `--sid` a newer dockerd below `usr`. All daemons
//! run from the beginning to the end, and take turns.
//!
//! | part | |
//! |---|---|
//! | `run` | `run --rm` of a static program that does nothing, on the default bridge |
//! | `exec` | `exec` of the same in a container that runs |
//! | `build` | a Dockerfile of ten steps by the classic builder: without a cache, and wholly from it |
//! | `logs` | a container that writes `--mib` MiB of lines of 100 bytes, and `logs` of it, of which every byte has to come back |
//! | `idle` | 100 containers that sleep: anonymous memory of the daemon, and its processor time in ten seconds |

mod contender;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use self::contender::{Contender, Serving};
use crate::statistics::{Series, print};

const DEFAULT_COUNT: usize = 20;
const DEFAULT_MIB: usize = 256;
const PARTS: [&str; 5] = ["run", "exec", "build", "logs", "idle"];
const SLEEPERS: usize = 100;
const IDLE: Duration = Duration::from_secs(10);
/// The length of a line of a log, in bytes.
const LINE: usize = 100;
/// The kernel's USER_HZ.
const TICKS_PER_SECOND: f64 = 100.0;
const USAGE: &str = "usage: gantry-bench engine --bin DIR [--sid DIR] [--count N] [--part run|exec|build|logs|idle]... \
                     [--mib N] [ENGINE...]";
/// Ten steps, half of which run something.
const DOCKERFILE: &str = "FROM busybox
ENV A=b
WORKDIR /work
RUN echo one > one
COPY file .
RUN cat file > two
LABEL c=d
RUN echo three > three
USER 1000
CMD [\"true\"]
";

struct Options {
    contenders: Vec<Contender>,
    count: usize,
    mib: usize,
    parts: Vec<String>,
}

/// Runs it with the words of the command line that follow `engine`.
pub(crate) fn main(words: impl Iterator<Item = String>) -> ExitCode {
    match parse(words).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut bin, mut sid, mut names, mut parts) = (None, None, Vec::new(), Vec::new());
    let (mut count, mut mib) = (DEFAULT_COUNT, DEFAULT_MIB);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; {USAGE}"));
        let number =
            |text: String| text.parse::<usize>().map_err(|_| format!("{text:?} is no number; {USAGE}"));
        match word.as_str() {
            "--bin" => bin = Some(PathBuf::from(value()?)),
            "--sid" => sid = Some(PathBuf::from(value()?)),
            "--count" => count = number(value()?)?,
            "--mib" => mib = number(value()?)?,
            "--part" => parts.push(value()?),
            flag if flag.starts_with('-') => return Err(format!("{flag} is no flag; {USAGE}")),
            name => names.push(name.to_owned()),
        }
    }
    if let Some(wrong) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        return Err(format!("{wrong:?} is no part; {USAGE}"));
    }
    let bin = bin.ok_or(USAGE)?.canonicalize().map_err(|error| error.to_string())?;
    let mut contenders = Contender::all(&bin, sid.as_deref());
    contenders.retain(|one| names.is_empty() || names.iter().any(|name| name == one.name));
    Ok(Options { contenders, count: count.max(1), mib, parts })
}

fn run(options: &Options) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| format!("a temporary directory: {error}"))?;
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    println!("Linux {}, {cores} cores, load {}", read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let mut serving = Vec::new();
    for (number, contender) in options.contenders.iter().enumerate() {
        serving.push(Serving::start(contender, &dir.path().join(number.to_string()))?);
    }
    let does = |part: &str| options.parts.is_empty() || options.parts.iter().any(|asked| asked == part);
    if does("run") {
        turns("run --rm on the default bridge", &serving, options.count, |one, _| {
            Ok(one.client(&["run", "--rm", "busybox", "true"]))
        });
    }
    if does("exec") {
        for one in &serving {
            timed(&mut one.client(&["run", "--detach", "--name", "execs", "busybox", "sleep", "1000"]))?;
        }
        turns("exec", &serving, options.count, |one, _| Ok(one.client(&["exec", "execs", "true"])));
        for one in &serving {
            timed(&mut one.client(&["rm", "--force", "execs"]))?;
        }
    }
    if does("build") {
        build(&serving, options, dir.path())?;
    }
    if does("logs") {
        logs(&serving, options.mib)?;
    }
    if does("idle") {
        idle(&serving)?;
    }
    Ok(())
}

/// Takes turns; who fails once is out.
fn turns<'a>(
    title: &str,
    serving: impl IntoIterator<Item = &'a Serving>,
    count: usize,
    command: impl Fn(&Serving, usize) -> Result<Command, String>,
) {
    let mut series: Vec<(&Serving, Series)> =
        serving.into_iter().map(|one| (one, Series::new(one.contender.name))).collect();
    for turn in 0..count {
        series.retain_mut(|(one, series)| {
            let took = command(one, turn).and_then(|mut command| timed(&mut command));
            took.map(|took| series.add(took)).inspect_err(|error| eprintln!("{error}")).is_ok()
        });
    }
    let series: Vec<Series> = series.into_iter().map(|(_, series)| series).collect();
    print(title, &series, Duration::ZERO);
}

fn build(serving: &[Serving], options: &Options, dir: &std::path::Path) -> Result<(), String> {
    let context = dir.join("context");
    let failed = |error: std::io::Error| format!("{}: {error}", context.display());
    fs::create_dir_all(&context).map_err(failed)?;
    fs::write(context.join("Dockerfile"), DOCKERFILE).map_err(failed)?;
    fs::write(context.join("file"), "what is copied\n").map_err(failed)?;
    let context = context.display().to_string();
    let builders = || serving.iter().filter(|one| one.contender.builds());
    let count = options.count.min(5);
    turns("build of ten steps, without a cache", builders(), count, |one, _| {
        Ok(one.client(&["build", "--no-cache", "--quiet", "--tag", "built", &context]))
    });
    for one in builders() {
        timed(&mut one.client(&["build", "--quiet", "--tag", "built", &context]))?;
    }
    turns("build of ten steps, from the cache", builders(), options.count, |one, _| {
        Ok(one.client(&["build", "--quiet", "--tag", "built", &context]))
    });
    Ok(())
}

fn logs(serving: &[Serving], mib: usize) -> Result<(), String> {
    let lines = mib * 1024 * 1024 / LINE;
    let script = format!("yes {} | head -n {lines}", "x".repeat(LINE - 1));
    let mut written = Vec::new();
    for one in serving {
        let mut series = Series::new(one.contender.name);
        let options = ["run", "--detach", "--name", "logs", "--log-driver", driver(one)];
        let begin = Instant::now();
        timed(one.client(&options).args(["busybox", "sh", "-c", &script]))?;
        timed(&mut one.client(&["wait", "logs"]))?;
        series.add(begin.elapsed());
        written.push(series);
        // A fast way to lose lines counts for nothing. It also reads the file into the page cache, for everybody.
        let (seen, wanted) = (bytes_of(&mut one.client(&["logs", "logs"]))?, (lines * LINE) as u64);
        if seen != wanted {
            return Err(format!("{}: {seen} bytes of {wanted} came back", one.contender.name));
        }
    }
    print(&format!("a container that writes {mib} MiB"), &written, Duration::ZERO);
    turns(&format!("logs of {mib} MiB"), serving, 3, |one, _| Ok(one.client(&["logs", "logs"])));
    for one in serving {
        timed(&mut one.client(&["rm", "--force", "logs"]))?;
    }
    Ok(())
}

/// How much a command writes to its standard output.
fn bytes_of(command: &mut Command) -> Result<u64, String> {
    let shown = format!("{command:?}");
    let failed = |error: std::io::Error| format!("{shown}: {error}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(failed)?;
    let mut stdout = child.stdout.take().ok_or("no output")?;
    let bytes = std::io::copy(&mut stdout, &mut std::io::sink()).map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(bytes) } else { Err(format!("{shown}: {status}")) }
}

fn driver(one: &Serving) -> &'static str {
    if one.contender.name == "podman" { "k8s-file" } else { "json-file" }
}

fn idle(serving: &[Serving]) -> Result<(), String> {
    println!(
        "\n## {SLEEPERS} containers that sleep\n| engine | daemon's anonymous MiB | processor ms in {IDLE:?} |\n|---|---|---|"
    );
    for one in serving {
        let Some(pid) = one.pid() else { continue };
        for number in 0..SLEEPERS {
            let name = format!("idle-{number}");
            timed(&mut one.client(&["run", "--detach", "--name", &name, "busybox", "sleep", "1000"]))?;
        }
        std::thread::sleep(IDLE);
        let before = ticks(pid);
        std::thread::sleep(IDLE);
        let spent = (ticks(pid) - before) * 1000.0 / TICKS_PER_SECOND;
        println!("| {} | {:.1} | {spent:.0} |", one.contender.name, anonymous_kib(pid) / 1024.0);
        let names: Vec<String> = (0..SLEEPERS).map(|number| format!("idle-{number}")).collect();
        let mut remove = one.client(&["rm", "--force"]);
        timed(remove.args(names))?;
    }
    Ok(())
}

fn anonymous_kib(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
}

fn ticks(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit(") ").next().unwrap_or_default();
    rest.split(' ').skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum()
}

fn timed(command: &mut Command) -> Result<Duration, String> {
    let begin = Instant::now();
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{shown}: {error}"))?;
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = std::io::Read::read_to_string(&mut stderr, &mut said);
    }
    let status = child.wait().map_err(|error| format!("{shown}: {error}"))?;
    let took = begin.elapsed();
    if status.success() { Ok(took) } else { Err(format!("{shown}: {status}\n{said}")) }
}
