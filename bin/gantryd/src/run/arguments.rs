use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub(crate) const HELP: &str = "\
usage: gantryd run --layout DIR[:TAG] [flags] [-- ARGS...]

Runs a container of an OCI image layout through a shim, and ends with its status;
125 if it could not be run.

  --layout DIR[:TAG]  the image: a directory with an index.json
  --name ID           the container's id (default: a random one)
  --state DIR         where layers and bundles are (default /var/lib/gantryd)
  --shim PATH         the shim (default: containerd-shim-gantry-v2, beside this program or on the path)
  --runtime PATH      the OCI runtime that the shim is to use (default: its own)
  -t                  give it a terminal
  --events            print the shim's events on standard error
  --debug             print the shim's log on standard error
";

/// What `gantryd run` was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) layout: String,
    pub(crate) name: Option<String>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) shim: Option<PathBuf>,
    pub(crate) runtime: String,
    pub(crate) terminal: bool,
    pub(crate) events: bool,
    pub(crate) debug: bool,
    /// In place of the image's command.
    pub(crate) args: Vec<String>,
}

impl Arguments {
    /// Reads what follows `run`; None when help is asked for.
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut parsed = Self::default();
        while let Some(flag) = given.next() {
            let mut value = || given.next().with_context(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--layout" => parsed.layout = value()?,
                "--name" => parsed.name = Some(value()?),
                "--state" => parsed.state = Some(value()?.into()),
                "--shim" => parsed.shim = Some(value()?.into()),
                "--runtime" => parsed.runtime = value()?,
                "-t" => parsed.terminal = true,
                "--events" => parsed.events = true,
                "--debug" => parsed.debug = true,
                "-h" | "--help" => return Ok(None),
                "--" => parsed.args = given.by_ref().collect(),
                _ => bail!("{flag:?} is no flag of run"),
            }
        }
        if parsed.layout.is_empty() {
            bail!("--layout is needed");
        }
        Ok(Some(parsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Arguments>> {
        Arguments::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_follows_two_dashes_is_the_command() {
        let parsed = parse("--layout d:t -t --name x -- sh -t --name").unwrap().unwrap();
        assert_eq!(parsed.args, ["sh", "-t", "--name"]);
        assert_eq!(
            (parsed.layout.as_str(), parsed.name.as_deref(), parsed.terminal),
            ("d:t", Some("x"), true)
        );
    }

    #[test]
    fn unknown_and_unfinished_words_are_refused() {
        for text in ["", "--layout", "--layout d --nonsense", "--layout d extra"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("--help").unwrap(), None);
    }
}
