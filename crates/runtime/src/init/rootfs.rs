//! From the host's mounts to the container's root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gantry_sys::features::{Feature, has};
use gantry_sys::mount::{ATTR_RDONLY, MountAttr, Scope, mount_setattr};
use gantry_sys::path::open_in_root;
use gantry_sys::{Errno, process, tty};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, mount_move, move_mount,
    open_tree, unmount,
};

use super::attach::{attach, change_propagation, clone_tree, place, remount};
use super::dev::{empty_file, make_cwd};
use super::{At, Fault, Init, Step};
use crate::plan::options::Attributes;
use crate::plan::rootfs::{Entry, RootfsPlan};
use crate::sync::{Kind, Message, send};

impl Init<'_> {
    /// Makes the root, enters it, and closes off in it what is to be closed.
    pub(super) fn make_root(&mut self, plan: &RootfsPlan) -> Result<(), Fault> {
        // Nodes and directories get the modes that the plan has.
        rustix::process::umask(Mode::empty());
        let root = self.mount_root(plan)?;
        self.failpoint(Step::RootfsMount)?;
        let bind = crate::plan::rootfs::bind_propagation(plan.root_propagation);
        for (index, mount) in plan.mounts.iter().enumerate() {
            attach(root.as_fd(), mount, bind).at_index(Step::Mount, index)?;
        }
        self.failpoint(Step::Mount)?;
        let dev = if plan.fills_dev {
            let dev = self.open_dev(root.as_fd()).at(Step::DevLink)?;
            self.fill_dev(root.as_fd(), dev.as_fd(), plan)?;
            Some(dev)
        } else {
            None
        };
        self.failpoint(Step::Device)?;
        if self.plan.runtime_hooks {
            self.tell(Kind::MountsMade)?;
            self.wait_for(Kind::HooksRun)?;
        }
        if !self.plan.create_container_hooks.is_empty() {
            // Such hooks name files of the container relative to its root.
            rustix::process::fchdir(&root).at(Step::CreateContainerHook)?;
        }
        self.run_create_container_hooks()?;
        make_cwd(root.as_fd(), &self.plan.process.cwd).at(Step::CwdCreate)?;
        let terminal = self.make_terminal(root.as_fd(), dev.as_ref())?;
        let null = host_null().at(Step::MaskedPath)?;
        if plan.entry == Entry::Move {
            hide_bare_mounts(&plan.path).at(Step::Pivot)?;
        }
        enter_root(root.as_fd(), plan.entry).at(Step::Pivot)?;
        drop(root);
        self.failpoint(Step::Pivot)?;
        if let Some(terminal) = terminal {
            take_terminal(terminal.as_fd()).at(Step::Terminal)?;
        }
        self.reopen_null().at(Step::Stdio)?;
        self.settle(plan, null)
    }

    /// Detaches the host's mounts from the container's changes, and mounts the root at its place.
    fn mount_root(&self, plan: &RootfsPlan) -> Result<OwnedFd, Fault> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if plan.entry == Entry::Chroot {
            return openat(CWD, &plan.path, flags, Mode::empty()).at(Step::RootfsMount);
        }
        let host = MountPropagationFlags::REC
            | MountPropagationFlags::from_bits_retain(plan.host_propagation as u32);
        mount_change(c"/", host).at(Step::Propagation)?;
        let tree = match &plan.tree {
            Some(tree) => tree.try_clone().map_err(|_| Errno::MFILE),
            None => {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE
                    | OpenTreeFlags::OPEN_TREE_CLOEXEC
                    | OpenTreeFlags::AT_RECURSIVE;
                open_tree(CWD, &plan.path, flags)
            }
        }
        .at(Step::RootfsMount)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, c"", CWD, &plan.path, flags).at(Step::RootfsMount)?;
        if !has(Feature::MountSetattr) {
            let change = crate::plan::options::Propagation { kind: plan.host_propagation, recursive: true };
            change_propagation(tree.as_fd(), change).at(Step::Propagation)?;
        }
        Ok(tree)
    }

    /// A terminal of the container's own devpts: its master goes to the parent, its slave is the process's.
    fn make_terminal(&self, root: BorrowedFd<'_>, dev: Option<&OwnedFd>) -> Result<Option<OwnedFd>, Fault> {
        if !self.plan.process.terminal {
            return Ok(None);
        }
        let slave = self.open_terminal(root)?;
        if let Some(dev) = dev {
            // The slave was opened from its master, so nobody can have swapped what is bound (CVE-2025-52565).
            let console = empty_file(dev.as_fd(), c"console").at(Step::Console)?;
            let tree = clone_tree(slave.as_fd(), false).at(Step::Console)?;
            place(tree.as_fd(), console.as_fd()).at(Step::Console)?;
        }
        Ok(Some(slave))
    }

    fn open_terminal(&self, root: BorrowedFd<'_>) -> Result<OwnedFd, Fault> {
        const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let devpts = open_in_root(root, c"/dev/pts", flags).at(Step::Terminal)?;
        if rustix::fs::fstatfs(&devpts).at(Step::Terminal)?.f_type as u64 != DEVPTS_SUPER_MAGIC {
            return Err(Errno::NODEV).at(Step::Terminal);
        }
        let pty = tty::open(devpts.as_fd()).at(Step::Terminal)?;
        if let Some((rows, columns)) = self.plan.process.console_size {
            tty::set_size(pty.master.as_fd(), rows, columns).at(Step::Terminal)?;
        }
        if self.plan.process.relayed {
            tty::keep_line_feeds(pty.master.as_fd()).at(Step::Terminal)?;
        }
        send(self.socket, Message::new(Kind::Console), Some(pty.master.as_fd())).at(Step::Terminal)?;
        Ok(pty.slave)
    }

    /// The terminal of a process of exec, in the container's root, which it is in already.
    pub(super) fn exec_terminal(&self) -> Result<(), Fault> {
        if self.plan.process.terminal {
            let root = openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::Terminal)?;
            let slave = self.open_terminal(root.as_fd())?;
            take_terminal(slave.as_fd()).at(Step::Terminal)?;
        }
        Ok(())
    }

    /// Standard streams that are the host's /dev/null become the container's, which leads to none of its mounts.
    fn reopen_null(&self) -> Result<(), Errno> {
        let is_null = |stat: &rustix::fs::Stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice
                && stat.st_rdev == gantry_sys::mount::device_number(1, 3)
        };
        let mut own: Option<OwnedFd> = None;
        for (number, fd) in
            [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()].iter().enumerate()
        {
            if !rustix::fs::fstat(fd).is_ok_and(|stat| is_null(&stat)) {
                continue;
            }
            if own.is_none() {
                let flags =
                    OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
                match openat(CWD, c"/dev/null", flags, Mode::empty()) {
                    // Only a true one will do; a container without one keeps the host's.
                    Ok(file) if is_null(&rustix::fs::fstat(&file)?) => {
                        rustix::fs::fcntl_setfl(&file, OFlags::RDWR)?;
                        own = Some(file);
                    }
                    Ok(_) | Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS) => return Ok(()),
                    Err(errno) => return Err(errno),
                }
            }
            if let Some(own) = &own {
                process::dup_onto(own.as_fd(), number as i32)?;
            }
        }
        Ok(())
    }

    /// The steps inside the root, with the container's paths.
    fn settle(&self, plan: &RootfsPlan, null: Option<OwnedFd>) -> Result<(), Fault> {
        let root = openat(CWD, c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at(Step::Pivot)?;
        if let Some(name) = &self.plan.hostname {
            rustix::system::sethostname(name).at(Step::Hostname)?;
        }
        if let Some(name) = &self.plan.domainname {
            process::set_domainname(name).at(Step::Domainname)?;
        }
        self.write_sysctls(root.as_fd(), plan)?;
        super::mask::readonly(root.as_fd(), plan)?;
        super::mask::masked(root.as_fd(), plan, null)?;
        if plan.readonly_dev {
            let dev = open_in_root(root.as_fd(), c"/dev", OFlags::PATH).at(Step::DevLink)?;
            set_readonly(dev.as_fd()).at(Step::DevLink)?;
        }
        if plan.readonly {
            set_readonly(root.as_fd()).at(Step::ReadonlyRoot)?;
        }
        if let Some(change) = plan.root_propagation {
            change_propagation(root.as_fd(), change).at(Step::RootPropagation)?;
        }
        self.failpoint(Step::MaskedPath)
    }
}

