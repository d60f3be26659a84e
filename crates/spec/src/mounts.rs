//! Mounts: those that every container has, those that were asked for, and their order.

use std::collections::BTreeSet;

use gantry_types::oci::{IdMapping, Linux, Mount as OciMount};

use crate::Error;
use crate::error::at_most;
use crate::host::Host;
use crate::namespaces::Ipc;
use crate::options::Options;
use crate::process::INIT_PATH;

mod tmpfs;

pub use tmpfs::tmpfs_options;

/// The most mounts that can be asked for.
const MAX_MOUNTS: usize = 8192;
/// The longest path (PATH_MAX).
const MAX_PATH_BYTES: usize = 4096;
/// The size of /dev/shm where none is asked for.
const DEFAULT_SHM_BYTES: u64 = 64 << 20;

/// A mount that was asked for, with its source found.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// Where, absolute in the container.
    pub destination: String,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq)]
pub enum MountKind {
    /// A file or directory of the host's: binds, volumes, files of the engine's.
    Bind(Bind),
    /// An empty file system in memory, with options over docker's own: see [`tmpfs_options`].
    Tmpfs {
        /// Words such as `size=64m`.
        options: Vec<String>,
    },
    /// Any other, as the runtime mounts it: an image's layers, a volume on the network.
    Other {
        /// The file system's type.
        kind: String,
        /// What it is mounted from.
        source: String,
        /// Its options.
        options: Vec<String>,
    },
}

/// A file or directory of the host's that a container sees.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bind {
    /// Where it is on the host: absolute.
    pub source: String,
    /// Whether it can be written to.
    pub access: Access,
    /// Whether what is mounted below the source comes along.
    pub recursion: Recursion,
    /// Whether later mounts below it are seen on the other side. Whoever asks for a shared or slave one has to see to it
    /// that the source's mount is shared.
    pub propagation: Propagation,
    /// Flags that the source's mount has and a user namespace may not take away: `nosuid`, `nodev`, …
    pub locked: Vec<String>,
    /// Id-mapped: the user ids.
    pub uid_mappings: Vec<IdMapping>,
    /// Id-mapped: the group ids.
    pub gid_mappings: Vec<IdMapping>,
}

/// Whether a bind can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// It can.
    #[default]
    ReadWrite,
    /// It cannot, and where the kernel can do it neither can what is mounted below.
    ReadOnly,
    /// It cannot; what is mounted below is as it is.
    ReadOnlyTop,
    /// Nothing of it can, or the container does not start.
    ReadOnlyTree,
}

/// Whether a bind takes along what is mounted below its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recursion {
    /// It does.
    #[default]
    Recursive,
    /// It does not.
    Top,
}

/// The propagation of a bind: mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// As the runtime leaves it: what volumes have.
    Unset,
    /// `private`
    Private,
    /// `rprivate`
    #[default]
    RecursivePrivate,
    /// `shared`
    Shared,
    /// `rshared`
    RecursiveShared,
    /// `slave`
    Slave,
    /// `rslave`
    RecursiveSlave,
}

impl Propagation {
    /// The word for it; none where it is unset.
    pub fn word(self) -> Option<&'static str> {
        Some(match self {
            Self::Unset => return None,
            Self::Private => "private",
            Self::RecursivePrivate => "rprivate",
            Self::Shared => "shared",
            Self::RecursiveShared => "rshared",
            Self::Slave => "slave",
            Self::RecursiveSlave => "rslave",
        })
    }
}

impl std::str::FromStr for Propagation {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        Ok(match word {
            "" => Self::Unset,
            "private" => Self::Private,
            "rprivate" => Self::RecursivePrivate,
            "shared" => Self::Shared,
            "rshared" => Self::RecursiveShared,
            "slave" => Self::Slave,
            "rslave" => Self::RecursiveSlave,
            _ => {
                return Err(Error::invalid(
                    "propagation",
                    word,
                    "it is private, shared or slave, or rprivate, …",
                ));
            }
        })
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn mount(destination: &str, type_: &str, source: &str, options: &[&str]) -> OciMount {
    OciMount {
        destination: destination.to_owned(),
        type_: type_.to_owned(),
        source: source.to_owned(),
        options: strings(options),
        ..OciMount::default()
    }
}

/// What every container has.
fn defaults(options: &Options) -> Vec<OciMount> {
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        // The runtime makes of it what the host has: cgroup2, or a mount for each of the hierarchies.
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    let bind = |source: &str| mount("/dev/shm", "bind", source, &["rbind", "rprivate"]);
    match &options.namespaces.ipc {
        Ipc::Private => mounts.push(shm(options)),
        Ipc::None => {}
        Ipc::Host => mounts.push(bind("/dev/shm")),
        Ipc::Shareable { shm } | Ipc::Shared { shm, .. } => mounts.push(bind(shm)),
    }
    if options.namespaces.ipc == Ipc::Host && !options.namespaces.user.is_host() {
        // Only whoever owns the namespace may mount its queues, which work without.
        mounts.retain(|mount| mount.type_ != "mqueue");
    }
    if let Some(init) = options.init.as_ref().filter(|_| options.namespaces.pid.is_private()) {
        mounts.push(mount(INIT_PATH, "bind", init, &["bind", "ro"]));
    }
    mounts
}

fn shm(options: &Options) -> OciMount {
    let bytes = if options.shm_size_bytes == 0 { DEFAULT_SHM_BYTES } else { options.shm_size_bytes };
    let size = format!("size={bytes}");
    mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size])
}

