//! Mount options: config.md (Mounts, Linux mount options) at v1.3.0, mount(8).

use std::ffi::CStr;

use gantry_sys::mount::{
    ATTR_ATIME, ATTR_NOATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID, ATTR_NOSYMFOLLOW,
    ATTR_RDONLY, ATTR_RELATIME, ATTR_STRICTATIME,
};

/// `MS_*` of mount(2) that are the super block's and not the mount's.
const MS_SYNCHRONOUS: u64 = 16;
const MS_MANDLOCK: u64 = 64;
const MS_DIRSYNC: u64 = 128;
const MS_SILENT: u64 = 0x8000;
const MS_I_VERSION: u64 = 1 << 23;
const MS_LAZYTIME: u64 = 1 << 25;

pub(crate) const MS_UNBINDABLE: u64 = 1 << 17;
pub(crate) const MS_PRIVATE: u64 = 1 << 18;
pub(crate) const MS_SLAVE: u64 = 1 << 19;
pub(crate) const MS_SHARED: u64 = 1 << 20;

/// A change of propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Propagation {
    /// One of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`.
    pub(crate) kind: u64,
    /// Whether the mounts below are changed too.
    pub(crate) recursive: bool,
}

/// Whether a mount binds what exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Bind {
    /// It mounts a file system.
    #[default]
    No,
    /// It binds one mount.
    Mount,
    /// It binds a mount and those below it.
    Tree,
}

/// The kind of id mapping that an option asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdMap {
    /// The mount alone.
    Mount,
    /// And those below it.
    Tree,
}

