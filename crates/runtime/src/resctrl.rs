//! Groups of the resctrl file system: config-linux.md, IntelRdt (runtime-spec 1.3); Documentation/filesystems/resctrl.
//!
//! A group is a directory: its `schemata` says which shares of caches and memory bandwidth its `tasks` get, and groups
//! below its `mon_groups` count the use of some of them. Whoever names a class (`closID`) shares it with others and keeps
//! it; the runtime removes only what it made for one container.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use gantry_sys::Errno;
use gantry_types::oci::IntelRdt;

use crate::error::{Error, Failure};

/// Where the file system is, unless somebody mounted it elsewhere.
const DEFAULT_ROOT: &str = "/sys/fs/resctrl";
const RDTGROUP_SUPER_MAGIC: u64 = 0x0765_5821;
/// The largest mountinfo that is searched for another place, in bytes.
const MAX_MOUNTINFO: u64 = 64 << 20;
/// How long what goes to a `schemata` file may be: the kernel takes a page a write, and there are few resources.
const MAX_SCHEMATA_BYTES: usize = 64 << 10;
/// How much of the kernel's explanation is told, in bytes.
const MAX_STATUS_BYTES: usize = 512;

/// The mounted file system.
#[derive(Debug, Clone)]
pub(crate) struct Resctrl {
    root: PathBuf,
}

/// A container's place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Places {
    class: PathBuf,
    monitor: Option<PathBuf>,
}

/// The groups of a container, until they are kept.
#[derive(Debug)]
pub(crate) struct Group {
    places: Places,
    /// What goes with the container.
    made: Option<PathBuf>,
    armed: bool,
}

