//! Entry points of the fuzz targets in `fuzz/`. Each panics where a promise is broken.

use std::path::Path;

use crate::docker::{DockerConfig, DockerDaemon};
use crate::hosts::HostsFile;
use crate::{Config, Error};

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count() + 1
}

fn located(result: Result<(), Error>, text: &str) {
    if let Err(
        Error::Syntax { line, .. }
        | Error::Value { line, .. }
        | Error::Unknown { line, .. }
        | Error::Version { line, .. },
    ) = result
    {
        assert!((1..=lines(text)).contains(&line), "line {line} of {}", lines(text));
    }
}

/// A configuration of ours or containerd's. What is dumped is read again as it was.
pub fn config(text: &str) {
    match Config::parse(Path::new("/fuzz/config.toml"), text) {
        Ok(loaded) => {
            let again = Config::parse(Path::new("/fuzz/dump.toml"), &loaded.config.dump());
            let again = again.expect("a dump can be read");
            assert_eq!(again.config, loaded.config);
        }
        Err(error) => located(Err(error), text),
    }
}

/// A `hosts.toml`. There is always a host, and none whose name is not one.
pub fn hosts(text: &str) {
    match HostsFile::parse(Path::new("/fuzz/hosts.toml"), text) {
        Ok(file) => {
            assert!(!file.entries.is_empty());
            for url in file.entries.iter().filter_map(|entry| entry.url.as_ref()) {
                assert!(!url.host.is_empty() && !url.host.contains(['/', '@', '?']));
                assert!(!url.path.contains("/../") && !url.path.contains("//"));
            }
        }
        Err(error) => located(Err(error), text),
    }
}

/// A `config.json` of Docker's, or a `daemon.json`.
pub fn docker(text: &str) {
    located(DockerDaemon::parse(Path::new("/fuzz/daemon.json"), text).map(|_| ()), text);
    if let Ok(config) = DockerConfig::parse(Path::new("/fuzz/config.json"), text) {
        for host in ["docker.io", "r.example:5000", "", "a"] {
            let _ = config.find(host);
        }
    }
}
