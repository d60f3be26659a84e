//! The command line.

use std::path::{Path, PathBuf};

use super::contender::Contender;

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) count: usize,
    pub(crate) tasks: usize,
    pub(crate) snapshots: usize,
    pub(crate) contenders: Vec<Contender>,
    /// The client of all of them.
    pub(crate) ctr: PathBuf,
    parts: Vec<Part>,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Run,
    Start,
    Crowd,
    Memory,
    Pause,
}

const PARTS: [(&str, Part); 5] = [
    ("run", Part::Run),
    ("start", Part::Start),
    ("crowd", Part::Crowd),
    ("memory", Part::Memory),
    ("pause", Part::Pause),
];
const DEFAULT_COUNT: usize = 30;
const DEFAULT_TASKS: usize = 500;
const DEFAULT_SNAPSHOTS: usize = 100_000;
const USAGE: &str = "usage: gantry-bench tasks --gantryd PATH [--containerd DIR]... [--count N] \
                     [--part run|start|crowd|memory|pause]... [--tasks N] [--snapshots N] [ENGINE...]";

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut gantryd, mut others, mut names, mut parts) = (None, Vec::new(), Vec::new(), Vec::new());
        let (mut count, mut tasks, mut snapshots) = (DEFAULT_COUNT, DEFAULT_TASKS, DEFAULT_SNAPSHOTS);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; {USAGE}"));
            let number =
                |text: String| text.parse::<usize>().map_err(|_| format!("{text:?} is no number; {USAGE}"));
            match word.as_str() {
                "--gantryd" => gantryd = Some(existing(&value()?)?),
                "--containerd" => others.push(existing(&value()?)?),
                "--count" => count = number(value()?)?,
                "--tasks" => tasks = number(value()?)?,
                "--snapshots" => snapshots = number(value()?)?,
                "--part" => {
                    let name = value()?;
                    let found = PARTS.iter().find(|part| part.0 == name);
                    parts.push(found.ok_or_else(|| format!("{name:?} is no part; {USAGE}"))?.1);
                }
                flag if flag.starts_with('-') => return Err(format!("{flag} is no flag; {USAGE}")),
                name => names.push(name.to_owned()),
            }
        }
        if parts.is_empty() {
            // The pause takes minutes to prepare.
            parts = PARTS.map(|part| part.1).into_iter().filter(|part| *part != Part::Pause).collect();
        }
        let gantryd = gantryd.ok_or(USAGE)?;
        let ctr = others.iter().map(|dir| dir.join("usr/bin/ctr")).find(|path| path.exists());
        let all = Contender::all(&gantryd, &others);
        let wanted = |one: &Contender| names.is_empty() || names.contains(&one.name);
        let known = all.iter().map(|one| one.name.clone()).collect::<Vec<_>>().join(", ");
        let contenders: Vec<_> = all.into_iter().filter(wanted).collect();
        if contenders.is_empty() {
            return Err(format!("no engine of that name: {known}"));
        }
        let ctr = ctr.unwrap_or_else(|| "ctr".into());
        Ok(Self { count: count.max(1), tasks, snapshots, contenders, ctr, parts })
    }

    /// Whether any part was asked for whose daemons run side by side.
    pub(crate) fn does_any_together(&self) -> bool {
        self.parts.iter().any(|part| *part != Part::Pause)
    }

    /// Whether this part was asked for.
    pub(crate) fn does(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

fn existing(path: &str) -> Result<PathBuf, String> {
    Path::new(path).canonicalize().map_err(|error| format!("{path}: {error}"))
}
