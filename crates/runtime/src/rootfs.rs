//! The root file system's own mounts, as an engine's snapshotter names them: an overlay, a bind mount, a file system.
//!
//! They are made inside the container's mount namespace alone ([`tree`]), so that nothing appears on the host, nothing
//! has to be unmounted, and nothing stays behind a crash. Where the host must see the root ([`Place::of`]) they are
//! mounted on the bundle's directory ([`mount`]).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use gantry_sys::Errno;
use gantry_sys::features::{Feature, has};
use gantry_sys::mount::{ATTR_RDONLY, MountAttr, Scope, mount_setattr};
use gantry_types::oci::{Mount, Spec};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

use crate::error::Error;
use crate::mapped;
use crate::plan::c_string;
use crate::plan::mounts::{MAX_PARAMETER, MountKind, Parameter, overlay, parameters};
use crate::plan::options::{Bind, MountOptions};

/// The option of an overlay whose upper layer is kept in the container's ids, as its lower ones are: beside `uidmap=` and
/// `gidmap=`, which alone map the lower layers, as containerd's snapshotters mean them. Not for the kernel.
pub const MAPPED_WHOLE: &str = mapped::ALL;

/// How many mounts a root may be made of.
const MAX_ROOT_MOUNTS: usize = 64;
/// How many mounts may lie on one directory.
const MAX_STACKED: usize = 256;

/// Where a root's mounts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the container's mount namespace.
    Container,
    /// On the bundle's directory, for all to see.
    Host,
}

impl Place {
    /// Where the mounts of this configuration's root go: on the host if a hook of the host's looks at them, or if there
    /// is no namespace to make them in.
    pub fn of(spec: &Spec, mounts: &[Mount]) -> Self {
        let hooks = spec.hooks.as_ref().is_some_and(|hooks| {
            !(hooks.prestart.is_empty() && hooks.create_runtime.is_empty() && hooks.poststop.is_empty())
        });
        let namespaces = spec.linux.as_ref().map(|linux| linux.namespaces.as_slice()).unwrap_or_default();
        let own = namespaces.iter().any(|namespace| namespace.type_ == "mount" && namespace.path.is_empty());
        if hooks || !own || mounts.len() != 1 { Place::Host } else { Place::Container }
    }
}

/// Makes a mount that is attached nowhere; `None` where only mount(2) can make it: options too long for fsconfig(2)
/// on a kernel before 6.7.
///
/// With `uidmap=` and `gidmap=` (`container:host:size`) the ids of an overlay's lower layers, or of a bind mount, are mapped:
/// mount_setattr(2), Linux 5.12, overlays 5.19; the caller has one thread.
///
/// fsopen(2), Linux 5.2; needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// InvalidArgument for options that cannot be; what the kernel refuses.
pub fn tree(mount: &Mount) -> Result<Option<OwnedFd>, Error> {
    let (plain, ids) = match mapped::split(mount)? {
        Some((plain, ids)) => (plain, Some(ids)),
        None => (mount.clone(), None),
    };
    let mount = &plain;
    let options = parse(mount)?;
    if options.bind != Bind::No {
        return bound(mount, &options, ids.as_ref());
    }
    let (lower, rest) = layers(&options)?;
    let make = |lower: &[CString], rest: &[Parameter]| file_system(mount, &options, lower, rest);
    match ids {
        Some(ids) => mapped::Overlay { lower: &lower, rest: &rest, ids: &ids }
            .tree(&|lower, rest| make(lower, rest).map_err(|(_, errno)| errno))
            .map(Some),
        None => make(&lower, &rest).map_err(|(call, errno)| {
            Error::io(format!("rootfs: {call} {} {}", mount.type_, mount.source))(errno)
        }),
    }
}

