//! One mount of the container, from the plan to its place.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use gantry_sys::Errno;
use gantry_sys::features::{Feature, has};
use gantry_sys::mount::{
    ATTR_ATIME, ATTR_NOATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID, ATTR_NOSYMFOLLOW,
    ATTR_RDONLY, ATTR_STRICTATIME, MountAttr, Scope, mount_setattr,
};
use gantry_sys::path::{FdPath, Missing, ensure, open_in_root};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, fstatfs, mkdirat, openat, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    mount_remount, move_mount, open_tree,
};

use crate::plan::mounts::{
    CgroupMount, LegacyHierarchy, MountKind, MountPlan, Parameter, is_directory, settle_tree,
};
use crate::plan::options::{Attributes, Propagation};
use crate::plan::rootfs::RootfsPlan;

/// The type of a procfs, of statfs(2).
pub(super) const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// The mode of directories that the runtime makes.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// Makes one mount below `root`.
pub(crate) fn attach(
    root: BorrowedFd<'_>,
    plan: &MountPlan,
    bind_propagation: Option<u64>,
) -> Result<(), Errno> {
    match &plan.kind {
        MountKind::Link(target) => link(root, plan, target),
        MountKind::Remount => {
            let mount = open_in_root(root, &plan.target, OFlags::PATH)?;
            apply(mount.as_fd(), plan)
        }
        MountKind::Bind { tree, source, recursive, nofollow, inside, .. } => {
            let opened;
            let tree = match tree {
                Some(tree) => tree,
                None if *inside => {
                    let mut flags = OFlags::PATH;
                    flags.set(OFlags::NOFOLLOW, *nofollow);
                    opened = clone_tree(open_in_root(root, source, flags)?.as_fd(), *recursive)?;
                    &opened
                }
                None => {
                    opened = bind_source(source, *recursive, *nofollow)?;
                    &opened
                }
            };
            let missing = if is_directory(tree)? { Missing::Directory } else { Missing::File };
            let target = open_target(root, plan, missing)?;
            place(tree.as_fd(), target.as_fd())?;
            if !has(Feature::MountSetattr)
                && let Some(kind) = bind_propagation
            {
                change_propagation(tree.as_fd(), Propagation { kind, recursive: *recursive })?;
            }
            apply(tree.as_fd(), plan)
        }
        MountKind::FileSystem { fstype, parameters, copy_up } => {
            let mode = covered_mode(root, plan, fstype, parameters, *copy_up);
            let target = open_target(root, plan, Missing::Directory)?;
            file_system(plan, (fstype, parameters), *copy_up, mode, target)
        }
        MountKind::Legacy { fstype, source, flags, data } => {
            let target = open_target(root, plan, Missing::Directory)?;
            let flags = MountFlags::from_bits_retain(*flags as u32);
            inside(target.as_fd(), || {
                rustix::mount::mount(source.as_c_str(), c".", fstype.as_c_str(), flags, Some(data.as_c_str()))
            })?;
            apply(mounted_on(root, plan)?.as_fd(), plan)
        }
        MountKind::Overlay { lower, rest } => {
            let target = open_target(root, plan, Missing::Directory)?;
            overlay(lower, rest, target)?;
            apply(mounted_on(root, plan)?.as_fd(), plan)
        }
        MountKind::Cgroup(cgroup) => {
            let target = open_target(root, plan, Missing::Directory)?;
            cgroups(cgroup, plan, target)
        }
    }
}

/// Makes a call with a directory as the working one: for calls that know only paths. A path of /proc would not do, as
/// that is the container's when a running one gets a mount; and hooks are to find the working directory as it was.
fn inside(directory: BorrowedFd<'_>, call: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The root of a user namespace may not look into the caller's directory, such as /root, nor go back to it: it gets
    // the root instead.
    let before = openat(CWD, c".", flags, Mode::empty());
    rustix::process::fchdir(directory)?;
    let done = call();
    before.and_then(rustix::process::fchdir).or_else(|_| rustix::process::chdir(c"/"))?;
    done
}

/// Makes a call that knows only paths with a mount: a directory as the working one, a file by /proc.
fn by_path(mount: BorrowedFd<'_>, call: impl FnOnce(&CStr) -> Result<(), Errno>) -> Result<(), Errno> {
    if is_directory(mount)? { inside(mount, || call(c".")) } else { call(FdPath::new(mount).as_cstr()) }
}

