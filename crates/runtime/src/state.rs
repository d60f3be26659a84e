//! The state directory: one directory a container, with its record and its gate.
//!
//! The record is written with a temporary file and a rename, so that readers see the old or the new one. It is not
//! synced to disk: a record describes processes, and after a crash of the machine there are none.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use gantry_cgroup::CgroupRecord;
use gantry_types::ContainerId;
use gantry_types::oci::{Hook, State};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use serde::{Deserialize, Serialize};

use gantry_sys::Errno;

use crate::error::Error;
use crate::host::Host;

/// The record's file.
const RECORD_FILE: &str = "state.json";
const RECORD_TEMPORARY: &str = ".state.json.new";
/// The largest record that is read, in bytes: it holds the annotations and hooks of a configuration.
const MAX_RECORD_BYTES: u64 = crate::config::MAX_CONFIG_BYTES;
/// A name in the state directory that is no container's: the compiled filters are below it.
const RESERVED: &str = ".cache";
/// How many entries of the state directory `list` reads at most.
const MAX_CONTAINERS: usize = 65_536;

/// Where a container is in its life: runtime.md, Lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made; nobody but its maker may touch it.
    Creating,
    /// Made; its process waits for start.
    Created,
    /// Its process runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// Its process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// What is kept of a container between one operation and the next.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The configuration's version.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Its first process, 0 while there is none.
    pub pid: i32,
    /// When that process started, in clock ticks since boot: with the pid it names one process (proc_pid_stat(5)).
    pub start_time: u64,
    /// Who makes it, while it has no process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<Maker>,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When it was created: RFC 3339, UTC.
    pub created: String,
    /// The user who created it.
    pub owner: u32,
    /// The configuration's annotations.
    #[serde(default)]
    pub annotations: std::collections::BTreeMap<String, String>,
    /// Its cgroup.
    pub cgroup: Option<CgroupRecord>,
    /// Hooks for start.
    #[serde(default)]
    pub poststart: Vec<Hook>,
    /// Hooks for delete.
    #[serde(default)]
    pub poststop: Vec<Hook>,
    /// The parts of the configuration that exec needs.
    pub exec: ExecDefaults,
    /// The resctrl group made for it, if one was.
    #[serde(default)]
    pub resctrl: Option<PathBuf>,
    /// The number of the mount of a root that was bound on the host, for a container without a mount namespace.
    #[serde(default)]
    pub root_mount: Option<u64>,
}

/// The process that makes a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Maker {
    /// Its id.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

/// What a process of exec inherits from the container's configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecDefaults {
    /// The `CLONE_NEW*` flags of the namespaces that differ from the runtime's.
    pub namespaces: u64,
    /// Whether the container has a user namespace of its own.
    pub user_namespace: bool,
    /// Whether the container has a pid namespace of its own.
    pub pid_namespace: bool,
    /// Whether a process in the container may trace one of ours that enters it.
    #[serde(default)]
    pub traceable: bool,
    /// Whether a new session keyring is made.
    pub new_keyring: bool,
    /// Whether the container has a terminal file system at /dev/pts.
    pub personality: Option<u64>,
}

impl Record {
    /// The record of a container that is being made by the caller: it has no process and no cgroup yet.
    pub(crate) fn new(
        id: &ContainerId,
        bundle: &crate::config::Bundle,
        rootfs: PathBuf,
        exec: ExecDefaults,
    ) -> Self {
        let spec = &bundle.spec;
        let hooks = spec.hooks.as_ref();
        Record {
            oci_version: spec.oci_version.clone(),
            id: id.to_string(),
            pid: 0,
            start_time: 0,
            maker: crate::container::maker(),
            bundle: bundle.path.clone(),
            rootfs,
            created: crate::clock::now_rfc3339(),
            owner: rustix::process::getuid().as_raw(),
            annotations: spec.annotations.clone(),
            cgroup: None,
            poststart: hooks.map(|hooks| hooks.poststart.clone()).unwrap_or_default(),
            poststop: hooks.map(|hooks| hooks.poststop.clone()).unwrap_or_default(),
            exec,
            resctrl: None,
            root_mount: None,
        }
    }

    /// The state as runtime-spec has it, for hooks and seccomp agents.
    pub fn oci_state(&self, status: Status) -> State {
        State {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            status: status.to_string(),
            pid: if status == Status::Stopped { 0 } else { self.pid },
            bundle: self.bundle.to_string_lossy().into_owned(),
            annotations: self.annotations.clone(),
        }
    }
}

/// The directory of one container.
#[derive(Debug)]
pub(crate) struct StateDir {
    id: ContainerId,
    path: PathBuf,
    fd: OwnedFd,
}