/// A copy of a directory's mount.
fn bound(mount: &Mount, options: &MountOptions, ids: Option<&mapped::Ids>) -> Result<Option<OwnedFd>, Error> {
    let failed = |call: &str| Error::io(format!("rootfs: {call} {} {}", mount.type_, mount.source));
    let source = c_string(&mount.source, "rootfs.source")?;
    let is_tree = options.bind == Bind::Tree;
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, is_tree);
    let tree = open_tree(CWD, &source, flags).map_err(failed("open_tree"))?;
    if let Some(ids) = ids {
        let scope = if is_tree { Scope::Tree } else { Scope::Mount };
        mapped::map(tree.as_fd(), ids.namespace()?.as_fd(), scope).map_err(failed("MOUNT_ATTR_IDMAP"))?;
    }
    if !options.attributes.is_empty() {
        if !has(Feature::MountSetattr) {
            return Ok(None);
        }
        let attr = MountAttr {
            attr_set: options.attributes.set,
            attr_clr: options.attributes.clear,
            ..MountAttr::default()
        };
        mount_setattr(tree.as_fd(), &attr, Scope::Mount).map_err(failed("mount_setattr"))?;
    }
    Ok(Some(tree))
}

/// A file system that is attached nowhere, or the call that failed; `None` where only mount(2) can make it.
fn file_system(
    mount: &Mount,
    options: &MountOptions,
    lower: &[CString],
    rest: &[Parameter],
) -> Result<Option<OwnedFd>, (&'static str, Errno)> {
    let at = |call: &'static str| move |errno: Errno| (call, errno);
    let text = |text: &str| CString::new(text).map_err(|_| ("fsconfig", Errno::INVAL));
    let long = |parameter: &Parameter| {
        parameter.value.as_ref().is_some_and(|value| value.as_bytes().len() > MAX_PARAMETER)
    };
    let append = has(Feature::OverlayLowerdirAppend);
    let joined = lower.iter().map(|layer| layer.as_bytes().len() + 1).sum::<usize>();
    let too_long = lower.iter().any(|layer| layer.as_bytes().len() > MAX_PARAMETER);
    if rest.iter().any(long) || too_long || !append && joined > MAX_PARAMETER || unnamed(options) {
        return Ok(None);
    }
    let context =
        fsopen(text(&mount.type_)?.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC).map_err(at("fsopen"))?;
    let set =
        |key: &CStr, value: &CStr| fsconfig_set_string(context.as_fd(), key, value).map_err(at("fsconfig"));
    if !mount.source.is_empty() {
        set(c"source", &text(&mount.source)?)?;
    }
    if append {
        lower.iter().try_for_each(|layer| set(c"lowerdir+", layer))?;
    } else if !lower.is_empty() {
        set(c"lowerdir", &joined_layers(lower).map_err(|_| ("fsconfig", Errno::INVAL))?)?;
    }
    for parameter in rest {
        match &parameter.value {
            Some(value) => set(&parameter.key, value)?,
            None => fsconfig_set_flag(context.as_fd(), &*parameter.key).map_err(at("fsconfig"))?,
        }
    }
    for name in &options.super_names {
        fsconfig_set_flag(context.as_fd(), *name).map_err(at("fsconfig"))?;
    }
    if options.attributes.set & ATTR_RDONLY != 0 {
        // The file system's own, as well as the mount's: two mounts of one super block must agree.
        fsconfig_set_flag(context.as_fd(), c"ro").map_err(at("fsconfig"))?;
    }
    fsconfig_create(context.as_fd()).map_err(at("mount"))?;
    let attributes = MountAttrFlags::from_bits_retain(options.attributes.set as u32);
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map(Some).map_err(at("fsmount"))
}

/// Mounts a root on a directory of the host, one mount over the other. If one fails, those before it go.
///
/// # Errors
/// As [`tree`]; ResourceExhausted past 64 mounts.
pub fn mount(target: &Path, mounts: &[Mount]) -> Result<(), Error> {
    if mounts.len() > MAX_ROOT_MOUNTS {
        return Err(Error::config("rootfs", format!("more than {MAX_ROOT_MOUNTS} mounts")));
    }
    for entry in mounts {
        if let Err(error) = mount_one(target, entry) {
            // The first cause matters.
            let _ = remove(target);
            return Err(error);
        }
    }
    Ok(())
}

