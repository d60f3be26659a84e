//! The command line.

use std::path::{Path, PathBuf};

use super::engine::{Engine, Programs};

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    /// An OCI layout with the images.
    pub(crate) layout: PathBuf,
    /// Tags of the layout.
    pub(crate) images: Vec<String>,
    pub(crate) count: usize,
    pub(crate) engines: Vec<Engine>,
}

const DEFAULT_COUNT: usize = 3;
const USAGE: &str = "usage: gantry-bench pull --layout DIR [--sid DIR] [--inflaters DIR] [--gantryd PATH] [--count N] \
                     [--image TAG]... [ENGINE...]";

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut layout, mut images, mut names, mut count) = (None, Vec::new(), Vec::new(), DEFAULT_COUNT);
        let mut programs = Programs::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; {USAGE}"));
            match word.as_str() {
                "--layout" => layout = Some(existing(&value()?)?),
                "--sid" => programs.sid = Some(existing(&value()?)?),
                "--inflaters" => programs.inflaters = Some(existing(&value()?)?),
                "--gantryd" => programs.gantryd = Some(existing(&value()?)?),
                "--image" => images.push(value()?),
                "--count" => {
                    count = value()?.parse().map_err(|_| format!("--count needs a number; {USAGE}"))?;
                }
                flag if flag.starts_with('-') => return Err(format!("{flag} is no flag; {USAGE}")),
                name => names.push(name.to_owned()),
            }
        }
        if images.is_empty() {
            images = ["gzip", "zstd"].map(str::to_owned).to_vec();
        }
        let all = Engine::all(&programs);
        let known = all.iter().map(|engine| engine.name.clone()).collect::<Vec<_>>().join(", ");
        if let Some(unknown) = names.iter().find(|name| all.iter().all(|engine| engine.name != **name)) {
            return Err(format!("{unknown:?} is no engine here: {known}"));
        }
        let wanted = |engine: &Engine| names.is_empty() || names.contains(&engine.name);
        let engines = all.into_iter().filter(wanted).collect();
        Ok(Self { layout: layout.ok_or(USAGE)?, images, count, engines })
    }
}

fn existing(path: &str) -> Result<PathBuf, String> {
    Path::new(path).canonicalize().map_err(|error| format!("{path}: {error}"))
}