impl Resctrl {
    /// Finds the file system.
    ///
    /// # Errors
    /// Unimplemented where the machine or the kernel has none, or nobody mounted it.
    pub(crate) fn find() -> Result<Self, Error> {
        let is_resctrl = |path: &Path| {
            rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 == RDTGROUP_SUPER_MAGIC)
        };
        if is_resctrl(Path::new(DEFAULT_ROOT)) {
            return Ok(Resctrl { root: DEFAULT_ROOT.into() });
        }
        let text = crate::config::read_limited(Path::new("/proc/self/mountinfo"), MAX_MOUNTINFO)?;
        match mount_point(&String::from_utf8_lossy(&text)) {
            Some(root) => Ok(Resctrl { root }),
            None => Err(Error::Unsupported(
                "intelRdt is specified in config, but Intel RDT is not supported or enabled".into(),
            )),
        }
    }

    /// Makes the groups that a container asks for.
    ///
    /// # Errors
    /// InvalidArgument for a class that is no name or a schema that cannot be; NotFound for a class that is to be used as
    /// it is and does not exist; what the kernel says of the schemata.
    pub(crate) fn create(&self, config: &IntelRdt, id: &str) -> Result<Group, Error> {
        let text = schemata(config)?;
        self.check_features(config)?;
        let places = self.places(config, id)?;
        let mut group = Group { places, made: None, armed: true };
        let named = !config.clos_id.is_empty();
        let class = group.places.class.clone();
        if named && text.is_empty() {
            fs::metadata(&class).map_err(|error| {
                self.failed(&format!(
                    "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty): {}",
                    class.display()
                ), &error)
            })?;
        } else if self.make(&class)? && !named {
            group.made = Some(class.clone());
        }
        if !text.is_empty() {
            self.write(&class.join("schemata"), &text)?;
        }
        if let Some(monitor) = group.places.monitor.clone()
            && self.make(&monitor)?
            && group.made.is_none()
        {
            group.made = Some(monitor);
        }
        Ok(group)
    }

    /// Puts a process of `exec` where the container is.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(crate) fn join(&self, config: &IntelRdt, id: &str, pid: i32) -> Result<(), Error> {
        self.enter(&self.places(config, id)?, pid)
    }

    /// Puts a process into the groups.
    pub(crate) fn attach(&self, group: &Group, pid: i32) -> Result<(), Error> {
        self.enter(&group.places, pid)
    }

    fn enter(&self, places: &Places, pid: i32) -> Result<(), Error> {
        let pid = pid.to_string();
        // The class first: a monitoring group takes tasks of its own class alone.
        self.write(&places.class.join("tasks"), &pid)?;
        places.monitor.as_ref().map_or(Ok(()), |monitor| self.write(&monitor.join("tasks"), &pid))
    }

    fn places(&self, config: &IntelRdt, id: &str) -> Result<Places, Error> {
        let class = match config.clos_id.as_str() {
            "" => self.root.join(id),
            // The default class, in which everything is that is in no other.
            "/" => self.root.clone(),
            "." | ".." | "info" | "mon_data" | "mon_groups" => return Err(bad_class(&config.clos_id)),
            name if name.contains(['/', '\0', '\n']) || name.len() > 255 => return Err(bad_class(name)),
            name => self.root.join(name),
        };
        let monitor = config.enable_monitoring.then(|| class.join("mon_groups").join(id));
        Ok(Places { class, monitor })
    }

    /// A schema for what the processor lacks would be an error without an explanation.
    fn check_features(&self, config: &IntelRdt) -> Result<(), Error> {
        let info = self.root.join("info");
        for (schema, resource, what) in [
            (
                &config.l3_cache_schema,
                "L3",
                "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled",
            ),
            (
                &config.mem_bw_schema,
                "MB",
                "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled",
            ),
        ] {
            if !schema.is_empty() && !info.join(resource).exists() {
                return Err(Error::Unsupported(what.into()));
            }
        }
        Ok(())
    }

    /// Makes a group; whether it was not there before.
    fn make(&self, path: &Path) -> Result<bool, Error> {
        match fs::create_dir(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.failed(&format!("mkdir {}", path.display()), &error)),
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Error> {
        let file = fs::OpenOptions::new().write(true).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| self.failed(&format!("write {text:?} to {}", path.display()), &error))
    }

    /// The kernel says in a file of its own why it refused the last command.
    fn failed(&self, what: &str, error: &std::io::Error) -> Error {
        let status = fs::read(self.root.join("info/last_cmd_status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status[..status.len().min(MAX_STATUS_BYTES)]).trim().to_owned();
        let what = match status.as_str() {
            "" | "ok" => format!("intelrdt: {what}"),
            status => format!("intelrdt: {what} (last_cmd_status: {status})"),
        };
        Error::Io { what, failure: Failure(crate::config::errno(error)) }
    }
}

impl Group {
    /// The directory to remove with the container.
    pub(crate) fn made(&self) -> Option<PathBuf> {
        self.made.clone()
    }

    /// Leaves the groups to the container.
    pub(crate) fn keep(mut self) {
        self.armed = false;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(path) = self.made.as_ref().filter(|_| self.armed) {
            let _ = fs::remove_dir(path);
        }
    }
}

/// Removes a group that was made for a container; it may be gone. Its files, and groups of a class, go with it.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::io(format!("intelrdt: rmdir {}", path.display()))(errno)),
    }
}

fn bad_class(name: &str) -> Error {
    Error::config("linux.intelRdt.closID", format!("{name:?} cannot be a class of service"))
}

