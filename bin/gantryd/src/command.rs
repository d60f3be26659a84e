//! What the command line says. The flags are containerd's where it has them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use gantry_config::Level;

pub(crate) const HELP: &str = "\
usage: gantryd [flags] [command]

Serves containers, images and snapshots at its sockets.

commands:
  serve                    what is done without a command
  upgrade                  have the daemon of this root execute its binary again, with its sockets
  gc                       remove what nothing refers to, and wait for that: by the daemon of this root, if one runs
  gc --dry-run [--json]    say what that would remove and keep, each with why; changes nothing
  repair [--yes]           make a new database from what is left of a damaged one; without --yes, say what that would do
  config default           print the configuration that holds without a file
  config dump              print the configuration that the file makes; `migrate` is the same, which containerd has for its own
  oci-hook [--] PROGRAM …  execute a program as a hook, with {{pid}}, {{rootfs}}, {{id}} and others filled in, as containerd's binary does
  run                      run one container of an image layout: gantryd run --help

flags:
  -c, --config FILE        the configuration (default /etc/gantry/config.toml, if it is there)
  -l, --log-level LEVEL    trace, debug, info, warn, error
  -a, --address PATH       the socket of the gRPC services
      --root DIR           what is kept
      --state DIR          what a reboot may take
  -v, --version
  -h, --help
";

/// What overrides the configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) config: Option<PathBuf>,
    pub(crate) log_level: Option<Level>,
    pub(crate) address: Option<PathBuf>,
    pub(crate) root: Option<PathBuf>,
    pub(crate) state: Option<PathBuf>,
}

/// How something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Whether something is to be done, or only told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    Given,
    Wanting,
}

/// What `gantryd` is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Serve(Options),
    Upgrade(Options),
    Gc(Options),
    GcDryRun(Options, Format),
    Repair(Options, Consent),
    ConfigDefault,
    ConfigDump(Options),
    Version,
    Help,
}

impl Command {
    /// Flags may stand before and after the words.
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Options::default();
        let mut words = Vec::new();
        // Flags that only some commands have.
        let mut own = Vec::new();
        while let Some(argument) = given.next() {
            if !argument.starts_with('-') {
                words.push(argument);
                continue;
            }
            let (flag, attached) = match argument.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            // Go's flags may have one dash or two.
            let name = flag.strip_prefix("--").or_else(|| flag.strip_prefix('-')).unwrap_or_default();
            let mut value =
                || attached.clone().or_else(|| given.next()).with_context(|| format!("{flag} needs a value"));
            match name {
                "c" | "config" => options.config = Some(value()?.into()),
                "l" | "log-level" => options.log_level = Some(level(&value()?)?),
                "a" | "address" => options.address = Some(value()?.into()),
                "root" => options.root = Some(value()?.into()),
                "state" => options.state = Some(value()?.into()),
                "v" | "version" => return Ok(Self::Version),
                "h" | "help" => return Ok(Self::Help),
                "dry-run" | "json" | "yes" if attached.is_none() => own.push(name.to_owned()),
                _ => bail!("{flag} is no flag"),
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut has = |flag: &str| {
            let before = own.len();
            own.retain(|given| given != flag);
            own.len() < before
        };
        let command = match words.as_slice() {
            [] | ["serve"] => Self::Serve(options),
            ["gc"] if has("dry-run") => {
                Self::GcDryRun(options, if has("json") { Format::Json } else { Format::Text })
            }
            ["gc"] => Self::Gc(options),
            ["repair"] => Self::Repair(options, if has("yes") { Consent::Given } else { Consent::Wanting }),
            ["upgrade"] => Self::Upgrade(options),
            ["config", "default"] => Self::ConfigDefault,
            ["config", "dump" | "migrate"] => Self::ConfigDump(options),
            ["help"] => Self::Help,
            words => bail!("{:?} is no command", words.join(" ")),
        };
        if let Some(flag) = own.first() {
            bail!("--{flag} means nothing here");
        }
        Ok(command)
    }
}

fn level(text: &str) -> Result<Level> {
    Ok(match text {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" | "warning" => Level::Warn,
        // containerd has two that end the process.
        "error" | "fatal" | "panic" => Level::Error,
        _ => bail!("{text:?} is no level: trace, debug, info, warn or error"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Command> {
        Command::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_of_containerd_are_taken_in_all_their_forms() {
        for text in ["-c f -l debug --root=/r serve", "--config f --log-level debug -root /r"] {
            let expected = Options {
                config: Some("f".into()),
                log_level: Some(Level::Debug),
                root: Some("/r".into()),
                ..Options::default()
            };
            assert_eq!(parse(text).unwrap(), Command::Serve(expected), "{text}");
        }
        assert_eq!(parse("gc").unwrap(), Command::Gc(Options::default()));
        let dry_run = Command::GcDryRun(Options::default(), Format::Json);
        assert_eq!(parse("gc --json --dry-run").unwrap(), dry_run);
        let repair = Command::Repair(Options::default(), Consent::Given);
        assert_eq!(parse("repair --yes").unwrap(), repair);
        assert_eq!(parse("").unwrap(), Command::Serve(Options::default()));
        assert_eq!(parse("config default").unwrap(), Command::ConfigDefault);
        assert_eq!(parse("--version").unwrap(), Command::Version);
    }

    #[test]
    fn unknown_and_unfinished_words_are_refused() {
        for text in
            ["walk", "config", "--nonsense", "-l loud", "--root", "gc --json", "serve --dry-run", "gc --yes"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
