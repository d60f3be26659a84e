//! Bundles: the directory of a task, of which the shim and the runtime make a container.
//!
//! Made under another name and renamed, so that one that is seen is whole; removed by a rename first, for the same reason.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gantry_proto_shim::Message as _;
use gantry_proto_shim::any::Any;
use gantry_types::Namespace;
use gantry_types::oci::IdMapping;
use rustix::fs::{AtFlags, CWD, FileType, Mode};
use rustix::mount::UnmountFlags;

use crate::Error;
use crate::address::Address;
use crate::failpoint::hit;

const CONFIG: &str = "config.json";
const ROOTFS: &str = "rootfs";
const WORK: &str = "work";
const LOG: &str = "log";
const OPTIONS: &str = "options";
const BOOTSTRAP: &str = "bootstrap.json";
const BINARY: &str = "shim-binary-path";
const SANDBOX: &str = "sandbox";
const GROUP: &str = "group";
/// There once the shim has deleted the task.
const DELETED: &str = "deleted";
/// What containerd calls the directory of bundles: programs look for their files there.
const BUNDLES_OF_CONTAINERD: &str = "io.containerd.runtime.v2.task";
/// How the names of bundles end that are made, and that are removed.
const NEW: &str = ".new";
const OLD: &str = ".old";
/// The longest name of a group.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where bundles are.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Bundles, a directory for each namespace.
    bundles: PathBuf,
    /// Their work directories.
    work: PathBuf,
    /// The FIFO into which shims log: each bundle has a link to it.
    log: PathBuf,
}

/// What a bundle is made of.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    /// The OCI configuration, in JSON; a sandbox may have none.
    pub(crate) config: Option<&'a [u8]>,
    /// The runtime's options.
    pub(crate) options: Option<&'a Any>,
    /// The sandbox that the container is in.
    pub(crate) sandbox: Option<&'a str>,
    /// The shim's binary.
    pub(crate) binary: &'a Path,
    /// The containers that share its shim.
    pub(crate) group: &'a str,
    /// Where that is, if it is known already.
    pub(crate) address: Option<&'a Address>,
}

/// What a bundle that was found says.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) namespace: Namespace,
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    pub(crate) binary: PathBuf,
    pub(crate) group: String,
    pub(crate) address: Option<Address>,
    pub(crate) options: Option<Any>,
    /// It is a sandbox's own.
    pub(crate) is_sandbox: bool,
    /// The task is gone, and its end was told.
    pub(crate) is_deleted: bool,
}