/// Opens where a mount goes, making it where it is missing.
fn open_target(root: BorrowedFd<'_>, plan: &MountPlan, missing: Missing) -> Result<OwnedFd, Errno> {
    if plan.strict_target {
        return strict_target(root, &plan.target);
    }
    let target = if plan.target_nofollow {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        match open_in_root(root, &plan.target, flags) {
            Err(Errno::NOENT) => ensure(root, &plan.target, missing)?,
            found => found?,
        }
    } else {
        ensure(root, &plan.target, missing)?
    };
    // Whatever name led there: nothing is mounted over a part of /proc, on which the container's confinement rests
    // (CVE-2019-19921), but for the files that the plan allows.
    if !plan.on_proc && fstatfs(&target)?.f_type as u64 == PROC_SUPER_MAGIC {
        let over_root = plan.target.as_bytes() == b"/proc";
        if !over_root {
            return Err(Errno::ACCESS);
        }
    }
    Ok(target)
}

/// Opens the target of /proc or /sys, which must be a plain directory of the root, after making it.
fn strict_target(root: BorrowedFd<'_>, target: &CStr) -> Result<OwnedFd, Errno> {
    let path = target.to_bytes();
    let name = &path[1..];
    if name.is_empty() || name.contains(&b'/') {
        // Not at the top: the ordinary rules do.
        return ensure(root, target, Missing::Directory);
    }
    // Behind the slash the string is the name, and ends with the same NUL.
    let name = CStr::from_bytes_with_nul(&target.to_bytes_with_nul()[1..]).map_err(|_| Errno::INVAL)?;
    match mkdirat(root, name, DIRECTORY_MODE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(Errno::ROFS) => {}
        Err(errno) => return Err(errno),
    }
    let fd = openat(root, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
        FileType::Directory => Ok(fd),
        FileType::Symlink => Err(Errno::LOOP),
        _ => Err(Errno::NOTDIR),
    }
}

/// Attaches a detached tree to a directory or file.
pub(super) fn place(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", target, c"", flags)
}

/// A detached copy of the mount or tree that `fd` is in, from `fd` on.
pub(super) fn clone_tree(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(fd, c"", flags)
}

/// Replaces the parent's trees by clones of the same mounts in the caller's namespace, of a user namespace's own.
///
/// Flags and mounts that the kernel locked when it copied the namespace stay locked in those: else the container's root
/// could make a read-only source of the host writable, or unmount what covers a directory. Id-mapped trees, and those
/// that the caller cannot reach by their paths, stay as the parent opened them.
pub(super) fn own_trees(plan: &RootfsPlan, propagation: Option<u64>) -> Result<(), Errno> {
    if let Some(tree) = &plan.tree {
        own_tree(tree, &plan.path, (true, false), Some(plan.host_propagation))?;
    }
    for mount in &plan.mounts {
        if let MountKind::Bind { tree: Some(tree), source, recursive, nofollow, mapped: false, .. } =
            &mount.kind
        {
            own_tree(tree, source, (*recursive, *nofollow), propagation)?;
        }
    }
    Ok(())
}

fn own_tree(
    theirs: &OwnedFd,
    source: &CStr,
    (recursive, nofollow): (bool, bool),
    propagation: Option<u64>,
) -> Result<(), Errno> {
    let Ok(own) = bind_source(source, recursive, nofollow) else { return Ok(()) };
    let (old, new) = (fstat(theirs)?, fstat(&own)?);
    if (old.st_dev, old.st_ino) != (new.st_dev, new.st_ino) {
        // Somebody swapped it meanwhile.
        return Ok(());
    }
    settle_tree(&own, recursive, propagation)?;
    gantry_sys::process::dup_onto(own.as_fd(), theirs.as_raw_fd())
}

fn bind_source(source: &CStr, recursive: bool, nofollow: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, nofollow);
    open_tree(CWD, source, flags)
}

/// The mount that now covers the plan's target.
fn mounted_on(root: BorrowedFd<'_>, plan: &MountPlan) -> Result<OwnedFd, Errno> {
    open_in_root(root, &plan.target, OFlags::PATH)
}

/// Sets the attributes and the propagation that the options ask for.
fn apply(mount: BorrowedFd<'_>, plan: &MountPlan) -> Result<(), Errno> {
    if has(Feature::MountSetattr) {
        let single = single_change(plan);
        set(mount, plan.attributes, single.map_or(0, |change| change.kind), Scope::Mount)?;
        set(mount, plan.recursive, 0, Scope::Tree)?;
        for change in plan.propagation.iter().filter(|_| single.is_none()) {
            change_propagation(mount, *change)?;
        }
        return Ok(());
    }
    if !plan.recursive.is_empty() {
        return Err(Errno::NOSYS);
    }
    if !plan.attributes.is_empty() {
        remount(mount, plan.attributes)?;
    }
    plan.propagation.iter().try_for_each(|change| change_propagation(mount, *change))
}

