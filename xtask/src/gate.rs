//! The gate: what must pass before anything lands.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Formatting, tidy, lints and tests.
pub(crate) fn ci() -> Result<(), Box<dyn Error>> {
    cargo(&["fmt", "--all", "--check"])?;
    crate::tidy::run()?;
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    test()
}

/// Every test of the workspace. Skipped ones say why, and are counted at the end.
pub(crate) fn test() -> Result<(), Box<dyn Error>> {
    // The tests drive the binaries from outside.
    cargo(&[
        "build",
        "--package",
        "gantry-runtime-bin",
        "--package",
        "gantry-testkit",
        "--features",
        FAILPOINTS,
    ])?;
    let skips = std::env::temp_dir().join(format!("gantry-skips-{}", std::process::id()));
    let _ = std::fs::remove_file(&skips);
    let mut counts = Counts::default();
    let mut inside = Command::new(env!("CARGO"));
    inside.args([
        "test",
        "--workspace",
        "--exclude",
        "gantry-e2e",
        "--no-fail-fast",
        "--features",
        FAILPOINTS,
    ]);
    let units = counted(inside.env("GANTRY_TEST_SKIPS", &skips), &mut counts)?;
    // Engines and their daemons get namespaces and cgroups of their own.
    let mut engines = Command::new(env!("CARGO"));
    engines
        .args(["test", "--package", "gantry-e2e"])
        .env(RUNNER, std::env::current_dir()?.join("scripts/isolated.sh"));
    let engines = counted(engines.env("GANTRY_TEST_SKIPS", &skips), &mut counts)?;
    let skipped = skipped(&skips);
    for line in &skipped {
        println!("{line}");
    }
    let passed = counts.passed.saturating_sub(skipped.len());
    println!("{passed} passed, {} failed, {} skipped", counts.failed, skipped.len());
    if units && engines { Ok(()) } else { Err("tests failed".into()) }
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
    /// Adds up lines such as `test result: ok. 3 passed; 0 failed; ...`.
    fn read(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            match (words.next().and_then(|number| number.parse::<usize>().ok()), words.next()) {
                (Some(number), Some("passed")) => self.passed += number,
                (Some(number), Some("failed")) => self.failed += number,
                _ => {}
            }
        }
    }
}

/// The tests that said that they need something which is not here.
fn skipped(path: &PathBuf) -> Vec<String> {
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