impl StateDir {
    /// Makes the directory of a new container, and the state directory itself where it is missing.
    ///
    /// # Errors
    /// AlreadyExists; what mkdir(2) gives.
    pub(crate) fn create(host: &Host, id: &ContainerId) -> Result<Self, Error> {
        if id.as_str() == RESERVED {
            return Err(Error::config("id", format!("{RESERVED:?} is a name of the state directory's own")));
        }
        let path = host.root.join(id.as_str());
        let mode = Mode::from_raw_mode(0o711);
        let made = match mkdirat(CWD, &path, mode) {
            Err(Errno::NOENT) => {
                make_root(&host.root)?;
                mkdirat(CWD, &path, mode)
            }
            result => result,
        };
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(Error::Exists(id.clone())),
            Err(errno) => return Err(Error::io(format!("mkdir {}", path.display()))(errno)),
        }
        Self::open(host, id)
    }

    /// Opens the directory of an existing container.
    ///
    /// # Errors
    /// NotFound.
    pub(crate) fn open(host: &Host, id: &ContainerId) -> Result<Self, Error> {
        let path = host.root.join(id.as_str());
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = openat(CWD, &path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => Error::NotFound(id.clone()),
            errno => Error::io(format!("open {}", path.display()))(errno),
        })?;
        Ok(StateDir { id: id.clone(), path, fd })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Writes the record, or replaces it. Whoever is killed meanwhile leaves it as it was, and never half of one.
    pub(crate) fn write(&self, record: &Record) -> Result<(), Error> {
        self.prepare(record)?;
        self.publish()
    }

    /// Writes a record that nobody sees before [`StateDir::publish`].
    pub(crate) fn prepare(&self, record: &Record) -> Result<(), Error> {
        self.put(RECORD_TEMPORARY, &encode(record)?)
    }

    /// Replaces the record by the prepared one.
    pub(crate) fn publish(&self) -> Result<(), Error> {
        let named = || format!("rename {}/{RECORD_TEMPORARY}", self.path.display());
        renameat(&self.fd, RECORD_TEMPORARY, &self.fd, RECORD_FILE).map_err(Error::io(named()))
    }

    /// Reads the record; `None` when none was written yet.
    ///
    /// # Errors
    /// InvalidArgument for one that is damaged.
    pub(crate) fn read(&self) -> Result<Option<Record>, Error> {
        let text = match crate::config::read_limited(&self.path.join(RECORD_FILE), MAX_RECORD_BYTES) {
            Err(Error::Io { failure, .. }) if failure.0 == Errno::NOENT => return Ok(None),
            result => result?,
        };
        crate::config::parse_json(&text, &self.path.join(RECORD_FILE).display().to_string()).map(Some)
    }

    /// Reads the record of a container that is complete.
    ///
    /// # Errors
    /// NotFound where there is no record: another process is just making or removing the container.
    pub(crate) fn read_complete(&self) -> Result<Record, Error> {
        self.read()?.ok_or_else(|| Error::NotFound(self.id.clone()))
    }

    /// Keeps the configuration, for exec: what becomes of the bundle's later does not matter.
    pub(crate) fn keep_config(&self, text: &[u8]) -> Result<(), Error> {
        self.put(crate::config::CONFIG_FILE, text)
    }

    /// The configuration that the container was made with.
    ///
    /// # Errors
    /// NotFound; InvalidArgument for one that is damaged.
    pub(crate) fn config(&self) -> Result<gantry_types::oci::Spec, Error> {
        crate::config::parse(&self.config_text()?)
    }

    /// Its text.
    ///
    /// # Errors
    /// NotFound.
    pub(crate) fn config_text(&self) -> Result<Vec<u8>, Error> {
        let path = self.path.join(crate::config::CONFIG_FILE);
        crate::config::read_limited(&path, crate::config::MAX_CONFIG_BYTES)
    }

    fn put(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        let named = |call: &str| format!("{call} {}/{name}", self.path.display());
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file =
            openat(&self.fd, name, flags, Mode::from_raw_mode(0o600)).map_err(Error::io(named("open")))?;
        let mut rest = text;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest).map_err(Error::io(named("write")))?;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// Removes a file; it may be gone already.
    pub(crate) fn unlink(&self, name: &str) -> Result<bool, Error> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::io(format!("unlink {}/{name}", self.path.display()))(errno)),
        }
    }

    /// Removes the directory and the files in it.
    pub(crate) fn remove(self) -> Result<(), Error> {
        let config = crate::config::CONFIG_FILE;
        for name in [RECORD_FILE, RECORD_TEMPORARY, config, crate::gate::START, crate::gate::RESULT] {
            self.unlink(name)?;
        }
        match unlinkat(CWD, &self.path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // Something that is not ours lies in it.
            Err(Errno::NOTEMPTY) => std::fs::remove_dir_all(&self.path).map_err(|error| Error::Io {
                what: format!("remove {}", self.path.display()),
                failure: crate::error::Failure(crate::config::errno(&error)),
            }),
            Err(errno) => Err(Error::io(format!("rmdir {}", self.path.display()))(errno)),
        }
    }
}

fn encode(record: &Record) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(record)
        .map_err(|error| Error::config("state.json", format!("cannot be written: {error}")))
}

fn make_root(root: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(root).map_err(|error| Error::Io {
        what: format!("mkdir {}", root.display()),
        failure: crate::error::Failure(crate::config::errno(&error)),
    })
}

/// The ids of the containers of `host`, in no order. Entries that are no ids are passed over.
///
/// # Errors
/// ResourceExhausted-like configuration error past 65,536 entries; what reading the directory gives.
pub fn ids(host: &Host) -> Result<Vec<ContainerId>, Error> {
    let entries = match std::fs::read_dir(&host.root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Error::io(format!("open {}", host.root.display()))(crate::config::errno(&error)));
        }
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        if found.len() >= MAX_CONTAINERS {
            return Err(Error::config(
                host.root.display().to_string(),
                format!("more than {MAX_CONTAINERS} entries"),
            ));
        }
        let name = entry.file_name();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Some(Ok(id)) = name.to_str().filter(|name| is_dir && *name != RESERVED).map(str::parse) {
            found.push(id);
        }
    }
    Ok(found)
}