/// Attributes to set and to clear, `MOUNT_ATTR_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Attributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl Attributes {
    fn set(&mut self, bits: u64) {
        self.set |= bits;
        self.clear &= !bits;
    }

    fn clear(&mut self, bits: u64) {
        self.set &= !bits;
        self.clear |= bits;
    }

    /// Access times are one field, which is cleared as a whole when it is set.
    fn atime(&mut self, value: u64) {
        self.set = self.set & !ATTR_ATIME | value;
        self.clear |= ATTR_ATIME;
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Options that a mount was given, sorted by who understands them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountOptions {
    pub(crate) bind: Bind,
    pub(crate) attributes: Attributes,
    /// For the mount and everything below it.
    pub(crate) recursive: Attributes,
    pub(crate) propagation: Vec<Propagation>,
    /// `MS_*` of the super block, for mount(2).
    pub(crate) super_flags: u64,
    /// The same as names, for fsconfig(2).
    pub(crate) super_names: Vec<&'static CStr>,
    /// What the file system understands.
    pub(crate) data: Vec<String>,
    pub(crate) copy_up: bool,
    pub(crate) id_map: Option<IdMap>,
    /// Mappings of crun's `idmap=` syntax.
    pub(crate) id_map_text: Option<String>,
    pub(crate) remount: bool,
    /// crun: a source that is a symbolic link becomes a symbolic link in the container.
    pub(crate) copy_symlink: bool,
    pub(crate) source_nofollow: bool,
    pub(crate) target_nofollow: bool,
}

/// Every option that Gantry understands itself, for `features`.
pub const KNOWN_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "copy-symlink",
    "defaults",
    "dest-nofollow",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "src-nofollow",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

impl MountOptions {
    /// Sorts `options`; a later one overrides an earlier one.
    pub(crate) fn parse(options: &[String]) -> Self {
        let mut parsed = MountOptions::default();
        for option in options {
            if !parsed.known(option) {
                parsed.data.push(option.clone());
            }
        }
        parsed
    }

    fn known(&mut self, option: &str) -> bool {
        self.binding(option)
            || attribute(&mut self.attributes, option)
            || option.strip_prefix('r').is_some_and(|rest| {
                // "relatime" is not a recursive "elatime", and "ro" and "rw" are no recursion of "o" and "w".
                rest != "emount" && attribute(&mut self.recursive, rest)
            })
            || self.superblock(option)
    }

    fn binding(&mut self, option: &str) -> bool {
        match option {
            "" | "defaults" => {}
            // Of two, the one that takes more.
            "bind" if self.bind == Bind::Tree => {}
            "bind" => self.bind = Bind::Mount,
            "rbind" => self.bind = Bind::Tree,
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.id_map = Some(IdMap::Mount),
            "ridmap" => self.id_map = Some(IdMap::Tree),
            "copy-symlink" => self.copy_symlink = true,
            "src-nofollow" => self.source_nofollow = true,
            "dest-nofollow" => self.target_nofollow = true,
            _ => {
                if let Some(text) = option.strip_prefix("idmap=") {
                    self.id_map = Some(IdMap::Mount);
                    self.id_map_text = Some(text.to_owned());
                } else if let Some(change) = propagation(option) {
                    self.propagation.push(change);
                } else {
                    return false;
                }
            }
        }
        true
    }

    fn superblock(&mut self, option: &str) -> bool {
        let (flag, on, name): (u64, bool, Option<&'static CStr>) = match option {
            "sync" => (MS_SYNCHRONOUS, true, Some(c"sync")),
            "async" => (MS_SYNCHRONOUS, false, Some(c"sync")),
            "dirsync" => (MS_DIRSYNC, true, Some(c"dirsync")),
            "mand" => (MS_MANDLOCK, true, Some(c"mand")),
            "nomand" => (MS_MANDLOCK, false, Some(c"mand")),
            "lazytime" => (MS_LAZYTIME, true, Some(c"lazytime")),
            "nolazytime" => (MS_LAZYTIME, false, Some(c"lazytime")),
            "iversion" => (MS_I_VERSION, true, None),
            "noiversion" => (MS_I_VERSION, false, None),
            "silent" => (MS_SILENT, true, None),
            "loud" => (MS_SILENT, false, None),
            _ => return false,
        };
        self.super_flags = if on { self.super_flags | flag } else { self.super_flags & !flag };
        self.super_names.retain(|known| Some(*known) != name);
        self.super_names.extend(name.filter(|_| on));
        true
    }
}

fn attribute(attributes: &mut Attributes, option: &str) -> bool {
    match option {
        "ro" => attributes.set(ATTR_RDONLY),
        "rw" => attributes.clear(ATTR_RDONLY),
        "nosuid" => attributes.set(ATTR_NOSUID),
        "suid" => attributes.clear(ATTR_NOSUID),
        "nodev" => attributes.set(ATTR_NODEV),
        "dev" => attributes.clear(ATTR_NODEV),
        "noexec" => attributes.set(ATTR_NOEXEC),
        "exec" => attributes.clear(ATTR_NOEXEC),
        "nodiratime" => attributes.set(ATTR_NODIRATIME),
        "diratime" => attributes.clear(ATTR_NODIRATIME),
        "nosymfollow" => attributes.set(ATTR_NOSYMFOLLOW),
        "symfollow" => attributes.clear(ATTR_NOSYMFOLLOW),
        "noatime" => attributes.atime(ATTR_NOATIME),
        "strictatime" => attributes.atime(ATTR_STRICTATIME),
        // What is neither never nor always is relative: Linux 2.6.30 made it the default, so that mount(2) without any
        // flag, which is all that "norelatime" can ask of it, gives relative times too.
        "atime" | "relatime" | "norelatime" | "nostrictatime" => attributes.atime(ATTR_RELATIME),
        _ => return false,
    }
    true
}

/// The change of propagation that a word asks for, as in `rslave`.
pub(crate) fn propagation(word: &str) -> Option<Propagation> {
    let (kind, recursive) = match word {
        "shared" => (MS_SHARED, false),
        "rshared" => (MS_SHARED, true),
        "slave" => (MS_SLAVE, false),
        "rslave" => (MS_SLAVE, true),
        "private" => (MS_PRIVATE, false),
        "rprivate" => (MS_PRIVATE, true),
        "unbindable" => (MS_UNBINDABLE, false),
        "runbindable" => (MS_UNBINDABLE, true),
        _ => return None,
    };
    Some(Propagation { kind, recursive })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> MountOptions {
        MountOptions::parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_known_option_is_understood() {
        for option in KNOWN_OPTIONS {
            assert!(parse(&[option]).data.is_empty(), "{option}");
        }
    }

    #[test]
    fn recursive_binds_stay_recursive() {
        assert_eq!(parse(&["rbind", "bind"]).bind, Bind::Tree);
        assert_eq!(parse(&["bind", "rbind"]).bind, Bind::Tree);
        assert_eq!(parse(&["bind"]).bind, Bind::Mount);
    }

    #[test]
    fn later_options_win() {
        let parsed = parse(&["ro", "rw", "nosuid", "noatime", "relatime"]);
        assert_eq!(parsed.attributes.set, ATTR_NOSUID);
        assert_eq!(parsed.attributes.clear, ATTR_RDONLY | ATTR_ATIME);
    }

    #[test]
    fn access_times_are_relative_unless_said_otherwise() {
        for option in ["atime", "relatime", "norelatime", "nostrictatime"] {
            let both = parse(&[option, &format!("r{option}")]);
            let relative = Attributes { set: ATTR_RELATIME, clear: ATTR_ATIME };
            assert_eq!((both.attributes, both.recursive), (relative, relative), "{option}");
        }
    }

    #[test]
    fn recursive_options_do_not_swallow_plain_ones() {
        let parsed = parse(&["rro", "relatime", "rw", "ratime", "rnosuid"]);
        assert_eq!(parsed.recursive.set, ATTR_RDONLY | ATTR_NOSUID);
        assert_eq!(parsed.attributes.clear, ATTR_RDONLY | ATTR_ATIME);
    }

    #[test]
    fn unknown_options_are_the_file_systems() {
        assert_eq!(parse(&["size=64k", "mode=755", "rsize=1"]).data, ["size=64k", "mode=755", "rsize=1"]);
    }
}
