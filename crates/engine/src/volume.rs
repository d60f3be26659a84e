//! Volumes: directories that outlive containers.
//!
//! The one driver is `local`, as docker's: a directory `_data` below `<root>/volumes/<name>`, or with the options `type`, `o` and
//! `device` a mount there, which is made for the first container that runs with it, and taken away after the last.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use gantry_primitives::Step;
use jiff::Timestamp;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde::{Deserialize, Serialize};

use crate::event::{Event, EventKind};
use crate::options::MountKind;
use crate::record::Record;
use crate::{Engine, Error, Result, names};

/// The kind of documents that hold volumes.
const DOCUMENT: &str = "volume";
/// The only driver.
pub(crate) const LOCAL: &str = "local";
/// Options of `local` that mean something.
const OPTIONS: [&str; 3] = ["type", "o", "device"];
/// The label of volumes that nobody named.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Where its files are.
    pub mountpoint: PathBuf,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The options of its driver.
    pub options: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

/// A volume to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Its name; empty for one of the engine's choice.
    pub name: String,
    /// `local`, or empty.
    pub driver: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The options of its driver.
    pub options: BTreeMap<String, String>,
}

fn event(volume: &str, action: &str) -> Event {
    let attributes = BTreeMap::from([("driver".to_owned(), LOCAL.to_owned())]);
    Event { kind: EventKind::Volume, action: action.to_owned(), id: volume.to_owned(), attributes }
}

fn validate(request: &VolumeRequest) -> Result<()> {
    if !matches!(request.driver.as_str(), "" | LOCAL) {
        let driver = &request.driver;
        return Err(Error::NotFound {
            what: "volume driver",
            name: format!("{driver}: plugins are not supported"),
        });
    }
    if let Some(option) = request.options.keys().find(|option| !OPTIONS.contains(&option.as_str())) {
        let reason = if option == "size" { "quota size requested but no quota support" } else { "" };
        let reason =
            if reason.is_empty() { format!("invalid option: {option:?}") } else { reason.to_owned() };
        return Err(Error::Invalid(format!("create {}: {reason}", request.name)));
    }
    // One of them is of no use without the others.
    let missing = ["device", "type"].into_iter().find(|option| !request.options.contains_key(*option));
    match missing.filter(|_| !request.options.is_empty()) {
        Some(option) => {
            let name = &request.name;
            Err(Error::Invalid(format!("create {name}: missing required option: {option:?}")))
        }
        None => Ok(()),
    }
}

