use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::parse::{Entry, HostsFile};
use super::{Capabilities, ClientPair, HostConfig, RegistryHosts, Scheme, port};
use crate::Error;
use crate::load::read;

/// The largest `hosts.toml`, certificate or key, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// The most registries that are remembered.
const MAX_REMEMBERED: usize = 256;
/// The most files of a directory of certificates.
const MAX_FILES: usize = 256;
/// A file that changed so shortly before it was read may change again without showing it.
const YOUNG: Duration = Duration::from_millis(50);

/// The directories in which each registry may have one of its own. Lookups see changes at once: each asks for the times of
/// the files that the last one of that registry read, and reads again when they differ.
#[derive(Debug)]
pub struct HostTree {
    roots: Vec<PathBuf>,
    remembered: Mutex<HashMap<String, Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    hosts: Arc<RegistryHosts>,
    seen: Arc<Seen>,
}

/// What a file looked like; `None` for one that was not there.
type Stamp = Option<(u64, u64, i64, i64, i64, i64)>;

/// Every path that was looked at.
#[derive(Debug, Default)]
struct Seen {
    stamps: Vec<(PathBuf, Stamp)>,
    young: bool,
}

impl Seen {
    /// Looks at a path; whether it is there.
    fn look(&mut self, path: &Path) -> Result<bool, Error> {
        let stamp = stamp(path).map_err(|source| Error::Read { path: path.into(), source })?;
        if let Some((_, _, seconds, nanos, ..)) = stamp {
            let changed = Duration::new(seconds.unsigned_abs(), nanos.unsigned_abs() as u32);
            let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed);
            self.young |= age.is_ok_and(|age| age < YOUNG);
        }
        self.stamps.push((path.to_owned(), stamp));
        Ok(stamp.is_some())
    }

    fn is_current(&self) -> bool {
        !self.young && self.stamps.iter().all(|(path, seen)| stamp(path).is_ok_and(|now| now == *seen))
    }

    /// Reads a file, having looked at it first.
    fn read(&mut self, path: &Path) -> Result<String, Error> {
        self.look(path)?;
        read(path, MAX_BYTES)
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    match fs::metadata(path) {
        Ok(data) => {
            let (mtime, ctime) = ((data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec()));
            Ok(Some((data.ino(), data.size(), mtime.0, mtime.1, ctime.0, ctime.1)))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl HostTree {
    /// The trees below `roots`; the first root in which a registry has a directory counts.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots, remembered: Mutex::default() }
    }

    /// The hosts of `registry`, which is `name` or `name:port`. A few stat(2) if nothing has changed.
    ///
    /// # Errors
    /// [`Error`]: a file cannot be read, or says what it cannot.
    pub fn hosts(&self, registry: &str) -> Result<Arc<RegistryHosts>, Error> {
        let remembered = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody waits for another's disk.
        let known =
            remembered().get(registry).map(|known| (Arc::clone(&known.hosts), Arc::clone(&known.seen)));
        if let Some((hosts, _)) = known.filter(|(_, seen)| seen.is_current()) {
            return Ok(hosts);
        }
        let mut seen = Seen::default();
        let hosts = Arc::new(self.find(registry, &mut seen)?);
        let (mut remembered, seen) = (remembered(), Arc::new(seen));
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(registry.to_owned(), Remembered { hosts: Arc::clone(&hosts), seen });
        Ok(hosts)
    }

    fn find(&self, registry: &str, seen: &mut Seen) -> Result<RegistryHosts, Error> {
        for root in &self.roots {
            for name in names(registry) {
                let directory = root.join(name);
                if seen.look(&directory)? {
                    return read_directory(&directory, registry, seen);
                }
            }
        }
        Ok(RegistryHosts {
            hosts: vec![HostConfig::default_for(registry)],
            directory: None,
            ignored: Vec::new(),
        })
    }
}

/// The directories that a registry may have, the most particular first.
fn names(registry: &str) -> Vec<String> {
    let mut names = Vec::new();
    let is_name = !registry.is_empty() && !registry.contains(['/', '\0']) && !registry.starts_with('.');
    if is_name {
        if let Some((name, port)) = registry.rsplit_once(':').filter(|(name, _)| !name.is_empty()) {
            names.push(format!("{name}_{port}_"));
        }
        names.push(registry.to_owned());
    }
    names.push("_default".into());
    names
}

fn read_directory(directory: &Path, registry: &str, seen: &mut Seen) -> Result<RegistryHosts, Error> {
    let path = directory.join("hosts.toml");
    let text = if seen.look(&path)? { read(&path, MAX_BYTES)? } else { String::new() };
    let file = if text.is_empty() {
        HostsFile { entries: vec![certificates(directory)?], ignored: Vec::new() }
    } else {
        HostsFile::parse(&path, &text)?
    };
    let mut hosts = Vec::with_capacity(file.entries.len());
    for entry in &file.entries {
        hosts.push(host(entry, directory, registry, seen)?);
    }
    Ok(RegistryHosts { hosts, directory: Some(directory.into()), ignored: file.ignored })
}

/// Docker's way: `*.crt` to be trusted, `*.cert` with `*.key` to be shown.
fn certificates(directory: &Path) -> Result<Entry, Error> {
    let failed = |source| Error::Read { path: directory.into(), source };
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)?.take(MAX_FILES) {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    let mut found = Entry::default();
    for name in &names {
        if name.ends_with(".crt") {
            found.ca.push(name.clone());
        } else if let Some(stem) = name.strip_suffix(".cert") {
            let key = format!("{stem}.key");
            found.client.push((name.clone(), names.contains(&key).then_some(key)));
        }
    }
    Ok(found)
}

fn host(entry: &Entry, directory: &Path, registry: &str, seen: &mut Seen) -> Result<HostConfig, Error> {
    let mut host = HostConfig::default_for(registry);
    if let Some(url) = &entry.url {
        host.scheme = url.scheme;
        host.host = url.host.clone();
        host.root = url.root(entry.override_path);
        host.capabilities = entry.capabilities.unwrap_or(Capabilities::ALL);
        host.skip_verify = false;
    }
    host.skip_verify = entry.skip_verify.unwrap_or(host.skip_verify);
    host.headers = entry.headers.clone();
    host.dial_timeout = entry.dial_timeout;
    for name in &entry.ca {
        host.ca.push(seen.read(&directory.join(name))?.into_bytes());
    }
    for (certificate, key) in &entry.client {
        let certificate = seen.read(&directory.join(certificate))?.into_bytes();
        let key = match key {
            Some(key) => seen.read(&directory.join(key))?.into_bytes(),
            None => certificate.clone(),
        };
        host.client.push(ClientPair { certificate, key });
    }
    let explicit = entry.skip_verify.is_some() || !entry.ca.is_empty() || !entry.client.is_empty();
    if host.scheme == Scheme::Http && explicit && port(&host.host) != Some("80") {
        host.scheme = Scheme::HttpsThenHttp;
    }
    Ok(host)
}