impl Place {
    /// Makes the directories below `state` and `root`.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn open(state: &Path, root: &Path) -> Result<Self, Error> {
        let place =
            Self { bundles: state.join("task"), work: root.join("task"), log: state.join("shim.log") };
        make_directories(&place.bundles, 0o711)?;
        make_directories(&place.work, 0o700)?;
        let link = state.join(BUNDLES_OF_CONTAINERD);
        match std::os::unix::fs::symlink("task", &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::file("making", &link)(error));
            }
            _ => {}
        }
        match rustix::fs::mknodat(CWD, &place.log, FileType::Fifo, Mode::from_raw_mode(0o600), 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(Error::errno("making", &place.log)(errno)),
        }
        Ok(place)
    }

    /// The FIFO into which shims log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Where the bundle of a container is.
    pub(crate) fn path(&self, namespace: &Namespace, id: &str) -> PathBuf {
        self.bundles.join(namespace.as_str()).join(id)
    }

    fn beside(&self, namespace: &Namespace, id: &str, ending: &str) -> PathBuf {
        self.bundles.join(namespace.as_str()).join(format!(".{id}{ending}"))
    }

    fn work_of(&self, namespace: &Namespace, id: &str) -> PathBuf {
        self.work.join(namespace.as_str()).join(id)
    }

    /// Makes a bundle. Blocks.
    ///
    /// # Errors
    /// What the disk says; nothing is left then.
    pub(crate) fn make(
        &self,
        namespace: &Namespace,
        id: &str,
        contents: &Contents<'_>,
    ) -> Result<PathBuf, Error> {
        let path = self.path(namespace, id);
        let new = self.beside(namespace, id, NEW);
        let made = self
            .fill(namespace, id, &new, contents)
            .and_then(|()| fs::rename(&new, &path).map_err(Error::file("making", &path)));
        if made.is_err() {
            let _ = fs::remove_dir_all(&new);
            let _ = fs::remove_dir_all(self.work_of(namespace, id));
        }
        hit("bundle.made");
        made.map(|()| path)
    }

    fn fill(
        &self,
        namespace: &Namespace,
        id: &str,
        new: &Path,
        contents: &Contents<'_>,
    ) -> Result<(), Error> {
        let directory = |path: &Path, mode| DirBuilder::new().mode(mode).create(path);
        match directory(new, 0o700) {
            // The first of its namespace.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directories(&self.bundles.join(namespace.as_str()), 0o711)?;
                directory(new, 0o700).map_err(Error::file("making", new))?;
            }
            // A leftover that could not be removed before.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir_all(new).map_err(Error::file("removing", new))?;
                directory(new, 0o700).map_err(Error::file("making", new))?;
            }
            made => made.map_err(Error::file("making", new))?,
        }
        hit("bundle.begun");
        let rootfs = new.join(ROOTFS);
        directory(&rootfs, 0o711).map_err(Error::file("making", &rootfs))?;
        let work = self.work_of(namespace, id);
        make_directories(&work, 0o700)?;
        let link = new.join(WORK);
        std::os::unix::fs::symlink(&work, &link).map_err(Error::file("making", &link))?;
        let log = new.join(LOG);
        fs::hard_link(&self.log, &log).map_err(Error::file("making", &log))?;
        let write = |name: &str, bytes: &[u8]| write_file(&new.join(name), bytes);
        if let Some(config) = contents.config {
            write(CONFIG, config)?;
            if let Some(gid) = mapped_root(config) {
                admit(new, gid)?;
            }
        }
        if let Some(options) = contents.options {
            write(OPTIONS, &options.encode_to_vec())?;
        }
        if let Some(sandbox) = contents.sandbox {
            write(SANDBOX, sandbox.as_bytes())?;
        }
        if let Some(address) = contents.address {
            write(BOOTSTRAP, &address.to_json())?;
        }
        use std::os::unix::ffi::OsStrExt as _;
        write(BINARY, contents.binary.as_os_str().as_bytes())?;
        write(GROUP, contents.group.as_bytes())?;
        hit("bundle.filled");
        Ok(())
    }

    /// Writes down where a bundle's shim is. Blocks.
    pub(crate) fn set_address(&self, bundle: &Path, address: &Address) -> Result<(), Error> {
        let text = address.to_json();
        let (path, part) = (bundle.join(BOOTSTRAP), bundle.join(".bootstrap.json"));
        write_file(&part, &text)?;
        fs::rename(&part, &path).map_err(Error::file("writing", &path))
    }

    /// Notes that the shim has deleted the task, for whoever finds the bundle without its shim. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn note_deletion(&self, namespace: &Namespace, id: &str) -> Result<(), Error> {
        write_file(&self.path(namespace, id).join(DELETED), b"")
    }

    /// Removes a bundle and its work directory. What is mounted below it is unmounted, and never emptied. Blocks.
    ///
    /// # Errors
    /// What the disk says; the rest is tried.
    pub(crate) fn remove(&self, namespace: &Namespace, id: &str) -> Result<(), Error> {
        let path = self.path(namespace, id);
        let old = self.beside(namespace, id, OLD);
        unmount_all(&path.join(ROOTFS));
        hit("bundle.unmounted");
        let _ = fs::remove_dir_all(self.work_of(namespace, id));
        let removed = match fs::rename(&path, &old) {
            Ok(()) => {
                hit("bundle.renamed");
                remove_tree(&old)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // A leftover is in the way.
            Err(_) => {
                remove_tree(&old).and_then(|()| fs::rename(&path, &old)).and_then(|()| remove_tree(&old))
            }
        };
        hit("bundle.removed");
        removed.map_err(Error::file("removing", &path))
    }

    /// All bundles; what was half made or half removed is removed. Blocks.
    ///
    /// # Errors
    /// What the disk says of the directory itself; a bundle that cannot be read is left out, and logged.
    pub(crate) fn found(&self) -> Result<Vec<Found>, Error> {
        let mut all = Vec::new();
        for (name, directory) in list(&self.bundles)? {
            let Ok(namespace) = name.parse::<Namespace>() else { continue };
            for (id, path) in list(&directory)? {
                if let Some(half) = id.strip_prefix('.') {
                    if half.ends_with(NEW) || half.ends_with(OLD) {
                        unmount_all(&path.join(ROOTFS));
                        if let Err(error) = remove_tree(&path) {
                            tracing::warn!(path = %path.display(), %error, "a leftover stays");
                        }
                    }
                    continue;
                }
                match read(namespace.clone(), id, path.clone()) {
                    Ok(found) => all.push(found),
                    Err(error) => tracing::warn!(path = %path.display(), %error, "a bundle cannot be read"),
                }
            }
        }
        self.remove_work_without_bundles()?;
        Ok(all)
    }

    /// Removes work directories of bundles that were half made, or ended with the machine: bundles are in memory, these on disk.
    fn remove_work_without_bundles(&self) -> Result<(), Error> {
        for (name, directory) in list(&self.work)? {
            let Ok(namespace) = name.parse::<Namespace>() else { continue };
            for (id, path) in list(&directory)? {
                let gone = matches!(self.path(&namespace, &id).try_exists(), Ok(false));
                if gone && let Err(error) = fs::remove_dir_all(&path) {
                    tracing::warn!(path = %path.display(), %error, "a leftover stays");
                }
            }
        }
        Ok(())
    }
}

