//! The command line.

use std::path::{Path, PathBuf};

use crate::scenario::Scenario;
use crate::shim::Part;
use crate::view::View;

/// A runtime to measure.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) view: View,
    pub(crate) count: usize,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) scenarios: Vec<Scenario>,
    /// Our shim.
    pub(crate) shim: PathBuf,
    /// containerd's.
    pub(crate) peer_shim: PathBuf,
    /// How many shims share memory when it is measured.
    pub(crate) shims: usize,
}

const DEFAULT_COUNT: usize = 100;
const DEFAULT_SHIMS: usize = 100;
const PEER_SHIM: &str = "/usr/bin/containerd-shim-runc-v2";
const USAGE: &str = "usage: gantry-bench [--view v1|v2] [--count N] [--runtime NAME=PATH]... [--shim PATH] \
                     [--peer-shim PATH] [--shims N] [SCENARIO...]";

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Options {
            view: View::V2,
            count: DEFAULT_COUNT,
            contenders: Vec::new(),
            scenarios: Vec::new(),
            shim: crate::shim::default_binary(),
            peer_shim: PEER_SHIM.into(),
            shims: DEFAULT_SHIMS,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; {USAGE}"));
            match word.as_str() {
                "--view" => options.view = value()?.parse()?,
                "--count" => {
                    options.count =
                        value()?.parse().map_err(|_| format!("--count needs a number; {USAGE}"))?
                }
                "--shim" => options.shim = existing(&value()?)?,
                "--peer-shim" => options.peer_shim = existing(&value()?)?,
                "--shims" => {
                    options.shims =
                        value()?.parse().map_err(|_| format!("--shims needs a number; {USAGE}"))?
                }
                "shim" => options.scenarios.extend(Part::ALL.map(Scenario::Shim)),
                "--runtime" => options.contenders.push(contender(&value()?)?),
                name => options.scenarios.push(name.parse()?),
            }
        }
        if options.contenders.is_empty() {
            options.contenders = default_contenders();
        }
        if options.scenarios.is_empty() {
            options.scenarios = Scenario::RUNTIME.to_vec();
        }
        Ok(options)
    }
}

fn existing(path: &str) -> Result<PathBuf, String> {
    Path::new(path).canonicalize().map_err(|error| format!("{path}: {error}"))
}

fn contender(text: &str) -> Result<Contender, String> {
    let (name, path) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=PATH; {USAGE}"))?;
    Ok(Contender { name: name.to_owned(), path: existing(path)? })
}

fn default_contenders() -> Vec<Contender> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/x86_64-unknown-linux-gnu/release/gantry-runtime");
    let ours = Contender { name: "gantry".into(), path: target };
    let on_path = |name: &str| {
        let dirs = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::split_paths(&dirs).map(|dir| dir.join(name)).find(|path| path.is_file())?;
        Some(Contender { name: name.to_owned(), path })
    };
    [Some(ours), on_path("crun"), on_path("runc")].into_iter().flatten().collect()
}