/// The lines for a `schemata` file, in the order in which runtime-spec wants them; empty for none.
pub(crate) fn schemata(config: &IntelRdt) -> Result<String, Error> {
    let mut text = String::new();
    let lines = [&config.l3_cache_schema, &config.mem_bw_schema].into_iter().chain(&config.schemata);
    for line in lines.filter(|line| !line.is_empty()) {
        if line.contains('\0') {
            return Err(Error::config("linux.intelRdt.schemata", "contains a NUL byte"));
        }
        if text.len() + line.len() >= MAX_SCHEMATA_BYTES {
            let reason = format!("more than {MAX_SCHEMATA_BYTES} bytes");
            return Err(Error::config("linux.intelRdt.schemata", reason));
        }
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

/// Where mountinfo has a resctrl file system: proc_pid_mountinfo(5).
pub(crate) fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_resctrl = after.split(' ').next() == Some("resctrl");
        is_resctrl.then(|| before.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like the file system.
    struct Fake(tempfile::TempDir);

    impl Fake {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for path in ["info/L3", "mon_groups"] {
                fs::create_dir_all(dir.path().join(path)).unwrap();
            }
            for file in ["tasks", "schemata", "info/last_cmd_status"] {
                fs::write(dir.path().join(file), "").unwrap();
            }
            Fake(dir)
        }

        fn resctrl(&self) -> Resctrl {
            Resctrl { root: self.0.path().to_owned() }
        }

        /// A group with the files that the kernel puts into each.
        fn class(&self, name: &str) -> PathBuf {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.join("mon_groups")).unwrap();
            fs::write(path.join("tasks"), "").unwrap();
            fs::write(path.join("schemata"), "").unwrap();
            path
        }
    }

    fn config(text: &str) -> IntelRdt {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_class_of_the_containers_own_goes_when_it_fails() {
        let fake = Fake::new();
        let group = fake.resctrl().create(&config("{}"), "c1").unwrap();
        assert_eq!(group.made(), Some(fake.0.path().join("c1")));
        drop(group);
        assert!(!fake.0.path().join("c1").exists());
        fake.resctrl().create(&config("{}"), "c1").unwrap().keep();
        assert!(fake.0.path().join("c1").exists());
        remove(&fake.0.path().join("c1")).unwrap();
        remove(&fake.0.path().join("c1")).unwrap();
    }

    #[test]
    fn classes_that_others_made_stay() {
        let fake = Fake::new();
        let class = fake.class("gold");
        let wanted = config(r#"{"closID":"gold","schemata":["L2:0=f"],"l3CacheSchema":"L3:0=f"}"#);
        let group = fake.resctrl().create(&wanted, "c1").unwrap();
        assert_eq!(group.made(), None);
        fake.resctrl().attach(&group, 42).unwrap();
        drop(group);
        assert_eq!(fs::read_to_string(class.join("schemata")).unwrap(), "L3:0=f\nL2:0=f\n");
        assert_eq!(fs::read_to_string(class.join("tasks")).unwrap(), "42");
    }

    #[test]
    fn monitoring_groups_are_the_containers() {
        let fake = Fake::new();
        let class = fake.class("gold");
        let wanted = config(r#"{"closID":"gold","enableMonitoring":true}"#);
        let group = fake.resctrl().create(&wanted, "c1").unwrap();
        let monitor = class.join("mon_groups/c1");
        assert_eq!(group.made(), Some(monitor.clone()));
        fs::write(monitor.join("tasks"), "").unwrap();
        fake.resctrl().attach(&group, 42).unwrap();
        fake.resctrl().join(&wanted, "c1", 43).unwrap();
        assert_eq!(fs::read_to_string(monitor.join("tasks")).unwrap(), "43");
        group.keep();
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let fake = Fake::new();
        for bad in [
            r#"{"closID":"missing"}"#.to_owned(),
            r#"{"closID":".."}"#.to_owned(),
            r#"{"closID":"a/b"}"#.to_owned(),
            r#"{"closID":"info","schemata":["L3:0=f"]}"#.to_owned(),
            r#"{"memBwSchema":"MB:0=10"}"#.to_owned(),
            r#"{"schemata":["a\u0000b"]}"#.to_owned(),
            format!(r#"{{"schemata":["{}"]}}"#, "x".repeat(MAX_SCHEMATA_BYTES)),
        ] {
            assert!(fake.resctrl().create(&config(&bad), "c1").is_err(), "{bad:.60}");
        }
        assert!(!fake.0.path().join("c1").exists());
    }

    #[test]
    fn the_kernels_explanation_is_told() {
        let fake = Fake::new();
        fs::write(fake.0.path().join("info/last_cmd_status"), "Unknown schemata type\n").unwrap();
        let error = fake.resctrl().create(&config(r#"{"closID":"gone"}"#), "c1").unwrap_err();
        assert!(error.to_string().contains("last_cmd_status: Unknown schemata type"), "{error}");
        assert_eq!(error.kind(), gantry_types::ErrorKind::NotFound);
    }

    #[test]
    fn the_file_system_is_found_elsewhere() {
        let text =
            "25 1 0:1 / / rw - ext4 /dev/vda rw\n30 25 0:5 / /mnt/rdt rw shared:9 - resctrl resctrl rw\n";
        assert_eq!(mount_point(text), Some("/mnt/rdt".into()));
        assert_eq!(mount_point("25 1 0:1 / /resctrl rw - ext4 resctrl rw\n"), None);
    }
}