/// The names and paths of what is in a directory.
fn list(path: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let entries = fs::read_dir(path).map_err(Error::file("reading", path))?;
    let named = entries.filter_map(Result::ok);
    Ok(named.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path()))).collect())
}

fn read(namespace: Namespace, id: String, path: PathBuf) -> Result<Found, Error> {
    let optional = |name: &str| -> Result<Option<Vec<u8>>, Error> {
        use std::io::Read as _;
        let file = path.join(name);
        let mut bytes = Vec::new();
        match fs::File::open(&file).and_then(|open| open.take(MAX_FILE_BYTES).read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("reading", file)(error)),
        }
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let address = optional(BOOTSTRAP)?.and_then(|json| serde_json::from_slice(&json).ok());
    let options = optional(OPTIONS)?.and_then(|bytes| Any::decode(&*bytes).ok());
    let binary = optional(BINARY)?.map(text).unwrap_or_default().into();
    let group = optional(GROUP)?.map_or_else(|| id.clone(), text);
    let is_sandbox = optional(SANDBOX)?.map(text).is_some_and(|sandbox| sandbox == id);
    let is_deleted = path.join(DELETED).exists();
    Ok(Found { namespace, id, binary, group, address, options, path, is_sandbox, is_deleted })
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write as _;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(Error::file("writing", path))
}

/// The parts of a configuration that say which group of the host the container's root is.
#[derive(serde::Deserialize)]
struct Outline {
    linux: Option<OutlineOfLinux>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutlineOfLinux {
    #[serde(default)]
    gid_mappings: Vec<IdMapping>,
}

/// The host's group of a user namespace's root, if that is another one. What cannot be read is the shim's to refuse.
fn mapped_root(config: &[u8]) -> Option<u32> {
    let outline: Outline = serde_json::from_slice(config).ok()?;
    let mappings = outline.linux?.gid_mappings;
    let root = mappings.iter().find(|mapping| mapping.container_id == 0)?;
    Some(root.host_id).filter(|gid| *gid != 0)
}

/// Lets a group reach what is in a bundle by its name: the root of a user namespace mounts its root file system there.
fn admit(bundle: &Path, gid: u32) -> Result<(), Error> {
    std::os::unix::fs::chown(bundle, None, Some(gid)).map_err(Error::file("chown of", bundle))?;
    fs::set_permissions(bundle, fs::Permissions::from_mode(0o710)).map_err(Error::file("chmod of", bundle))
}

fn make_directories(path: &Path, mode: u32) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(Error::file("making", path))
}

/// Unmounts everything on a directory; shims do it themselves, if they live.
fn unmount_all(path: &Path) {
    while rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
}

