//! Id maps of user namespaces: user_namespaces(7).

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use gantry_sys::Errno;
use gantry_sys::clone::{CloneArgs, spawn};
use gantry_sys::process::{self, Wait};
use gantry_types::oci::IdMapping;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::Error;
use crate::parent::write_file;
use crate::plan::namespaces::{NEWUSER, check_mapping, is_single, mapping_text};

/// Writes the maps of a process in a new user namespace, by newuidmap(1) and newgidmap(1) where the caller may not
/// write them itself.
pub(crate) fn write_maps(
    pid: i32,
    uid: &[IdMapping],
    gid: &[IdMapping],
    rootless: bool,
) -> Result<(), Error> {
    // Group maps before user maps: with its own map a process could else use the wrong groups.
    write_map(pid, "gid_map", "newgidmap", gid, rootless)?;
    write_map(pid, "uid_map", "newuidmap", uid, rootless)
}

fn write_map(pid: i32, file: &str, helper: &str, ranges: &[IdMapping], rootless: bool) -> Result<(), Error> {
    let path = format!("/proc/{pid}/{file}");
    let text = mapping_text(ranges);
    let direct = write_file(&path, text.as_bytes());
    if direct != Err(Errno::PERM) || !rootless {
        return direct.map_err(Error::io(format!("write {path}")));
    }
    // The caller has no CAP_SETGID: it may map its own id alone, after giving up setgroups(2) (CVE-2014-8989), or have
    // a helper with file capabilities map the ranges of /etc/subuid.
    if is_single(ranges) && file == "gid_map" {
        let path_groups = format!("/proc/{pid}/setgroups");
        write_file(&path_groups, b"deny").map_err(Error::io(format!("write {path_groups}")))?;
        return write_file(&path, text.as_bytes()).map_err(|errno| refused(file, errno));
    }
    run_helper(helper, pid, ranges)
}

/// A map of one id that is not the caller's.
fn refused(file: &str, errno: Errno) -> Error {
    let field = if file == "gid_map" { "linux.gidMappings" } else { "linux.uidMappings" };
    let reason = format!(
        "{}: an ordinary user may map the own id alone, or more by newuidmap and newgidmap",
        crate::error::Failure(errno)
    );
    Error::config(field, reason)
}

fn run_helper(helper: &str, pid: i32, ranges: &[IdMapping]) -> Result<(), Error> {
    let mut command = Command::new(helper);
    command.arg(pid.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
    for range in ranges {
        for number in [range.container_id, range.host_id, range.size] {
            command.arg(OsStr::new(&number.to_string()));
        }
    }
    let output = command.output().map_err(|error| {
        Error::Unsupported(format!(
            "{helper}: {error}; install it (package uidmap) or map one id only, the caller's own"
        ))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let field = if helper == "newgidmap" { "linux.gidMappings" } else { "linux.uidMappings" };
    Err(Error::config(field, format!("{helper} failed: {}", said.trim())))
}

/// A user namespace with these maps and nobody in it, for id-mapped mounts.
///
/// # Privilege
/// `CAP_SETUID` and `CAP_SETGID`.
pub(crate) fn namespace_with(uid: &[IdMapping], gid: &[IdMapping]) -> Result<OwnedFd, Error> {
    check_mapping(uid, "mounts[].uidMappings")?;
    check_mapping(gid, "mounts[].gidMappings")?;
    let (ours, theirs) = crate::sync::pair().map_err(Error::io("socketpair"))?;
    let holder = spawn(&CloneArgs { flags: NEWUSER, cgroup: None }, || {
        // Waits to be killed, by the parent or by the parent's death.
        let _ = process::set_parent_death_signal(9);
        let _ = crate::sync::receive(theirs.as_fd());
        0
    })
    .map_err(Error::io("clone3 of a user namespace for id maps"))?;
    drop(theirs);
    let made = write_maps(holder.pid, uid, gid, false).and_then(|()| {
        let path = format!("/proc/{}/ns/user", holder.pid);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(CWD, &path, flags, Mode::empty()).map_err(Error::io(format!("open {path}")))
    });
    drop(ours);
    let _ = process::pidfd_kill(holder.pidfd.as_fd(), 9);
    process::wait(Wait::Child(holder.pidfd.as_fd())).map_err(Error::io("waitid"))?;
    made
}

/// Maps of crun's option `idmap=uids=FROM-TO-COUNT#...;gids=...`. A range that starts with `@` gives the container's
/// id of the container's own user namespace instead of the host's.
pub(crate) fn parse_option(
    text: &str,
    own: (&Vec<IdMapping>, &Vec<IdMapping>),
) -> Result<(Vec<IdMapping>, Vec<IdMapping>), Error> {
    let bad = |part: &str| {
        Error::config("mounts[].options", format!("idmap: {part:?} is not uids=A-B-C#... or gids=A-B-C#..."))
    };
    let (mut uid, mut gid) = (Vec::new(), Vec::new());
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (key, ranges) = part.split_once('=').ok_or_else(|| bad(part))?;
        let (list, base) = match key {
            "uids" => (&mut uid, own.0),
            "gids" => (&mut gid, own.1),
            _ => return Err(bad(part)),
        };
        for range in ranges.split(['#', ',']).filter(|range| !range.is_empty()) {
            let relative = range.starts_with('@');
            let numbers: Vec<u32> =
                range.trim_start_matches('@').split('-').map_while(|n| n.parse().ok()).collect();
            let [container_id, host_id, size] = numbers[..] else { return Err(bad(range)) };
            let host_id = if relative {
                crate::plan::namespaces::map_id(base, host_id).ok_or_else(|| bad(range))?
            } else {
                host_id
            };
            list.push(IdMapping { container_id, host_id, size });
        }
    }
    Ok((uid, gid))
}
