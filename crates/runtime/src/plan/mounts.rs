//! The configuration's mounts, sorted by how they are made, with the sources of bind mounts opened.
//!
//! Sources are opened here, in the host's mount namespace and with the caller's privileges, as detached trees
//! (open_tree(2)): the child only attaches them. So a container in a user namespace gets sources that its root could
//! not reach, id maps are set where they may be, and nothing can be swapped between a check and its use.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use gantry_sys::Errno;
use gantry_sys::features::{Feature, has};
use gantry_sys::mount::{
    ATTR_IDMAP, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_NOSYMFOLLOW, ATTR_RDONLY, MountAttr, Scope,
    mount_setattr,
};
use gantry_types::oci::Mount;
use rustix::fs::{CWD, FileType, fstat};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::c_string;
use super::options::{Attributes, Bind, IdMap, MountOptions, Propagation};
use crate::error::Error;

/// How many mounts a configuration may have; the kernel's own limit is 100,000 a namespace.
pub(crate) const MAX_MOUNTS: usize = 65_536;
/// The longest value that fsconfig(2) takes.
pub(crate) const MAX_PARAMETER: usize = 255;
/// The longest option string that mount(2) takes: a page, with its end.
const MAX_DATA: usize = 4095;

/// What is mounted, and where.
#[derive(Debug)]
pub(crate) struct MountPlan {
    /// Absolute path in the container.
    pub(crate) target: CString,
    pub(crate) kind: MountKind,
    pub(crate) attributes: Attributes,
    pub(crate) recursive: Attributes,
    pub(crate) propagation: Vec<Propagation>,
    /// The target must be a directory of the root itself, reached through no link: /proc and /sys, on which the
    /// container's confinement rests (CVE-2019-19921, CVE-2023-27561, CVE-2023-28642).
    pub(crate) strict_target: bool,
    /// The target may be a file of a procfs.
    pub(crate) on_proc: bool,
    pub(crate) target_nofollow: bool,
    /// For messages.
    pub(crate) source: String,
}

/// How a mount is made.
#[derive(Debug)]
pub(crate) enum MountKind {
    /// A tree that exists.
    Bind {
        /// The detached tree; `None` when the caller may not open it and the child, in its user namespace, may.
        tree: Option<OwnedFd>,
        source: CString,
        recursive: bool,
        nofollow: bool,
        /// The source is a path in the container's root, of which earlier mounts may have made something else.
        inside: bool,
        /// Whether the tree is id-mapped.
        mapped: bool,
    },
    /// A symbolic link instead of a mount (crun's copy-symlink).
    Link(CString),
    /// Other attributes for a mount that is there.
    Remount,
    /// A file system by fsopen(2).
    FileSystem { fstype: CString, parameters: Vec<Parameter>, copy_up: bool },
    /// A file system by mount(2).
    Legacy { fstype: CString, source: CString, flags: u64, data: CString },
    /// An overlay of layers whose option string is too long for mount(2).
    Overlay { lower: Vec<CString>, rest: Vec<Parameter> },
    /// The cgroup hierarchies.
    Cgroup(CgroupMount),
}

/// A file system's parameter: a flag, or a key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    pub(crate) key: CString,
    pub(crate) value: Option<CString>,
}

/// The container's view of its cgroups.
#[derive(Debug)]
pub(crate) enum CgroupMount {
    /// One file system; the path is bound where a new one may not be mounted.
    Unified { fallback: CString },
    /// A directory of hierarchies.
    Legacy { hierarchies: Vec<LegacyHierarchy>, links: Vec<(CString, CString)>, own_namespace: bool },
}

/// One hierarchy of cgroup v1.
#[derive(Debug)]
pub(crate) struct LegacyHierarchy {
    /// Its directory's name.
    pub(crate) name: CString,
    pub(crate) parameters: Vec<Parameter>,
    /// `cgroup`, or `cgroup2` for the unified tree of a hybrid host.
    pub(crate) fstype: &'static CStr,
    /// The container's directory in it on the host.
    pub(crate) bind_source: CString,
}

/// What mounts need to know of the container.
pub(crate) struct MountContext<'a> {
    pub(crate) bundle: &'a Path,
    /// The root's path on the host.
    pub(crate) root: &'a Path,
    pub(crate) mount_label: &'a str,
    /// The option that takes it.
    pub(crate) label_option: &'static str,
    /// The propagation that bound trees get by default; `None` leaves the host's.
    pub(crate) default_propagation: Option<u64>,
    /// The user namespace for id maps without mappings of their own.
    pub(crate) user_namespace: bool,
    pub(crate) id_maps: &'a mut dyn FnMut(&Mount, &MountOptions) -> Result<OwnedFd, Error>,
    pub(crate) cgroup: &'a dyn Fn() -> Result<CgroupMount, Error>,
}

