//! The gate: what must pass before anything lands.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Formatting, tidy, lints and tests.
pub(crate) fn ci() -> Result<(), Box<dyn Error>> {
    cargo(&["fmt", "--all", "--check"])?;
    // A workspace of its own.
    cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])?;
    crate::tidy::run()?;
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    test()
}

/// A run of some of the tests in one environment.
struct Pass {
    name: &'static str,
    /// Which packages, for `cargo test`.
    packages: &'static [&'static str],
    /// Builds the runtime with places to fail at.
    failpoints: bool,
    /// A script of ours that the tests run through.
    runner: Option<&'static str>,
    /// A variable for the runtime under test.
    variable: Option<(&'static str, &'static str)>,
}

const PASSES: [Pass; 5] = [
    Pass {
        name: "all crates, cgroups as the host has them",
        packages: &["--workspace", "--exclude", "gantry-e2e"],
        failpoints: true,
        runner: None,
        variable: None,
    },
    Pass {
        name: "the runtime on cgroup v2",
        packages: &["--package", "gantry-runtime-bin"],
        failpoints: true,
        runner: Some("scripts/v2-view.sh"),
        variable: None,
    },
    Pass {
        name: "the shim on cgroup v2",
        packages: &["--package", "gantry-shim-bin"],
        failpoints: false,
        runner: Some("scripts/v2-view.sh"),
        variable: None,
    },
    Pass {
        name: "the runtime as on Linux 5.10",
        packages: &["--package", "gantry-runtime-bin"],
        failpoints: true,
        runner: None,
        variable: Some(("GANTRY_KERNEL_FEATURES", "5.10")),
    },
    // Engines and their daemons get namespaces and cgroups of their own.
    Pass {
        name: "engines",
        packages: &["--package", "gantry-e2e"],
        failpoints: false,
        runner: Some("scripts/isolated.sh"),
        variable: None,
    },
];

impl Pass {
    /// Runs it; whether all was well.
    fn run(&self, skips: &Path, counts: &mut Counts) -> Result<bool, Box<dyn Error>> {
        println!("== {}", self.name);
        let mut command = Command::new(env!("CARGO"));
        command.arg("test").args(self.packages).arg("--no-fail-fast").env("GANTRY_TEST_SKIPS", skips);
        if self.failpoints {
            command.args(["--features", FAILPOINTS]);
        }
        if let Some(runner) = self.runner {
            command.env(RUNNER, std::env::current_dir()?.join(runner));
        }
        command.envs(self.variable);
        counted(&mut command, counts)
    }
}

/// Every test of the workspace, in each environment that it is for. Skipped ones say why, and are counted at the end.
pub(crate) fn test() -> Result<(), Box<dyn Error>> {
    // The tests drive the binaries from outside.
    cargo(&[
        "build",
        "--package",
        "gantry-runtime-bin",
        "--package",
        "gantry-shim-bin",
        "--package",
        "gantry-testkit",
        "--package",
        "gantry",
        "--package",
        "gantryd",
        "--features",
        FAILPOINTS,
    ])?;
    // Images of servers are made of them; where there is no mirror, their tests count as skipped.
    if !Command::new("scripts/packages.sh").status().is_ok_and(|status| status.success()) {
        println!("scripts/packages.sh failed: no servers are tested");
    }
    let skips = std::env::temp_dir().join(format!("gantry-skips-{}", std::process::id()));
    let (mut total, mut all_skipped, mut well) = (Counts::default(), 0, true);
    let mut summary = Vec::new();
    for pass in &PASSES {
        let _ = std::fs::remove_file(&skips);
        let begin = Instant::now();
        let mut counts = Counts::default();
        well &= pass.run(&skips, &mut counts)?;
        let skipped = skipped(&skips);
        counts.passed = counts.passed.saturating_sub(skipped.len());
        skipped.iter().for_each(|line| println!("{line}"));
        summary.push(format!(
            "{}: {} passed, {} failed, {} skipped, {} s",
            pass.name,
            counts.passed,
            counts.failed,
            skipped.len(),
            begin.elapsed().as_secs()
        ));
        total.passed += counts.passed;
        total.failed += counts.failed;
        all_skipped += skipped.len();
    }
    // What this host lacks is looked at in a virtual machine.
    let begin = Instant::now();
    let smoke = crate::vm::smoke();
    well &= smoke.is_ok();
    summary.push(match smoke {
        Ok(line) => format!("{line}, {} s", begin.elapsed().as_secs()),
        Err(error) => error.to_string(),
    });
    summary.iter().for_each(|line| println!("{line}"));
    println!("{} passed, {} failed, {all_skipped} skipped", total.passed, total.failed);
    if well { Ok(()) } else { Err("tests failed".into()) }
}

/// Places at which the tests make the runtime fail or die.
const FAILPOINTS: &str = "gantry-runtime-bin/failpoints";
/// The variable by which cargo is told to run tests through another program.
const RUNNER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";

/// Runs cargo, shows what it prints and adds up its results; whether all was well.
fn counted(command: &mut Command, counts: &mut Counts) -> Result<bool, Box<dyn Error>> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    for line in BufReader::new(child.stdout.take().ok_or("no output")?).lines() {
        let line = line?;
        counts.read(&line);
        println!("{line}");
    }
    Ok(child.wait()?.success())
}

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
}

impl Counts {
    /// Adds up lines that are results.
    fn read(&mut self, line: &str) {
        let (passed, failed) = results(line).unwrap_or_default();
        self.passed += passed;
        self.failed += failed;
    }
}

/// How many passed and failed, if the line is such as `test result: ok. 3 passed; 0 failed; ...`.
pub(crate) fn results(line: &str) -> Option<(usize, usize)> {
    let (mut passed, mut failed) = (0, 0);
    for part in line.strip_prefix("test result: ")?.split([';', '.']) {
        let mut words = part.split_whitespace();
        match (words.next().and_then(|number| number.parse::<usize>().ok()), words.next()) {
            (Some(number), Some("passed")) => passed += number,
            (Some(number), Some("failed")) => failed += number,
            _ => {}
        }
    }
    Some((passed, failed))
}

/// The tests that said that they need something which is not here.
fn skipped(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let _ = std::fs::remove_file(path);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    lines
}

fn cargo(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    println!("cargo {}", arguments.join(" "));
    if Command::new(env!("CARGO")).args(arguments).status()?.success() {
        return Ok(());
    }
    Err(format!("cargo {} failed", arguments.join(" ")).into())
}
