//! The command line.

use std::path::{Path, PathBuf};

use super::crowd::Size;
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
    parts: Vec<Part>,
    pub(crate) crowd: Size,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Pulls into an empty store.
    Pulls,
    /// The stages of a pull.
    Stages,
    /// Other clients during a pull.
    Latency,
    /// A store with many images and snapshots.
    Crowd,
}

impl Part {
    const ALL: [(&str, Self); 4] = [
        ("pulls", Self::Pulls),
        ("stages", Self::Stages),
        ("latency", Self::Latency),
        ("crowd", Self::Crowd),
    ];
}

/// What the store holds when the crowd is measured.
const DEFAULT_CROWD: Size = Size { images: 10_000, snapshots: 100_000 };

const DEFAULT_COUNT: usize = 3;
const USAGE: &str = "usage: gantry-bench pull --layout DIR [--sid DIR] [--inflaters DIR] [--gantryd PATH] [--count N] \
                     [--image TAG]... [--part pulls|stages|latency|crowd]... [--crowd IMAGES,SNAPSHOTS] \
                     [ENGINE...]";

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut layout, mut images, mut names, mut count) = (None, Vec::new(), Vec::new(), DEFAULT_COUNT);
        let mut programs = Programs::default();
        let (mut parts, mut crowd) = (Vec::new(), DEFAULT_CROWD);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; {USAGE}"));
            match word.as_str() {
                "--layout" => layout = Some(existing(&value()?)?),
                "--sid" => programs.sid = Some(existing(&value()?)?),
                "--inflaters" => programs.inflaters = Some(existing(&value()?)?),
                "--gantryd" => programs.gantryd = Some(existing(&value()?)?),
                "--image" => images.push(value()?),
                "--part" => parts.push(part(&value()?)?),
                "--crowd" => crowd = size(&value()?)?,
                "--count" => {
                    count = value()?.parse().map_err(|_| format!("--count needs a number; {USAGE}"))?;
                }
                flag if flag.starts_with('-') => return Err(format!("{flag} is no flag; {USAGE}")),
                name => names.push(name.to_owned()),
            }
        }
        if parts.is_empty() {
            parts = Part::ALL.map(|part| part.1).to_vec();
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
        Ok(Self { layout: layout.ok_or(USAGE)?, images, count, engines, parts, crowd })
    }

    /// Whether this part was asked for.
    pub(crate) fn does(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

fn existing(path: &str) -> Result<PathBuf, String> {
    Path::new(path).canonicalize().map_err(|error| format!("{path}: {error}"))
}

fn part(name: &str) -> Result<Part, String> {
    let found = Part::ALL.into_iter().find(|part| part.0 == name);
    found.map(|part| part.1).ok_or_else(|| format!("{name:?} is no part; {USAGE}"))
}

fn size(text: &str) -> Result<Size, String> {
    let numbers = text.split_once(',').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (images, snapshots) = numbers.ok_or_else(|| format!("{text:?} is not IMAGES,SNAPSHOTS; {USAGE}"))?;
    Ok(Size { images, snapshots })
}