/// Prepares the mount `index` of the configuration.
pub(crate) fn prepare(
    index: usize,
    mount: &Mount,
    context: &mut MountContext<'_>,
) -> Result<MountPlan, Error> {
    let field = |name: &str| format!("mounts[{index}].{name}");
    let target = clean_target(&mount.destination, &field("destination"))?;
    // Some name the place as the host has it.
    let target = match Path::new(&target).strip_prefix(context.root) {
        Ok(inside) => format!("/{}", inside.display()),
        Err(_) => target,
    };
    let mut options = MountOptions::parse(&mount.options);
    if mount.type_ == "bind" && options.bind == Bind::No {
        options.bind = Bind::Mount;
    }
    if !options.recursive.is_empty() && !has(Feature::MountSetattr) {
        let reason = "attributes for whole trees, such as rro, need Linux 5.12";
        return Err(Error::Unsupported(format!("{}: {reason}", field("options"))));
    }
    if options.bind != Bind::No && !options.remount {
        imply_flags(&mut options.attributes, context.user_namespace);
    }
    let kind = if options.remount {
        MountKind::Remount
    } else if options.bind == Bind::No {
        file_system(index, mount, &options, context)?
    } else {
        bind(index, mount, &options, context)?
    };
    check_proc(index, mount, &target, &kind)?;
    let strict = matches!(mount.type_.as_str(), "proc" | "sysfs") && options.bind == Bind::No;
    Ok(MountPlan {
        on_proc: allowed_on_proc(&target),
        target: c_string(&target, &field("destination"))?,
        kind,
        attributes: options.attributes,
        recursive: options.recursive,
        propagation: options.propagation,
        strict_target: strict,
        target_nofollow: options.target_nofollow,
        source: if mount.source.is_empty() { mount.type_.clone() } else { mount.source.clone() },
    })
}

/// Nothing but a procfs goes to /proc: what the runtime and the programs read there must be the kernel's word
/// (CVE-2019-16884, CVE-2019-19921).
fn check_proc(index: usize, mount: &Mount, target: &str, kind: &MountKind) -> Result<(), Error> {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    if target != "/proc" {
        return Ok(());
    }
    let is_proc = match kind {
        MountKind::FileSystem { .. } | MountKind::Legacy { .. } => mount.type_ == "proc",
        MountKind::Bind { tree: Some(tree), .. } => {
            rustix::fs::fstatfs(tree).is_ok_and(|stat| stat.f_type as u64 == PROC_SUPER_MAGIC)
        }
        MountKind::Bind { source, .. } => {
            rustix::fs::statfs(source).is_ok_and(|stat| stat.f_type as u64 == PROC_SUPER_MAGIC)
        }
        MountKind::Remount => true,
        _ => false,
    };
    if is_proc {
        return Ok(());
    }
    let field = format!("mounts[{index}].destination");
    Err(Error::config(field, "\"/proc\" cannot be mounted because it is not of type proc"))
}

/// Of a bind mount that names flags, the source's others do not hold, as in runc. One that names none keeps them all.
/// In a user namespace it keeps those that the kernel would lock.
fn imply_flags(attributes: &mut Attributes, user_namespace: bool) {
    const LOCKED: u64 = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    if attributes.is_empty() {
        return;
    }
    let implied = if user_namespace { ATTR_NOSYMFOLLOW } else { LOCKED | ATTR_NOSYMFOLLOW };
    attributes.clear |= implied & !attributes.set;
}