fn mount_one(target: &Path, mount: &Mount) -> Result<(), Error> {
    let named = || format!("rootfs: mount {} on {}", mount.type_, target.display());
    if let Some(tree) = tree(mount)? {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        return move_mount(&tree, c"", CWD, target, flags).map_err(Error::io(named()));
    }
    let options = parse(mount)?;
    let mut flags = MountFlags::from_bits_retain(options.super_flags as u32);
    flags.set(MountFlags::RDONLY, options.attributes.set & ATTR_RDONLY != 0);
    if options.bind != Bind::No {
        return Err(Error::Unsupported(format!("{}: attributes of bind mounts need Linux 5.12", named())));
    }
    let data = c_string(&options.data.join(","), "rootfs.options")?;
    rustix::mount::mount(mount.source.as_str(), target, mount.type_.as_str(), flags, Some(&*data))
        .map_err(Error::io(named()))
}

/// Unmounts whatever is mounted on a directory; nothing may be.
///
/// umount2(2) with `MNT_DETACH` and `UMOUNT_NOFOLLOW`.
///
/// # Errors
/// What umount2(2) gives.
pub fn remove(target: &Path) -> Result<(), Error> {
    for _ in 0..MAX_STACKED {
        match unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(Error::io(format!("umount {}", target.display()))(errno)),
        }
    }
    Ok(())
}

fn parse(mount: &Mount) -> Result<MountOptions, Error> {
    let mut options = MountOptions::parse(&mount.options);
    if mount.type_ == "bind" && options.bind == Bind::No {
        options.bind = Bind::Mount;
    }
    if mount.type_.is_empty() && options.bind == Bind::No {
        return Err(Error::config("rootfs.type", "neither a type nor a bind option"));
    }
    Ok(options)
}

/// Whether the super block's flags include some that fsconfig(2) has no name for.
fn unnamed(options: &MountOptions) -> bool {
    options.super_flags & !crate::plan::mounts::KNOWN_SUPER != 0
}

/// An overlay's layers, and the other parameters.
fn layers(options: &MountOptions) -> Result<(Vec<CString>, Vec<Parameter>), Error> {
    if !options.data.iter().any(|item| item.starts_with("lowerdir=")) {
        return Ok((Vec::new(), parameters(&options.data, "rootfs.options")?));
    }
    match overlay(&options.data, "rootfs.options")? {
        MountKind::Overlay { lower, rest } => Ok((lower, rest)),
        _ => Ok((Vec::new(), Vec::new())),
    }
}

pub(crate) fn joined_layers(lower: &[CString]) -> Result<CString, Error> {
    let mut joined = Vec::new();
    for (index, layer) in lower.iter().enumerate() {
        if index > 0 {
            joined.push(b':');
        }
        for &byte in layer.as_bytes() {
            if matches!(byte, b':' | b'\\') {
                joined.push(b'\\');
            }
            joined.push(byte);
        }
    }
    CString::new(joined).map_err(|_| Error::config("rootfs.options", "contains a NUL byte"))
}

#[cfg(test)]
mod tests {
    use gantry_types::oci::{Hook, Hooks, Linux, Namespace};

    use super::*;

    #[test]
    fn roots_that_hooks_look_at_are_on_the_host() {
        let namespace = Namespace { type_: "mount".into(), ..Namespace::default() };
        let linux = Linux { namespaces: vec![namespace], ..Linux::default() };
        let mut spec = Spec { linux: Some(linux), ..Spec::default() };
        let one = [Mount::default()];
        assert_eq!(Place::of(&spec, &one), Place::Container);
        assert_eq!(Place::of(&spec, &[Mount::default(), Mount::default()]), Place::Host);
        let hooks = Hooks { poststop: vec![Hook::default()], ..Hooks::default() };
        spec.hooks = Some(hooks);
        assert_eq!(Place::of(&spec, &one), Place::Host);
        assert_eq!(Place::of(&Spec::default(), &one), Place::Host);
    }

    #[test]
    fn layers_are_escaped_again() {
        let lower = [c"/a:b".to_owned(), c"/c\\d".to_owned()];
        assert_eq!(joined_layers(&lower).unwrap().as_c_str(), c"/a\\:b:/c\\\\d");
    }
}