/// The host's /dev/null as a detached mount, for masking files: the container's own could be anything
/// (CVE-2025-31133).
fn host_null() -> Result<Option<OwnedFd>, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let null = match open_tree(CWD, c"/dev/null", flags) {
        Err(Errno::NOENT) => return Ok(None),
        null => null?,
    };
    let stat = rustix::fs::fstat(&null)?;
    let true_null = rustix::fs::FileType::from_raw_mode(stat.st_mode)
        == rustix::fs::FileType::CharacterDevice
        && stat.st_rdev == gantry_sys::mount::device_number(1, 3);
    Ok(Some(null).filter(|_| true_null))
}

fn enter_root(root: BorrowedFd<'_>, entry: Entry) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    match entry {
        Entry::Pivot => {
            // The old root comes to lie on the new one, at the current directory: pivot_root(2), pivot_root(".", ".").
            rustix::process::pivot_root(c".", c".")?;
            unmount(c".", UnmountFlags::DETACH)?;
        }
        Entry::Move => {
            mount_move(c".", c"/")?;
            rustix::process::chroot(c".")?;
        }
        Entry::Chroot => rustix::process::chroot(c".")?,
    }
    rustix::process::chdir(c"/")
}

/// Takes away or covers the host's procfs and sysfs, which stay in the namespace when a root is moved over `/`: a user
/// namespace in the container may mount its own, unmasked, as long as an unmasked one is there, and
/// runc does so, too.
fn hide_bare_mounts(root: &std::ffi::CStr) -> Result<(), Errno> {
    let table = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut bare: Vec<Vec<u8>> = table
        .split(|&b| b == b'\n')
        .filter_map(bare_mount)
        .filter(|point| !is_below(point, root.to_bytes()))
        .collect();
    // The last mount is the first to go.
    bare.reverse();
    for point in &bare {
        match unmount(point.as_slice(), UnmountFlags::DETACH) {
            // Another mount holds it, or it is locked.
            Err(Errno::INVAL | Errno::PERM) => {
                let flags = rustix::mount::MountFlags::empty();
                rustix::mount::mount(c"tmpfs", point.as_slice(), c"tmpfs", flags, None)?;
            }
            result => result?,
        }
    }
    Ok(())
}