/// The destination as an absolute path without `.`, `..` and doubled slashes.
pub(crate) fn clean_target(destination: &str, field: &str) -> Result<String, Error> {
    if destination.is_empty() {
        return Err(Error::config(field, "must not be empty"));
    }
    if destination.len() >= gantry_sys::path::MAX_PATH {
        return Err(Error::config(field, format!("longer than {} bytes", gantry_sys::path::MAX_PATH)));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in destination.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Files of procfs that may be covered: what lxcfs and cAdvisor-like tools replace.
fn allowed_on_proc(target: &str) -> bool {
    matches!(
        target,
        "/proc/cpuinfo"
            | "/proc/diskstats"
            | "/proc/meminfo"
            | "/proc/stat"
            | "/proc/swaps"
            | "/proc/uptime"
            | "/proc/loadavg"
            | "/proc/slabinfo"
            | "/proc/sys/kernel/ns_last_pid"
            | "/proc/sys/crypto/fips_enabled"
    )
}

fn bind(
    index: usize,
    mount: &Mount,
    options: &MountOptions,
    context: &mut MountContext<'_>,
) -> Result<MountKind, Error> {
    let field = format!("mounts[{index}].source");
    if mount.source.is_empty() {
        return Err(Error::config(field, "a bind mount needs one"));
    }
    let source = context.bundle.join(&mount.source);
    let wants_map =
        options.id_map.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    if let Ok(inside) = source.strip_prefix(context.root)
        && !wants_map
        && !options.copy_symlink
    {
        let source = c_string(&clean_target(&format!("/{}", inside.display()), &field)?, &field)?;
        let (recursive, nofollow) = (options.bind == Bind::Tree, options.source_nofollow);
        return Ok(MountKind::Bind { tree: None, source, recursive, nofollow, inside: true, mapped: false });
    }
    let source = c_string(&source.to_string_lossy(), &field)?;
    if options.copy_symlink
        && let Ok(target) = rustix::fs::readlinkat(CWD, &source, Vec::new())
    {
        return Ok(MountKind::Link(target));
    }
    let recursive = options.bind == Bind::Tree;
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, options.source_nofollow);
    let tree = match open_tree(CWD, &source, flags) {
        Ok(tree) => Some(tree),
        // An ordinary user: the child may, in its own mount namespace.
        Err(Errno::PERM) => None,
        Err(errno) => {
            return Err(Error::Init {
                message: format!(
                    "{}error mounting {:?} to rootfs at {:?}: stat {}: {}",
                    crate::init::words::DURING_INIT,
                    mount.source,
                    mount.destination,
                    source.to_string_lossy(),
                    crate::error::Failure(errno)
                ),
                errno,
            });
        }
    };
    if wants_map {
        let Some(tree) = &tree else {
            return Err(Error::Unsupported(format!(
                "mounts[{index}]: id-mapped mounts need CAP_SYS_ADMIN on the host"
            )));
        };
        id_map(index, mount, options, tree, context)?;
    }
    if let Some(tree) = &tree {
        settle_tree(tree, recursive, context.default_propagation)
            .map_err(Error::io(format!("{field}: propagation of {}", mount.source)))?;
    }
    Ok(MountKind::Bind {
        tree,
        source,
        recursive,
        nofollow: options.source_nofollow,
        inside: false,
        mapped: wants_map,
    })
}

/// Takes a tree out of the host's propagation, as a bind mount made in the container's own namespace would be.
pub(crate) fn settle_tree(tree: &OwnedFd, recursive: bool, propagation: Option<u64>) -> Result<(), Errno> {
    let Some(propagation) = propagation else { return Ok(()) };
    let scope = if recursive { Scope::Tree } else { Scope::Mount };
    if !has(Feature::MountSetattr) {
        // Before Linux 5.12 the child does it once the tree is attached.
        return Ok(());
    }
    mount_setattr(tree.as_fd(), &MountAttr { propagation, ..MountAttr::default() }, scope)
}

fn id_map(
    index: usize,
    mount: &Mount,
    options: &MountOptions,
    tree: &OwnedFd,
    context: &mut MountContext<'_>,
) -> Result<(), Error> {
    if !has(Feature::MountSetattr) {
        return Err(Error::Unsupported(format!("mounts[{index}]: id-mapped mounts need Linux 5.12")));
    }
    let has_own = !mount.uid_mappings.is_empty() || options.id_map_text.is_some();
    if !has_own && !context.user_namespace {
        return Err(Error::config(
            format!("mounts[{index}].options"),
            "idmap needs uidMappings and gidMappings, or a user namespace of the container's",
        ));
    }
    let namespace = (context.id_maps)(mount, options)?;
    let scope = if options.id_map == Some(IdMap::Tree) { Scope::Tree } else { Scope::Mount };
    let attr = MountAttr {
        attr_set: ATTR_IDMAP,
        userns_fd: std::os::fd::AsRawFd::as_raw_fd(&namespace) as u64,
        ..MountAttr::default()
    };
    mount_setattr(tree.as_fd(), &attr, scope)
        .map_err(Error::io(format!("mounts[{index}]: failed to set MOUNT_ATTR_IDMAP on {}", mount.source)))
}

fn file_system(
    index: usize,
    mount: &Mount,
    options: &MountOptions,
    context: &MountContext<'_>,
) -> Result<MountKind, Error> {
    let field = |name: &str| format!("mounts[{index}].{name}");
    if mount.type_.is_empty() {
        return Err(Error::config(field("type"), "neither a type nor a bind option"));
    }
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() || options.id_map.is_some() {
        return Err(Error::config(field("uidMappings"), "only bind mounts can be id-mapped"));
    }
    if mount.type_ == "cgroup" || mount.type_ == "cgroup2" {
        return Ok(MountKind::Cgroup((context.cgroup)()?));
    }
    let fstype = c_string(&mount.type_, &field("type"))?;
    let mut data = options.data.clone();
    if !context.mount_label.is_empty() && !matches!(mount.type_.as_str(), "proc" | "sysfs" | "mqueue") {
        data.push(format!("{}=\"{}\"", context.label_option, context.mount_label));
    }
    let native = matches!(mount.type_.as_str(), "tmpfs" | "proc" | "sysfs" | "devpts" | "mqueue" | "ramfs");
    let fits = data.iter().all(|item| item.len() <= MAX_PARAMETER && !item.contains('"'));
    if native && fits && options.super_flags & !KNOWN_SUPER == 0 {
        let mut parameters = parameters(&data, &field("options"))?;
        // Without a name /proc/PID/mountinfo shows "none"; a name too long for fsconfig(2) is nobody's.
        if !mount.source.is_empty() && mount.source.len() <= MAX_PARAMETER {
            let value = Some(c_string(&mount.source, &field("source"))?);
            parameters.push(Parameter { key: c"source".to_owned(), value });
        }
        parameters.extend(
            options.super_names.iter().map(|name| Parameter { key: (*name).to_owned(), value: None }),
        );
        return Ok(MountKind::FileSystem { fstype, parameters, copy_up: options.copy_up });
    }
    let joined = data.join(",");
    if joined.len() > MAX_DATA {
        if mount.type_ == "overlay" {
            return overlay(&data, &field("options"));
        }
        return Err(Error::config(
            field("options"),
            format!("{} bytes are more than the {MAX_DATA} of a page", joined.len()),
        ));
    }
    // mount(2) wants the super block's flags as bits, read-only among them.
    let readonly = u64::from(options.attributes.set & ATTR_RDONLY != 0);
    Ok(MountKind::Legacy {
        fstype,
        source: c_string(&mount.source, &field("source"))?,
        flags: options.super_flags | readonly,
        data: c_string(&joined, &field("options"))?,
    })
}

/// Flags of the super block that have a name for fsconfig(2).
pub(crate) const KNOWN_SUPER: u64 = 16 | 64 | 128 | 1 << 25;

/// Options as parameters of fsconfig(2).
pub(crate) fn parameters(data: &[String], field: &str) -> Result<Vec<Parameter>, Error> {
    data.iter()
        .flat_map(|item| item.split(','))
        .filter(|item| !item.is_empty())
        .map(|item| {
            let (key, value) = item.split_once('=').map_or((item, None), |(key, value)| (key, Some(value)));
            Ok(Parameter {
                key: c_string(key, field)?,
                value: value.map(|v| c_string(v, field)).transpose()?,
            })
        })
        .collect()
}

/// Layers are split at the colons that no backslash precedes, as overlayfs does.
pub(crate) fn overlay(data: &[String], field: &str) -> Result<MountKind, Error> {
    let joined = data.join(",");
    let mut lower = Vec::new();
    let mut rest = Vec::new();
    for item in joined.split(',') {
        let Some(layers) = item.strip_prefix("lowerdir=") else {
            rest.extend(parameters(&[item.to_owned()], field)?);
            continue;
        };
        let mut layer = String::new();
        let mut chars = layers.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => layer.extend(chars.next()),
                ':' => lower.push(c_string(&std::mem::take(&mut layer), field)?),
                c => layer.push(c),
            }
        }
        lower.push(c_string(&layer, field)?);
    }
    Ok(MountKind::Overlay { lower, rest })
}

