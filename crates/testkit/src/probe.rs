use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::runtime::built_binary;

/// The probe's binary: static, so that it runs in any root file system.
///
/// # Panics
/// When it is not built.
pub fn probe_binary() -> PathBuf {
    built_binary("GANTRY_PROBE", "gantry-probe")
}

/// The program that makes one raw system call: `syscall NUMBER ARGUMENT…`.
pub fn syscall_binary() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/syscall"))
}

/// What a process in a container saw of itself and its surroundings.
#[derive(Debug, Clone)]
pub struct Report(pub Value);

impl Report {
    /// Parses what `gantry-probe` printed.
    ///
    /// # Panics
    /// When it is no report.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap_or_else(|error| panic!("no report ({error}): {text}")))
    }

    /// A field of `/proc/self/status`.
    ///
    /// # Panics
    /// When the kernel has no such field.
    #[track_caller]
    pub fn status(&self, field: &str) -> &str {
        self.0["status"][field].as_str().unwrap_or_else(|| panic!("no field {field} in status"))
    }

    /// One of the capability sets, `CapEff` for example.
    ///
    /// # Panics
    /// When it is not hexadecimal.
    #[track_caller]
    pub fn capabilities(&self, set: &str) -> u64 {
        u64::from_str_radix(self.status(set), 16).expect("a mask")
    }

    /// The open descriptors and what they are.
    ///
    /// # Panics
    /// When the report lacks them.
    pub fn fds(&self) -> BTreeMap<i32, String> {
        let fds = self.0["fds"].as_object().expect("descriptors");
        let entry = |(fd, link): (&String, &Value)| {
            (fd.parse().expect("a number"), link.as_str().expect("a link").to_owned())
        };
        fds.iter().map(entry).collect()
    }

    /// The mounts, in their order.
    pub fn mounts(&self) -> Vec<Mount> {
        parse_mountinfo(self.text("mountinfo"))
    }

    /// The mount at `target` that is on top.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn mount(&self, target: &str) -> Mount {
        let mounts = self.mounts();
        mounts
            .into_iter()
            .rfind(|mount| mount.target == target)
            .unwrap_or_else(|| panic!("nothing is mounted at {target}"))
    }

    /// Soft and hard limit, as `/proc/self/limits` writes them.
    ///
    /// # Panics
    /// When there is no such limit.
    #[track_caller]
    pub fn limit(&self, name: &str) -> (String, String) {
        let limit = &self.0["limits"][name];
        let part = |n: usize| limit[n].as_str().unwrap_or_else(|| panic!("no limit {name}")).to_owned();
        (part(0), part(1))
    }

    /// A text of the report.
    ///
    /// # Panics
    /// When there is none of that name.
    #[track_caller]
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_else(|| panic!("no text {name} in the report"))
    }

    /// A namespace's name: `net:[4026532000]`.
    ///
    /// # Panics
    /// When the kernel has no such namespace.
    #[track_caller]
    pub fn namespace(&self, file: &str) -> &str {
        self.0["namespaces"][file].as_str().unwrap_or_else(|| panic!("no namespace {file}"))
    }

    /// An environment variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.0["env"][name].as_str()
    }
}

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its path.
    pub target: String,
    /// The directory of the file system that is its root.
    pub root: String,
    /// Its own options: `ro`, `nosuid`, `idmapped`, …
    pub options: Vec<String>,
    /// Propagation: `shared:1`, `master:2`, `unbindable`.
    pub propagation: Vec<String>,
    /// The kind of file system.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// The file system's options.
    pub super_options: Vec<String>,
}

impl Mount {
    /// Whether the mount has this option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|have| have == option)
    }

    /// Whether the file system has this option.
    pub fn super_has(&self, option: &str) -> bool {
        self.super_options.iter().any(|have| have == option)
    }
}

/// Parses the text of `/proc/<pid>/mountinfo`.
pub fn parse_mountinfo(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_mount).collect()
}

fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    Some(Mount {
        target: (*left.get(4)?).to_owned(),
        root: (*left.get(3)?).to_owned(),
        options: list(left.get(5)?),
        propagation: left.get(6..)?.iter().map(|&word| word.to_owned()).collect(),
        kind: (*right.first()?).to_owned(),
        source: (*right.get(1)?).to_owned(),
        super_options: list(right.get(2)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_taken_apart() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue";
        let mount = parse_mount(line).unwrap();
        assert_eq!((mount.target.as_str(), mount.root.as_str()), ("/mnt2", "/mnt1"));
        assert_eq!(mount.propagation, ["master:1", "shared:2"]);
        assert!(mount.has("noatime") && mount.super_has("errors=continue") && mount.kind == "ext3");
    }
}