fn is_below(point: &[u8], root: &[u8]) -> bool {
    point.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The mount point of a line of proc_pid_mountinfo(5), if a procfs or sysfs is mounted there.
fn bare_mount(line: &[u8]) -> Option<Vec<u8>> {
    let point = line.split(|&b| b == b' ').nth(4)?;
    let mut after = line.split(|&b| b == b' ').skip_while(|field| *field != b"-").skip(1);
    matches!(after.next()?, b"proc" | b"sysfs").then(|| unescape(point))
}

/// Blanks and backslashes are in octal.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits =
            after.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match digits {
            Some(digits) => {
                out.push(digits.iter().fold(0u8, |n, d| n.wrapping_mul(8).wrapping_add(d - b'0')));
                rest = &after[3..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

fn set_readonly(root: BorrowedFd<'_>) -> Result<(), Errno> {
    let attributes = Attributes { set: ATTR_RDONLY, clear: 0 };
    if !has(Feature::MountSetattr) {
        return remount(root, attributes);
    }
    mount_setattr(root, &MountAttr { attr_set: ATTR_RDONLY, ..MountAttr::default() }, Scope::Mount)
}

/// Makes a terminal the standard streams and the controlling terminal of the session.
fn take_terminal(slave: BorrowedFd<'_>) -> Result<(), Errno> {
    for number in 0..3 {
        process::dup_onto(slave, number)?;
    }
    tty::make_controlling(slave)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_mounts_are_found_in_the_table() {
        let check = |line: &[u8]| bare_mount(line);
        let proc = b"22 28 0:21 / /proc rw,nosuid shared:12 master:1 - proc proc rw";
        assert_eq!(check(proc).unwrap(), b"/proc");
        assert_eq!(check(b"23 28 0:22 / /a\\040b rw - sysfs sysfs rw").unwrap(), b"/a b");
        assert_eq!(check(b"24 28 0:22 / /proc rw - tmpfs proc rw"), None);
        assert_eq!(check(b""), None);
        assert!(is_below(b"/r/proc", b"/r") && !is_below(b"/rr/proc", b"/r"));
    }
}