/// Writes all mounts, parents before children.
pub(crate) fn apply(options: &Options, host: &Host, linux: &mut Linux) -> Result<Vec<OciMount>, Error> {
    at_most("mounts", options.mounts.len(), MAX_MOUNTS)?;
    let mut wanted = Vec::with_capacity(options.mounts.len());
    for asked in &options.mounts {
        wanted.push(translate(asked, host, linux)?);
    }
    let mut places = BTreeSet::new();
    for one in &wanted {
        if !places.insert(one.destination.as_str()) {
            return Err(Error::invalid("mount", &one.destination, "there are two mounts at this place"));
        }
    }
    let asked = |destination: &str| places.contains(destination);
    let mut mounts = defaults(options);
    let dev = asked("/dev");
    let replaced = |place: &str| asked(place) || (dev && place.starts_with("/dev/"));
    mounts.retain(|mount| !replaced(&mount.destination));
    access(&mut mounts, options);
    // Stable: what is equally deep stays as it was asked for.
    wanted.sort_by_key(|mount| depth(&mount.destination));
    Ok(place(mounts, wanted))
}

/// What was asked for follows the default ones: but one at `/sys/fs` would cover `/sys/fs/cgroup`, so that default ones go
/// behind what they are in.
fn place(defaults: Vec<OciMount>, wanted: Vec<OciMount>) -> Vec<OciMount> {
    let below = |mount: &OciMount| wanted.iter().any(|other| beneath(&mount.destination, &other.destination));
    let (covered, mut mounts): (Vec<_>, Vec<_>) = defaults.into_iter().partition(below);
    if covered.is_empty() {
        mounts.extend(wanted);
        return mounts;
    }
    let mut late: Vec<_> = wanted.into_iter().chain(covered).collect();
    late.sort_by_key(|mount| depth(&mount.destination));
    mounts.extend(late);
    mounts
}

fn beneath(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/') || parent == "/")
}

fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

/// Read-only where nothing is to be written, writable where the container is to administer the host or its cgroup.
fn access(mounts: &mut [OciMount], options: &Options) {
    let privileged = options.confinement.privileged;
    // A read-only cgroup mount cannot be made within a user namespace without keeping its flags locked.
    let cgroups = options.writable_cgroups.unwrap_or(privileged) || !options.namespaces.user.is_host();
    for mount in mounts {
        let writable = match mount.type_.as_str() {
            "sysfs" => privileged,
            "cgroup" => cgroups,
            _ => false,
        };
        if writable {
            mount.options.retain(|option| option != "ro");
        }
    }
}

/// A path without `.`, `..`, double slashes and a slash at its end.
fn clean(path: &str) -> Result<String, Error> {
    let invalid = |reason: &str| Err(Error::invalid("mount destination", path, reason));
    if !path.starts_with('/') {
        return invalid("it is not absolute");
    }
    if path.len() > MAX_PATH_BYTES || path.contains('\0') {
        return invalid("it is too long, or contains a zero byte");
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() { invalid("it is the root") } else { Ok(format!("/{}", parts.join("/"))) }
}

fn translate(asked: &Mount, host: &Host, linux: &mut Linux) -> Result<OciMount, Error> {
    let destination = clean(&asked.destination)?;
    match &asked.kind {
        MountKind::Bind(bind) => translate_bind(destination, bind, host, linux),
        MountKind::Tmpfs { options } => {
            let options = tmpfs_options(options)?;
            Ok(OciMount {
                destination,
                type_: "tmpfs".into(),
                source: "tmpfs".into(),
                options,
                ..OciMount::default()
            })
        }
        MountKind::Other { kind, source, options } => {
            let mut words = options.iter().chain([kind, source]);
            if words.any(|word| word.contains('\0')) {
                return Err(Error::invalid("mount", destination, "an option contains a zero byte"));
            }
            let (type_, source, options) = (kind.clone(), source.clone(), options.clone());
            Ok(OciMount { destination, type_, source, options, ..OciMount::default() })
        }
    }
}

fn translate_bind(
    destination: String,
    bind: &Bind,
    host: &Host,
    linux: &mut Linux,
) -> Result<OciMount, Error> {
    if !bind.source.starts_with('/') || bind.source.contains('\0') || bind.source.len() > MAX_PATH_BYTES {
        return Err(Error::invalid("mount source", &bind.source, "it is not an absolute path"));
    }
    if bind.access == Access::ReadOnlyTree && !host.recursive_read_only {
        return Err(Error::Unsupported {
            what: "a mount that is read-only with everything below it",
            reason: "Linux 5.12 and a runtime that knows \"rro\" are needed",
        });
    }
    root_propagation(bind.propagation, linux);
    let word = match bind.recursion {
        Recursion::Recursive => "rbind",
        Recursion::Top => "bind",
    };
    let mut options = vec![word.to_owned()];
    match bind.access {
        Access::ReadWrite => {}
        Access::ReadOnlyTree => options.push("rro".to_owned()),
        Access::ReadOnly if host.recursive_read_only => options.push("rro".to_owned()),
        Access::ReadOnly | Access::ReadOnlyTop => options.push("ro".to_owned()),
    }
    options.extend(bind.propagation.word().map(str::to_owned));
    for flag in &bind.locked {
        if !options.contains(flag) {
            options.push(flag.clone());
        }
    }
    Ok(OciMount {
        destination,
        type_: "bind".to_owned(),
        source: bind.source.clone(),
        options,
        uid_mappings: bind.uid_mappings.clone(),
        gid_mappings: bind.gid_mappings.clone(),
    })
}

/// What is shared with, or follows, the host can be so only within a root that does.
fn root_propagation(wanted: Propagation, linux: &mut Linux) {
    let root = &mut linux.rootfs_propagation;
    match wanted {
        Propagation::Shared | Propagation::RecursiveShared => "shared".clone_into(root),
        Propagation::Slave | Propagation::RecursiveSlave if root.is_empty() => "rslave".clone_into(root),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
