//! The configuration: the file, then the flags.

use std::path::{Path, PathBuf};

use anyhow::Result;
use gantry_config::{Config, Ignored};

use crate::command::Options;

/// Where the configuration is if nobody says so.
const DEFAULT_PATH: &str = "/etc/gantry/config.toml";

/// What the daemon is to be like.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// What was read.
    pub(crate) files: Vec<PathBuf>,
    /// What containerd's file says that has no counterpart.
    pub(crate) ignored: Vec<Ignored>,
}

impl Settings {
    /// Reads the file that the options name, or the usual one if it is there.
    pub(crate) fn load(options: &Options) -> Result<Self> {
        let usual = Some(PathBuf::from(DEFAULT_PATH)).filter(|path| path.exists());
        let mut settings = match options.config.clone().or(usual) {
            Some(path) => {
                let loaded = Config::load(&path)?;
                Self { config: loaded.config, files: loaded.files, ignored: loaded.ignored }
            }
            None => Self { config: Config::default(), files: Vec::new(), ignored: Vec::new() },
        };
        settings.take(options)?;
        Ok(settings)
    }

    fn take(&mut self, options: &Options) -> Result<()> {
        let config = &mut self.config;
        for (path, key) in [
            (&options.root, &mut config.store.root),
            (&options.state, &mut config.store.state),
            (&options.address, &mut config.grpc.address),
        ] {
            if let Some(path) = path {
                *key = std::path::absolute(path)?;
            }
        }
        if let Some(level) = options.log_level {
            config.debug.level = level;
        }
        Ok(())
    }

    /// Which tables a reload would have to change that take effect at the start only.
    pub(crate) fn needs_restart(&self, newer: &Config) -> Vec<&'static str> {
        let (old, new) = (&self.config, newer);
        [
            ("root, state or durability", old.store != new.store),
            ("grpc", old.grpc != new.grpc),
            ("ttrpc", old.ttrpc != new.ttrpc),
            ("metrics", old.metrics != new.metrics),
            ("tracing", old.tracing != new.tracing),
            ("snapshots", old.snapshots != new.snapshots),
            ("content", old.content != new.content),
            ("proxy_plugins", old.proxy_plugins != new.proxy_plugins),
        ]
        .into_iter()
        .filter_map(|(table, changed)| changed.then_some(table))
        .collect()
    }

    /// Where sockets are that nobody gave a place.
    pub(crate) fn state(&self) -> &Path {
        &self.config.store.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "root = \"/a\"\nstate = \"/b\"\n").unwrap();
        let options = Options { config: Some(path), root: Some("/c".into()), ..Options::default() };
        let settings = Settings::load(&options).unwrap();
        assert_eq!(settings.config.store.root, Path::new("/c"));
        assert_eq!(settings.state(), Path::new("/b"));
    }

    #[test]
    fn a_file_that_was_named_has_to_be_there() {
        let options = Options { config: Some("/nowhere/config.toml".into()), ..Options::default() };
        assert!(Settings::load(&options).is_err());
    }
}