/// The only change of propagation, where it goes along with the mount's own attributes.
fn single_change(plan: &MountPlan) -> Option<Propagation> {
    match plan.propagation.as_slice() {
        [change] if !change.recursive => Some(*change),
        _ => None,
    }
}

fn set(mount: BorrowedFd<'_>, attributes: Attributes, propagation: u64, scope: Scope) -> Result<(), Errno> {
    if attributes.is_empty() && propagation == 0 {
        return Ok(());
    }
    let attr = MountAttr { attr_set: attributes.set, attr_clr: attributes.clear, propagation, userns_fd: 0 };
    mount_setattr(mount, &attr, scope)
}

pub(super) fn change_propagation(mount: BorrowedFd<'_>, change: Propagation) -> Result<(), Errno> {
    if has(Feature::MountSetattr) {
        let scope = if change.recursive { Scope::Tree } else { Scope::Mount };
        let attr = MountAttr { propagation: change.kind, ..MountAttr::default() };
        return mount_setattr(mount, &attr, scope);
    }
    let mut flags = MountPropagationFlags::from_bits_retain(change.kind as u32);
    flags.set(MountPropagationFlags::REC, change.recursive);
    by_path(mount, |path| mount_change(path, flags))
}

/// Changes attributes by mount(2), for kernels before 5.12. What is not named stays.
pub(super) fn remount(mount: BorrowedFd<'_>, attributes: Attributes) -> Result<(), Errno> {
    /// An attribute, its flag for mount(2), and the one that statfs(2) reports.
    const TABLE: [(u64, u64, u64); 7] = [
        (ATTR_RDONLY, 0x1, 0x1),
        (ATTR_NOSUID, 0x2, 0x2),
        (ATTR_NODEV, 0x4, 0x4),
        (ATTR_NOEXEC, 0x8, 0x8),
        (ATTR_NOATIME, 0x400, 0x400),
        (ATTR_NODIRATIME, 0x800, 0x800),
        (ATTR_NOSYMFOLLOW, 0x100, 0x2000),
    ];
    const MS_NOATIME: u64 = 0x400;
    const MS_STRICTATIME: u64 = 1 << 24;
    const MS_RELATIME: u64 = 1 << 21;
    const ST_RELATIME: u64 = 0x1000;
    let now = rustix::fs::fstatvfs(mount)?.f_flag.bits();
    let (mut flags, mut expected) = (0, 0);
    for (attribute, flag, reported) in TABLE {
        let wanted = attributes.set & attribute != 0;
        if wanted || now & reported != 0 && attributes.clear & attribute == 0 {
            flags |= flag;
        }
        if wanted {
            expected |= reported;
        }
    }
    if attributes.clear & ATTR_ATIME == ATTR_ATIME {
        let strict = attributes.set & ATTR_ATIME == ATTR_STRICTATIME;
        flags |= if strict {
            MS_STRICTATIME
        } else if flags & MS_NOATIME == 0 {
            MS_RELATIME
        } else {
            0
        };
    } else if now & ST_RELATIME != 0 {
        flags |= MS_RELATIME;
    }
    let flags = MountFlags::BIND | MountFlags::from_bits_retain(flags as u32);
    by_path(mount, |path| mount_remount(path, flags, c""))?;
    // The path of a file went through a /proc that may be the container's and no procfs at all.
    let done = rustix::fs::fstatvfs(mount)?.f_flag.bits() & expected == expected;
    if done { Ok(()) } else { Err(Errno::XDEV) }
}

fn link(root: BorrowedFd<'_>, plan: &MountPlan, target: &CStr) -> Result<(), Errno> {
    let path = plan.target.as_bytes();
    let slash = path.iter().rposition(|&b| b == b'/').unwrap_or(0);
    let dir = gantry_sys::path::make_dirs(root, &path[..slash])?;
    let name =
        CStr::from_bytes_with_nul(&plan.target.as_bytes_with_nul()[slash + 1..]).map_err(|_| Errno::INVAL)?;
    match symlinkat(target, &dir, name) {
        Err(Errno::EXIST) if rustix::fs::readlinkat(&dir, name, Vec::new())?.as_c_str() == target => Ok(()),
        result => result,
    }
}