impl Engine {
    pub(crate) fn volumes_directory(&self) -> PathBuf {
        self.shared.settings.root.join("volumes")
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn volumes(&self) -> Result<Vec<Volume>> {
        let all = self.shared.store.documents(DOCUMENT).await?;
        let read = |(name, value): (String, Vec<u8>)| match serde_json::from_slice(&value) {
            Ok(volume) => Some(volume),
            Err(error) => {
                tracing::error!(volume = name, %error, "the record of a volume cannot be read");
                None
            }
        };
        Ok(all.into_iter().filter_map(read).collect())
    }

    /// A volume by its name.
    ///
    /// # Errors
    /// NotFound.
    pub async fn volume(&self, name: &str) -> Result<Volume> {
        let found = self.volumes().await?.into_iter().find(|volume| volume.name == name);
        found.ok_or_else(|| Error::NotFound { what: "volume", name: name.to_owned() })
    }

    /// Makes a volume; one of that name, with the same options, is taken as it is.
    ///
    /// # Errors
    /// Invalid for name or options; Conflict for one with other options; what the disk says.
    pub async fn volume_create(&self, request: VolumeRequest) -> Result<Volume> {
        validate(&request)?;
        let _one = self.shared.volumes.lock().await;
        let anonymous = request.name.is_empty();
        let name = if anonymous { names::id() } else { names::validate(&request.name)?.to_owned() };
        if let Ok(volume) = self.volume(&name).await {
            if !request.options.is_empty() && volume.options != request.options {
                return Err(Error::Conflict(format!("volume {name} exists with other options")));
            }
            return Ok(volume);
        }
        let directory = self.volumes_directory().join(&name);
        let mountpoint = directory.join("_data");
        let mut labels = request.labels;
        if anonymous {
            labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        let volume = Volume { name, mountpoint, labels, options: request.options, created: Timestamp::now() };
        let made = volume.mountpoint.clone();
        self.blocking("making a volume", move || make_directories(&made)).await?;
        let value = serde_json::to_vec(&volume).expect("strings are JSON");
        let put = Step::PutDocument { kind: DOCUMENT, name: volume.name.clone(), value };
        let steps = vec![put, event(&volume.name, "create").step()];
        self.shared.store.commit(self.shared.namespace.clone(), steps).await?;
        Ok(volume)
    }

    /// How many bytes the files of a volume take.
    ///
    /// # Errors
    /// NotFound; what the disk says.
    pub async fn volume_size(&self, name: &str) -> Result<u64> {
        let volume = self.volume(name).await?;
        self.blocking("measuring a volume", move || disk_usage(&volume.mountpoint)).await
    }

    /// The containers that have a volume.
    pub fn volume_users(&self, name: &str) -> Vec<String> {
        let has = |container: &std::sync::Arc<crate::Container>| {
            container
                .record()
                .mounts
                .iter()
                .any(|mount| mount.kind == MountKind::Volume && mount.name == name)
        };
        self.containers().into_iter().filter(has).map(|container| container.id.clone()).collect()
    }

    /// Removes a volume and its files.
    ///
    /// # Errors
    /// NotFound; Conflict while a container has it; what the disk says.
    pub async fn volume_remove(&self, name: &str) -> Result<()> {
        let _one = self.shared.volumes.lock().await;
        let volume = self.volume(name).await?;
        let users = self.volume_users(name);
        if !users.is_empty() {
            return Err(Error::Conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        let directory = self.volumes_directory().join(&volume.name);
        // The record goes last: what is left of the files of one that was not removed whole goes with the next try.
        self.blocking("removing a volume", move || remove_tree(&directory)).await?;
        let remove = Step::RemoveDocument { kind: DOCUMENT, name: volume.name.clone() };
        let steps = vec![remove, event(&volume.name, "destroy").step()];
        Ok(self.shared.store.commit(self.shared.namespace.clone(), steps).await?)
    }
}

impl Engine {
    /// Mounts the volumes of a container that are mounts, if nobody has yet.
    ///
    /// # Errors
    /// What mount(2) says.
    pub(crate) async fn mount_volumes(&self, record: &Record) -> Result<()> {
        let names: Vec<&str> = mounted_names(record).collect();
        if names.is_empty() {
            return Ok(());
        }
        let _one = self.shared.volumes.lock().await;
        for volume in self.volumes().await? {
            if names.contains(&volume.name.as_str()) && !volume.options.is_empty() {
                let mounted = self.blocking("mounting a volume", move || {
                    mount_volume(&volume)?;
                    crate::tree::settle(&volume.mountpoint, &volume.mountpoint)
                });
                mounted.await?;
            }
        }
        Ok(())
    }

    /// Takes mounts of volumes away that no other container that runs has.
    pub(crate) async fn unmount_volumes(&self, record: &Record) {
        let mut names: Vec<String> = mounted_names(record).map(str::to_owned).collect();
        if names.is_empty() {
            return;
        }
        let _one = self.shared.volumes.lock().await;
        for other in self.containers() {
            let other = other.record();
            if other.id != record.id && other.state.status.is_alive() {
                names.retain(|name| !mounted_names(&other).any(|used| used == name));
            }
        }
        let Ok(volumes) = self.volumes().await else { return };
        for volume in
            volumes.into_iter().filter(|volume| names.contains(&volume.name) && !volume.options.is_empty())
        {
            let unmounted = self.blocking("unmounting a volume", move || {
                let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
                match unmount(&volume.mountpoint, flags) {
                    Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
                    Err(errno) => Err(Error::io("unmounting", &volume.mountpoint)(errno.into())),
                }
            });
            if let Err(error) = unmounted.await {
                tracing::warn!(%error, "a volume stays mounted");
            }
        }
    }
}

fn mounted_names(record: &Record) -> impl Iterator<Item = &str> {
    let volumes = record.mounts.iter().filter(|point| point.kind == MountKind::Volume);
    volumes.map(|point| point.name.as_str())
}

/// Flags of mount(2) by the words of mount(8).
const FLAGS: [(&str, MountFlags); 9] = [
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("sync", MountFlags::SYNCHRONOUS),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("bind", MountFlags::BIND),
];

pub(crate) fn mount_volume(volume: &Volume) -> Result<()> {
    let is_mounted = || -> std::io::Result<bool> {
        use std::os::unix::fs::MetadataExt as _;
        let parent = volume.mountpoint.parent().unwrap_or(&volume.mountpoint);
        let (own, above) = (fs::metadata(&volume.mountpoint)?, fs::metadata(parent)?);
        Ok(own.dev() != above.dev() || mounts_have(&volume.mountpoint))
    };
    if is_mounted().map_err(Error::io("looking at", &volume.mountpoint))? {
        return Ok(());
    }
    let option = |name: &str| volume.options.get(name).map_or("", String::as_str);
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for word in option("o").split(',').filter(|word| !word.is_empty()) {
        match FLAGS.iter().find(|(name, _)| *name == word) {
            Some((_, flag)) => flags |= *flag,
            None if word == "rbind" => flags |= MountFlags::BIND | MountFlags::REC,
            None => data.push(word),
        }
    }
    let data =
        CString::new(data.join(",")).map_err(|_| Error::Invalid("an option has a zero byte".to_owned()))?;
    mount(option("device"), &volume.mountpoint, option("type"), flags, Some(data.as_c_str())).map_err(
        |errno| {
            let name = &volume.name;
            Error::Invalid(format!("error while mounting volume '{name}': {}", std::io::Error::from(errno)))
        },
    )
}

/// Whether something is mounted at a path: proc_pid_mountinfo(5).
fn mounts_have(path: &Path) -> bool {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = path.to_string_lossy();
    text.lines().any(|line| line.split(' ').nth(4) == Some(&path))
}

/// Makes the directories of a volume: what is in it is its users' business, what is around it is not.
fn make_directories(data: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let parent = data.parent().unwrap_or(data);
    let volumes = parent.parent().unwrap_or(parent);
    let make = |path: &Path, mode: u32| {
        let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
        made.map_err(Error::io("making", path))
    };
    make(volumes, 0o701)?;
    make(parent, 0o701)?;
    make(data, 0o755)?;
    fs::set_permissions(data, fs::Permissions::from_mode(0o755)).map_err(Error::io("changing", data))
}

/// The sizes of all files below a directory, those with several names once. Follows no link.
fn disk_usage(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    let mut seen = std::collections::HashSet::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).map_err(Error::io("reading", &directory))?.flatten() {
            // What goes meanwhile counts no more.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino())) {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}

/// Removes a directory with what is in it; one that is not there is removed already. Follows no link.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", path)(error)),
        _ => Ok(()),
    }
}
