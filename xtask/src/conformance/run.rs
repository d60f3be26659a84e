//! Runs a suite part by part, and keeps what it prints.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use super::output;
use super::suite::{Part, Suite};
use super::{Outcome, Results};

const DIRECTORY: &str = "target/conformance";
const ISOLATED: &str = "scripts/isolated.sh";

/// Runs `suite` in its `directory`, and writes its log and its results.
pub(crate) fn suite(suite: Suite, directory: &Path, runtime: &Path) -> Result<Results, Box<dyn Error>> {
    std::fs::create_dir_all(DIRECTORY)?;
    let runtime = &if suite.wants_runc() { called_runc(runtime)? } else { runtime.to_owned() };
    let mut log = File::create(format!("{DIRECTORY}/{}.log", suite.name()))?;
    let mut results = Results::new();
    for part in suite.parts(directory, runtime)? {
        let begin = Instant::now();
        let (text, status) = run(suite, directory, runtime, &part)?;
        writeln!(log, "==== {}\n{text}==== {} {status}", part.name, part.name)?;
        let mut found = output::parse(suite.format(), &part.name, &text);
        if suite.counts_parts() {
            let whole = whole(&found, status);
            if whole == Outcome::Pass {
                found.clear();
            }
            found.insert(part.name.clone(), whole);
        }
        println!("{}: {} {status}, {:.1} s", suite.name(), part.name, begin.elapsed().as_secs_f32());
        results.extend(found);
    }
    let mut table = File::create(format!("{DIRECTORY}/{}.tsv", suite.name()))?;
    for (name, outcome) in &results {
        writeln!(table, "{name}\t{}", outcome.word())?;
    }
    Ok(results)
}

/// The runtime by the name of runc, whose help and version bear the name that a program is called by.
fn called_runc(runtime: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let directory = Path::new(DIRECTORY).canonicalize()?.join("called");
    std::fs::create_dir_all(&directory)?;
    let link = directory.join("runc");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(runtime, &link)?;
    Ok(link)
}

/// The outcome of a part as a whole.
fn whole(tests: &Results, status: ExitStatus) -> Outcome {
    if !status.success() {
        return Outcome::Fail;
    }
    let has = |outcome| tests.values().any(|found| *found == outcome);
    match (has(Outcome::Fail), has(Outcome::Pass)) {
        (true, _) => Outcome::Fail,
        (false, true) => Outcome::Pass,
        (false, false) => Outcome::Skip,
    }
}

fn run(
    suite: Suite,
    directory: &Path,
    runtime: &Path,
    part: &Part,
) -> Result<(String, ExitStatus), Box<dyn Error>> {
    // Both streams into one file, in the order in which they were written; a pipe would be kept open by what stays.
    let path = format!("{DIRECTORY}/{}.part", suite.name());
    let printed = File::create(&path)?;
    let mut child = Command::new(Path::new(ISOLATED).canonicalize()?)
        .args(["--view", suite.view(), "timeout", "--kill-after=5"])
        .arg(suite.limit_seconds().to_string())
        .args(&part.command)
        .envs(suite.environment(directory, runtime))
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stderr(printed.try_clone()?)
        .stdout(printed)
        .spawn()?;
    // Empty for most. A terminal's input does not end, though: script(1) would type the end into its terminal.
    let input = child.stdin.take().filter(|_| suite.has_terminal());
    let status = child.wait()?;
    drop(input);
    let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
    std::fs::remove_file(&path)?;
    Ok((text, status))
}