/// Makes a file system that is not attached anywhere yet.
pub(super) fn detached(fstype: &CStr, parameters: &[Parameter], attributes: u64) -> Result<OwnedFd, Errno> {
    detached_with(fstype, parameters, None, attributes)
}

fn detached_with(
    fstype: &CStr,
    parameters: &[Parameter],
    mode: Option<&CStr>,
    attributes: u64,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for parameter in parameters {
        match &parameter.value {
            Some(value) => fsconfig_set_string(context.as_fd(), parameter.key.as_c_str(), value.as_c_str())?,
            None => fsconfig_set_flag(context.as_fd(), parameter.key.as_c_str())?,
        }
    }
    if let Some(mode) = mode {
        fsconfig_set_string(context.as_fd(), c"mode", mode)?;
    }
    fsconfig_create(context.as_fd())?;
    let flags = MountAttrFlags::from_bits_retain(attributes as u32);
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// The mode that a tmpfs takes over from the directory that it covers, where no option says another: as runc has it.
fn covered_mode(
    root: BorrowedFd<'_>,
    plan: &MountPlan,
    fstype: &CStr,
    parameters: &[Parameter],
    copy_up: bool,
) -> Option<CString> {
    /// What a tmpfs has by itself.
    const TMPFS_MODE: u32 = 0o1777;
    let given = || parameters.iter().any(|parameter| parameter.key.as_c_str() == c"mode");
    if fstype != c"tmpfs" || copy_up || given() {
        return None;
    }
    let directory = open_in_root(root, &plan.target, OFlags::PATH | OFlags::DIRECTORY).ok()?;
    let mode = fstat(&directory).ok()?.st_mode & 0o7777;
    if mode == TMPFS_MODE {
        return None;
    }
    CString::new(format!("{mode:o}")).ok()
}

fn file_system(
    plan: &MountPlan,
    (fstype, parameters): (&CStr, &[Parameter]),
    copy_up: bool,
    mode: Option<CString>,
    target: OwnedFd,
) -> Result<(), Errno> {
    // fsmount(2) takes all attributes but the newest; a tmpfs that is to be filled is read-only only then.
    let late = if copy_up { ATTR_RDONLY } else { 0 } | ATTR_NOSYMFOLLOW;
    let mount = match detached_with(fstype, parameters, mode.as_deref(), plan.attributes.set & !late) {
        // A user namespace that owns neither the network nor all of sysfs: the host's, read-only, as crun does.
        Err(Errno::PERM) if fstype == c"sysfs" => {
            let tree = bind_source(c"/sys", true, false)?;
            place(tree.as_fd(), target.as_fd())?;
            return apply(tree.as_fd(), plan);
        }
        mount => mount?,
    };
    if copy_up {
        copy_directory(target.as_fd(), mount.as_fd(), parameters)?;
    }
    place(mount.as_fd(), target.as_fd())?;
    finish(mount.as_fd(), plan, late)
}

/// Sets what a new mount was not made with: the attributes in `late`, recursive ones, and propagation.
fn finish(mount: BorrowedFd<'_>, plan: &MountPlan, late: u64) -> Result<(), Errno> {
    let rest = Attributes { set: plan.attributes.set & late, clear: 0 };
    if !rest.is_empty() {
        if has(Feature::MountSetattr) { set(mount, rest, 0, Scope::Mount)? } else { remount(mount, rest)? }
    }
    if !plan.recursive.is_empty() {
        if !has(Feature::MountSetattr) {
            return Err(Errno::NOSYS);
        }
        set(mount, plan.recursive, 0, Scope::Tree)?;
    }
    plan.propagation.iter().try_for_each(|change| change_propagation(mount, *change))
}

/// Copies what a directory holds into a file system that is to cover it (tmpcopyup), and the directory's own owner and
/// mode unless a parameter sets them.
fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, parameters: &[Parameter]) -> Result<(), Errno> {
    let stat = fstat(from)?;
    let given = |key: &CStr| parameters.iter().any(|parameter| parameter.key.as_c_str() == key);
    if !given(c"uid") && !given(c"gid") {
        chown(to, c"", &stat)?;
    }
    if !given(c"mode") {
        let dir = openat(to, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    }
    super::dev::copy_entries(from, to, 0)
}

pub(super) fn chown(dir: BorrowedFd<'_>, name: &CStr, stat: &rustix::fs::Stat) -> Result<(), Errno> {
    use rustix::fs::{AtFlags, Gid, Uid, chownat};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    chownat(dir, name, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)), flags)
}