/// Removes a bundle's directory. Its root is removed only if it is empty: what is there belongs to somebody, and may be a mount
/// below it.
fn remove_tree(path: &Path) -> io::Result<()> {
    match rustix::fs::unlinkat(CWD, path.join(ROOTFS), AtFlags::REMOVEDIR) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &Path) -> Place {
        Place::open(&directory.join("state"), &directory.join("root")).unwrap()
    }

    fn contents<'a>(options: Option<&'a Any>) -> Contents<'a> {
        Contents {
            config: Some(b"{}"),
            options,
            sandbox: Some("pod"),
            binary: Path::new("/bin/shim"),
            group: "pod",
            address: None,
        }
    }

    #[test]
    fn a_bundle_is_found_as_it_was_made() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        let namespace: Namespace = "n".parse().unwrap();
        let options = Any { type_url: "x".into(), value: vec![1] };
        let path = place.make(&namespace, "a", &contents(Some(&options))).unwrap();
        let address = Address::ttrpc(3, Path::new("/s"));
        place.set_address(&path, &address).unwrap();
        assert!(!place.found().unwrap()[0].is_deleted);
        place.note_deletion(&namespace, "a").unwrap();
        let found = place.found().unwrap();
        assert!(found[0].is_deleted);
        let [found] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((found.id.as_str(), found.group.as_str()), ("a", "pod"));
        assert_eq!((found.options.as_ref(), found.address.as_ref()), (Some(&options), Some(&address)));
        assert!(path.join("work").is_dir() && path.join("rootfs").is_dir());
        place.remove(&namespace, "a").unwrap();
        assert!(place.found().unwrap().is_empty());
        assert!(!path.exists() && !directory.path().join("root/task/n/a").exists());
    }

    #[test]
    fn the_root_of_a_user_namespace_reaches_its_bundle() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        let namespace: Namespace = "n".parse().unwrap();
        let own = std::os::unix::fs::MetadataExt::gid(&fs::metadata(directory.path()).unwrap());
        let mapped = |host: u32| {
            let first = r#"{"containerID": 5, "hostID": 70, "size": 1}"#;
            let root = format!(r#"{{"containerID": 0, "hostID": {host}, "size": 5}}"#);
            mapped_root(format!(r#"{{"linux": {{"gidMappings": [{first}, {root}]}}}}"#).as_bytes())
        };
        assert_eq!((mapped(2000), mapped(0)), (Some(2000), None));
        assert_eq!(mapped_root(b"{}"), None);
        assert_eq!(mapped_root(b"no JSON"), None);
        let path = place.make(&namespace, "a", &contents(None)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o700);
        admit(&path, own).unwrap();
        assert_eq!(mode(&path), 0o710);
    }

    #[test]
    fn bundles_are_found_by_the_name_that_containerd_gives_their_directory() {
        let directory = tempfile::tempdir().unwrap();
        let namespace: Namespace = "n".parse().unwrap();
        place(directory.path()).make(&namespace, "a", &contents(None)).unwrap();
        // A second start finds the link.
        place(directory.path());
        assert!(directory.path().join("state/io.containerd.runtime.v2.task/n/a/config.json").exists());
    }

    #[test]
    fn what_is_half_there_goes() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        let namespace: Namespace = "n".parse().unwrap();
        let whole = place.make(&namespace, "a", &contents(None)).unwrap();
        for name in [".b.new", ".c.old"] {
            fs::create_dir_all(whole.with_file_name(name).join("rootfs")).unwrap();
        }
        fs::create_dir_all(place.work_of(&namespace, "b").join("x")).unwrap();
        assert_eq!(place.found().unwrap().len(), 1);
        assert!(place.work_of(&namespace, "a").exists() && !place.work_of(&namespace, "b").exists());
        let left: Vec<_> = fs::read_dir(whole.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn a_bundle_may_be_made_over_what_was_left() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        let namespace: Namespace = "n".parse().unwrap();
        let path = place.path(&namespace, "a");
        fs::create_dir_all(path.with_file_name(".a.new")).unwrap();
        fs::create_dir_all(path.with_file_name(".a.old").join("x")).unwrap();
        place.make(&namespace, "a", &contents(None)).unwrap();
        place.remove(&namespace, "a").unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_root_with_files_is_never_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        let namespace: Namespace = "n".parse().unwrap();
        let path = place.make(&namespace, "a", &contents(None)).unwrap();
        fs::write(path.join("rootfs/precious"), "").unwrap();
        assert!(place.remove(&namespace, "a").is_err());
        assert!(path.with_file_name(".a.old").join("rootfs/precious").exists());
    }
}