/// Whether a descriptor is of a directory.
pub(crate) fn is_directory(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_cleaned() {
        for (from, to) in [("/a//b/./c/..", "/a/b"), ("x", "/x"), ("/../../etc", "/etc"), ("/", "/")] {
            assert_eq!(clean_target(from, "f").unwrap(), to);
        }
        assert!(clean_target("", "f").is_err());
        assert!(clean_target(&"/a".repeat(3000), "f").is_err());
    }

    #[test]
    fn flags_of_a_source_hold_unless_a_bind_mount_names_others() {
        let check = |set, clear, user_namespace| {
            let mut attributes = Attributes { set, clear };
            imply_flags(&mut attributes, user_namespace);
            (attributes.set, attributes.clear)
        };
        let all = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_NOSYMFOLLOW;
        assert_eq!(check(0, 0, false), (0, 0));
        assert_eq!(check(ATTR_RDONLY, 0, false), (ATTR_RDONLY, all & !ATTR_RDONLY));
        assert_eq!(check(0, ATTR_NODEV, false), (0, all));
        assert_eq!(check(ATTR_RDONLY, 0, true), (ATTR_RDONLY, ATTR_NOSYMFOLLOW));
    }

    #[test]
    fn long_overlays_are_taken_apart() {
        let long = format!("lowerdir=/a\\:b:/c:{},upperdir=/u", "/l".repeat(2500));
        let MountKind::Overlay { lower, rest } = overlay(&[long], "f").unwrap() else { panic!() };
        assert_eq!(lower[..2], [c"/a:b".to_owned(), c"/c".to_owned()]);
        assert_eq!((lower.len(), rest.len()), (3, 1));
    }
}