/// An overlay whose layers' paths are together longer than mount(2) takes.
fn overlay(lower: &[std::ffi::CString], rest: &[Parameter], target: OwnedFd) -> Result<(), Errno> {
    if has(Feature::OverlayLowerdirAppend) {
        let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for layer in lower {
            fsconfig_set_string(context.as_fd(), c"lowerdir+", layer.as_c_str())?;
        }
        for parameter in rest {
            match &parameter.value {
                Some(value) => {
                    fsconfig_set_string(context.as_fd(), parameter.key.as_c_str(), value.as_c_str())?
                }
                None => fsconfig_set_flag(context.as_fd(), parameter.key.as_c_str())?,
            }
        }
        fsconfig_create(context.as_fd())?;
        let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        return place(mount.as_fd(), target.as_fd());
    }
    // Descriptors make each layer's path 17 bytes long, so that a page holds more than 200 of them.
    let layers = lower
        .iter()
        .map(|layer| openat(CWD, layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut data = b"lowerdir=".to_vec();
    for (index, layer) in layers.iter().enumerate() {
        if index > 0 {
            data.push(b':');
        }
        data.extend_from_slice(FdPath::new(layer.as_fd()).as_cstr().to_bytes());
    }
    for parameter in rest {
        data.push(b',');
        data.extend_from_slice(parameter.key.as_bytes());
        if let Some(value) = &parameter.value {
            data.push(b'=');
            data.extend_from_slice(value.as_bytes());
        }
    }
    data.push(0);
    let data = CStr::from_bytes_with_nul(&data).map_err(|_| Errno::INVAL)?;
    let mount = || rustix::mount::mount(c"overlay", c".", c"overlay", MountFlags::empty(), Some(data));
    inside(target.as_fd(), mount)
}

/// The cgroup file system, or the directory of file systems, of the container.
fn cgroups(cgroup: &CgroupMount, plan: &MountPlan, target: OwnedFd) -> Result<(), Errno> {
    match cgroup {
        CgroupMount::Unified { fallback } => {
            match detached(c"cgroup2", &[], plan.attributes.set & !ATTR_NOSYMFOLLOW) {
                // Not without a cgroup namespace of one's own in a user namespace.
                Err(Errno::PERM | Errno::BUSY) => {
                    let tree = bind_source(fallback, true, false)?;
                    place(tree.as_fd(), target.as_fd())?;
                    apply(tree.as_fd(), plan)
                }
                mount => {
                    let mount = mount?;
                    place(mount.as_fd(), target.as_fd())?;
                    finish(mount.as_fd(), plan, ATTR_NOSYMFOLLOW)
                }
            }
        }
        CgroupMount::Legacy { hierarchies, links, own_namespace } => {
            let text =
                |key: &CStr, value: &CStr| Parameter { key: key.to_owned(), value: Some(value.to_owned()) };
            let parameters = [text(c"source", c"tmpfs"), text(c"mode", c"755")];
            let top = detached(c"tmpfs", &parameters, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)?;
            place(top.as_fd(), target.as_fd())?;
            for hierarchy in hierarchies {
                legacy_hierarchy(top.as_fd(), hierarchy, plan, *own_namespace)?;
            }
            for (name, to) in links {
                symlinkat(to.as_c_str(), &top, name.as_c_str())?;
            }
            apply(top.as_fd(), plan)
        }
    }
}

fn legacy_hierarchy(
    top: BorrowedFd<'_>,
    hierarchy: &LegacyHierarchy,
    plan: &MountPlan,
    own_namespace: bool,
) -> Result<(), Errno> {
    mkdirat(top, &hierarchy.name, DIRECTORY_MODE)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = openat(top, &hierarchy.name, flags, Mode::empty())?;
    let attributes = plan.attributes.set & !ATTR_NOSYMFOLLOW;
    let mount = if own_namespace {
        detached(hierarchy.fstype, &hierarchy.parameters, attributes)?
    } else {
        let tree = match bind_source(&hierarchy.bind_source, true, false) {
            // An ordinary user's container has no cgroup where none is delegated: there is nothing to see.
            Err(Errno::NOENT) => return Ok(()),
            tree => tree?,
        };
        let wanted = Attributes { set: attributes, clear: 0 };
        if has(Feature::MountSetattr) {
            set(tree.as_fd(), wanted, 0, Scope::Mount)?;
        }
        tree
    };
    place(mount.as_fd(), target.as_fd())?;
    if !own_namespace && !has(Feature::MountSetattr) {
        remount(mount.as_fd(), Attributes { set: attributes, clear: 0 })?;
    }
    Ok(())
}
