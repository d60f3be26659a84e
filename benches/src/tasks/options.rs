//! The command line.

use std::path::{Path, PathBuf};

use super::contender::Contender;

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) count: usize,
    pub(crate) tasks: usize,
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
}

const PARTS: [(&str, Part); 4] =
    [("run", Part::Run), ("start", Part::Start), ("crowd", Part::Crowd), ("memory", Part::Memory)];
const DEFAULT_COUNT: usize = 30;
const DEFAULT_TASKS: usize = 500;
const USAGE: &str = "usage: gantry-bench tasks --gantryd PATH [--containerd DIR]... [--count N] \
                     [--part run|start|crowd|memory]... [--tasks N] [ENGINE...]";

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut gantryd, mut others, mut names, mut parts) = (None, Vec::new(), Vec::new(), Vec::new());
        let (mut count, mut tasks) = (DEFAULT_COUNT, DEFAULT_TASKS);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; {USAGE}"));
            let number =
                |text: String| text.parse::<usize>().map_err(|_| format!("{text:?} is no number; {USAGE}"));
            match word.as_str() {
                "--gantryd" => gantryd = Some(existing(&value()?)?),
                "--containerd" => others.push(existing(&value()?)?),
                "--count" => count = number(value()?)?,
                "--tasks" => tasks = number(value()?)?,
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
            parts = PARTS.map(|part| part.1).to_vec();
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
        Ok(Self { count: count.max(1), tasks, contenders, ctr: ctr.unwrap_or_else(|| "ctr".into()), parts })
    }

    /// Whether this part was asked for.
    pub(crate) fn does(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

fn existing(path: &str) -> Result<PathBuf, String> {
    Path::new(path).canonicalize().map_err(|error| format!("{path}: {error}"))
}
