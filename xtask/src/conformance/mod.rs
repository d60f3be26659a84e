//! Other projects' test suites, run on a runtime or a daemon and compared with the lists of `conformance/`.
//!
//! `cargo xtask conformance [--runtime PATH] [--daemon PATH] SUITE=DIRECTORY...`, where the directory is a built checkout of the suite:
//! `docs/conformance.md` says how each has to be built. Needs root. Each part of a suite runs in namespaces and cgroups
//! of its own (`scripts/isolated.sh`), so that what one leaves behind does not reach the next.
//!
//! The results are in `target/conformance/SUITE.tsv`, one `NAME<TAB>pass|fail|skip` a line, and what the suite printed
//! in `SUITE.log` beside it. A result that is worse than the list is a failure of this command; a better one is shown.

mod list;
mod output;
mod run;
mod suite;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use list::{Comparison, List};
use suite::Suite;

const USAGE: &str = "usage: cargo xtask conformance [--runtime PATH] [--daemon PATH] SUITE=DIRECTORY...
suites: contest, runtime-tools, crun, bats; containerd, of a daemon";
/// Where what is tested is, unless something else is asked for.
const RELEASE: &str = "target/x86_64-unknown-linux-gnu/release";

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Pass,
    Skip,
    Fail,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Skip => "skip",
            Outcome::Fail => "fail",
        }
    }
}

/// The outcome of each test by its name.
type Results = BTreeMap<String, Outcome>;

/// What the arguments ask for.
struct Request {
    runtime: PathBuf,
    daemon: PathBuf,
    suites: Vec<(Suite, PathBuf)>,
}

/// Runs the suites that `arguments` name, and fails if one of them has become worse.
pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let request = parse(arguments)?;
    let mut worse = 0;
    for (suite, directory) in &request.suites {
        let subject = if suite.is_of_daemons() { &request.daemon } else { &request.runtime };
        let results = run::suite(*suite, directory, &existing(subject)?)?;
        let list = PathBuf::from("conformance").join(format!("{}.txt", suite.name()));
        let comparison = List::read(&list)?.compare(&results);
        show(*suite, &comparison);
        worse += comparison.worse.len();
    }
    if worse == 0 { Ok(()) } else { Err(format!("{worse} results are worse than the lists").into()) }
}

fn parse(arguments: &[String]) -> Result<Request, Box<dyn Error>> {
    let mut runtime = Path::new(RELEASE).join("gantry-runtime");
    let mut daemon = Path::new(RELEASE).join("gantryd");
    let mut suites = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if let "--runtime" | "--daemon" = word.as_str() {
            let path = words.next().ok_or(USAGE)?.into();
            *(if word == "--runtime" { &mut runtime } else { &mut daemon }) = path;
            continue;
        }
        let (name, directory) = word.split_once('=').ok_or(USAGE)?;
        suites.push((Suite::named(name).ok_or(USAGE)?, existing(Path::new(directory))?));
    }
    if suites.is_empty() {
        return Err(USAGE.into());
    }
    Ok(Request { runtime, daemon, suites })
}

fn existing(path: &Path) -> Result<PathBuf, Box<dyn Error>> {
    path.canonicalize().map_err(|error| format!("{}: {error}", path.display()).into())
}

fn show(suite: Suite, comparison: &Comparison) {
    for line in &comparison.worse {
        println!("{}: worse: {line}", suite.name());
    }
    for line in &comparison.better {
        println!("{}: better: {line}", suite.name());
    }
    println!(
        "{}: {} passed, {} did not and are listed with a reason, {} better, {} worse",
        suite.name(),
        comparison.passed,
        comparison.excused,
        comparison.better.len(),
        comparison.worse.len()
    );
}
