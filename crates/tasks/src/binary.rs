//! From the name of a runtime to the binary of a shim.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Error;

/// The name of our shim's binary.
pub(crate) const OURS: &str = "containerd-shim-gantry-v2";
/// The runtime where nobody asks for another.
pub const DEFAULT_RUNTIME: &str = "io.containerd.gantry.v2";
/// What clients ask for by default; the same options mean the same to our shim.
const RUNC: &str = "io.containerd.runc.v2";

/// What the configuration says of a runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runtime {
    /// The shim's binary; by its name if none is given.
    pub path: Option<PathBuf>,
    /// The OCI runtime that the shim is to execute, where a request names none; the linked one if none is given.
    pub binary: String,
    /// Where that keeps its state.
    pub root: String,
    /// Whether systemd keeps the cgroups.
    pub systemd_cgroup: bool,
}

/// The binary of a shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// Whether it is our own, which needs no `start`.
    pub(crate) ours: bool,
}

/// The binaries that runtimes' names stand for.
#[derive(Debug)]
pub(crate) struct Binaries {
    ours: PathBuf,
    runtimes: BTreeMap<String, Runtime>,
    sealed: Mutex<Option<Sealed>>,
}

/// Our binary in a mount that nobody can write through.
#[derive(Debug, Clone)]
struct Sealed {
    file: Arc<OwnedFd>,
    /// What it was opened from: device, inode, and when that last changed.
    identity: (u64, u64, i64, i64),
}

impl Binaries {
    /// `ours` is our shim's binary.
    pub(crate) fn new(ours: PathBuf, runtimes: BTreeMap<String, Runtime>) -> Self {
        Self { ours, runtimes, sealed: Mutex::default() }
    }

    /// What the configuration says of a runtime.
    pub(crate) fn runtime(&self, name: &str) -> Option<&Runtime> {
        self.runtimes.get(if name.is_empty() { DEFAULT_RUNTIME } else { name })
    }

    /// The shim that `name` stands for, or that a request names by `path`.
    ///
    /// # Errors
    /// NotFound for a name without a binary; InvalidArgument for a relative path.
    pub(crate) fn find(&self, name: &str, path: &str) -> Result<Program, Error> {
        let name = if name.is_empty() { DEFAULT_RUNTIME } else { name };
        let by_path = |path: &Path| {
            if !path.is_absolute() {
                let reason = format!("{:?} is no absolute path", path.display());
                return Err(Error::Invalid { what: "runtime path", reason });
            }
            if !path.is_file() {
                let reason = format!("{} is not there", path.display());
                return Err(Error::Runtime { name: name.to_owned(), reason });
            }
            Ok(Program { path: path.to_owned(), ours: self.is_ours(path) })
        };
        if !path.is_empty() {
            return by_path(Path::new(path));
        }
        if let Some(path) = self.runtime(name).and_then(|runtime| runtime.path.as_deref()) {
            return by_path(path);
        }
        if name.starts_with('/') {
            return by_path(Path::new(name));
        }
        if [DEFAULT_RUNTIME, RUNC].contains(&name) {
            return Ok(Program { path: self.ours.clone(), ours: true });
        }
        let binary = binary_name(name).ok_or_else(|| Error::Invalid {
            what: "runtime",
            reason: format!("{name:?} has no form like io.containerd.<name>.<version>"),
        })?;
        let found = self.search(&binary).ok_or_else(|| Error::Runtime {
            name: name.to_owned(),
            reason: format!("no binary {binary} beside the daemon or in PATH"),
        })?;
        Ok(Program { ours: self.is_ours(&found), path: found })
    }

    /// The program of a bundle that was found: by its path alone.
    pub(crate) fn known(&self, path: &Path) -> Program {
        Program { path: path.to_owned(), ours: path == self.ours || self.is_ours(path) }
    }

    fn is_ours(&self, path: &Path) -> bool {
        let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        path.file_name().is_some_and(|name| name == OURS)
            || matches!((path.metadata(), self.ours.metadata()), (Ok(a), Ok(b)) if same(&a, &b))
    }

    fn search(&self, binary: &str) -> Option<PathBuf> {
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = beside.into_iter().chain(std::env::split_paths(&path));
        directories.map(|directory| directory.join(binary)).find(|path| path.is_file())
    }

    /// Our binary, opened so that nobody who gets hold of it can write through it. Blocks.
    ///
    /// # Errors
    /// What opening it gives.
    pub(crate) fn sealed(&self, path: &Path) -> Result<Arc<OwnedFd>, Error> {
        let metadata = path.metadata().map_err(Error::file("opening", path))?;
        let identity = (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sealed) = sealed.as_ref().filter(|sealed| sealed.identity == identity) {
            return Ok(Arc::clone(&sealed.file));
        }
        let file = File::open(path).map_err(Error::file("opening", path))?;
        // Without the privilege for a mount of its own, the shim seals itself.
        let file = gantry_sys::seal::detached(file.as_fd()).unwrap_or_else(|_| file.into());
        let file = Arc::new(file);
        *sealed = Some(Sealed { file: Arc::clone(&file), identity });
        Ok(file)
    }
}

/// What is executed for an open binary.
pub(crate) fn executable(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// `io.containerd.<name>.<version>` → `containerd-shim-<name>-<version>`.
fn binary_name(runtime: &str) -> Option<String> {
    let mut parts = runtime.rsplit('.');
    let (version, name) = (parts.next()?, parts.next()?);
    let plain = |part: &str| !part.is_empty() && !part.contains('/');
    (plain(version) && plain(name)).then(|| format!("containerd-shim-{name}-{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_containerd() {
        let table = [
            ("io.containerd.runc.v2", Some("containerd-shim-runc-v2")),
            ("io.containerd.runsc.v1", Some("containerd-shim-runsc-v1")),
            ("kata.v2", Some("containerd-shim-kata-v2")),
            ("runc", None),
            ("a/b.c", None),
            ("..", None),
        ];
        for (name, expected) in table {
            assert_eq!(binary_name(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_runtime_is_found_by_name_path_and_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let (ours, other) = (directory.path().join(OURS), directory.path().join("other"));
        std::fs::write(&ours, "a").unwrap();
        std::fs::write(&other, "b").unwrap();
        let configured = Runtime { path: Some(other.clone()), ..Runtime::default() };
        let binaries = Binaries::new(ours.clone(), [("io.x.mine.v1".to_owned(), configured)].into());
        let find = |name: &str, path: &str| binaries.find(name, path);
        for name in ["", "io.containerd.gantry.v2", "io.containerd.runc.v2", ours.to_str().unwrap()] {
            assert_eq!(find(name, "").unwrap(), Program { path: ours.clone(), ours: true }, "{name}");
        }
        let foreign = Program { path: other.clone(), ours: false };
        assert_eq!(find("io.x.mine.v1", "").unwrap(), foreign);
        assert_eq!(find("", other.to_str().unwrap()).unwrap(), foreign);
        assert!(matches!(find("io.containerd.nothing.v9", ""), Err(Error::Runtime { .. })));
        assert!(matches!(find("", "relative"), Err(Error::Invalid { .. })));
        assert!(matches!(find("/nowhere", ""), Err(Error::Runtime { .. })));
    }
}
