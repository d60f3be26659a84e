//! Namespaces: joined, made, and settled into.

use std::os::fd::AsFd;

use gantry_sys::{Errno, keyring, net, ns, process};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{At, Fault, Init, Step};
use crate::plan::namespaces::{NEWCGROUP, NEWNET, NEWNS, NEWPID, NEWTIME, NEWUSER, already_inside};
use crate::sync::Kind;

impl Init<'_> {
    pub(super) fn enter_namespaces(&mut self) -> Result<(), Fault> {
        let plan = &self.plan.namespaces;
        self.join_cgroups()?;
        // Maps and descriptors of /proc/PID are the parent's to write: the child of an ordinary user must be dumpable
        // until then, and not after (CVE-2016-9962).
        if plan.new & NEWUSER != 0 {
            self.wait_for(Kind::Maps)?;
        }
        process::set_dumpable(false).at(Step::Session)?;
        if !plan.intermediate {
            self.join()?;
        }
        if (plan.new | plan.joined) & NEWUSER != 0 {
            if let Some(rootfs) = self.plan.rootfs.as_ref().filter(|_| plan.new & NEWNS != 0) {
                // As the runtime's user, who reaches more of the host than the container's root.
                let propagation = crate::plan::rootfs::bind_propagation(rootfs.root_propagation);
                super::attach::own_trees(rootfs, propagation).at(Step::RootfsMount)?;
            }
            self.become_root()?;
        }
        rustix::process::setsid()
            .map(drop)
            .or_else(|errno| {
                // A leader already: fork by an interactive shell's child, or a second call.
                if errno == Errno::PERM { Ok(()) } else { Err(errno) }
            })
            .at(Step::Session)?;
        if let Some(name) = &self.plan.process.keyring {
            join_keyring(name).at(Step::Keyring)?;
        }
        if plan.new & NEWNET != 0 {
            net::loopback_up().at(Step::Loopback)?;
        }
        if self.plan.await_cgroup {
            self.wait_for(Kind::Cgroup)?;
        }
        if plan.unshare_cgroup {
            ns::unshare(NEWCGROUP).at(Step::CgroupNamespace)?;
        }
        for state in &mut self.hook_states {
            let hooks = self.plan.create_container_hooks.len() + self.plan.start_container_hooks.len();
            if hooks > 0 {
                *state = match crate::sync::receive(self.socket).at(Step::Sync)? {
                    Some((message, fd)) if message.kind == Kind::HookState => fd,
                    _ => return Err(Errno::PROTO).at(Step::Sync),
                };
            }
        }
        // Last, because it is the first to ask: what the parent says unasked is before its answer on the socket.
        if plan.unshare & NEWTIME != 0 {
            self.enter_time_namespace()?;
        }
        Ok(())
    }

    /// Goes into the cgroups of v1. A task that moves itself alone has the kernel wait for nobody; one that is moved by
    /// another process has it wait for a grace period of RCU.
    fn join_cgroups(&self) -> Result<(), Fault> {
        for (index, entrance) in self.plan.entrances.iter().enumerate() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(entrance, b"0"));
            process::abandon(entrance.as_fd());
            written.map(drop).at_index(Step::Cgroup, index)?;
        }
        Ok(())
    }

    pub(super) fn join(&self) -> Result<(), Fault> {
        let plan = &self.plan.namespaces;
        for (index, join) in plan.join.iter().enumerate() {
            match ns::setns(join.fd.as_fd(), join.flag) {
                Err(errno) if already_inside(join.flag, errno) => {}
                result => result.at_index(Step::Join, index)?,
            }
        }
        if let Some(join) = plan.join_pid.as_ref().filter(|_| plan.intermediate) {
            ns::setns(join.fd.as_fd(), join.flag).at_index(Step::Join, plan.join.len())?;
        }
        Ok(())
    }

    /// Becomes the user namespace's root, where it has one, so that what is made belongs to somebody.
    fn become_root(&self) -> Result<(), Fault> {
        let unmapped = |errno: Errno| if errno == Errno::INVAL { Ok(()) } else { Err(errno) };
        process::set_gid(0).or_else(unmapped).at(Step::Root)?;
        process::set_uid(0).or_else(unmapped).at(Step::Root)?;
        // Denied where the namespace was made by an ordinary user, who keeps the groups that they have.
        if self.plan.process.groups.is_some() {
            let denied = |errno: Errno| if errno == Errno::PERM { Ok(()) } else { Err(errno) };
            process::set_groups(&[]).or_else(denied).at(Step::Root)?;
        }
        Ok(())
    }

    /// Makes a time namespace, has its offsets set while nobody is in it, and enters it.
    fn enter_time_namespace(&self) -> Result<(), Fault> {
        ns::unshare(NEWTIME).at(Step::Unshare)?;
        let namespaces = &self.plan.namespaces;
        if !namespaces.time_offsets.is_empty() {
            // An ordinary user may not write to a process that cannot be dumped. With nobody else in its user and pid
            // namespaces it can be dumped for as long as it writes to itself.
            if namespaces.new & NEWUSER != 0 && namespaces.new & NEWPID != 0 {
                process::set_dumpable(true).at(Step::TimeOffsets)?;
                write_time_offsets(&namespaces.time_offsets).at(Step::TimeOffsets)?;
                process::set_dumpable(false).at(Step::TimeOffsets)?;
            } else {
                self.tell(Kind::NeedTimeOffsets)?;
                self.wait_for(Kind::TimeOffsets)?;
            }
        }
        let path = c"/proc/self/ns/time_for_children";
        let fd = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).at(Step::TimeOffsets)?;
        ns::setns(fd.as_fd(), NEWTIME).at(Step::TimeOffsets)
    }
}

fn write_time_offsets(text: &str) -> Result<(), Errno> {
    let file = openat(CWD, c"/proc/self/timens_offsets", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes()).map(drop)
}

/// A session keyring of the container's own, which its user may read and search, as runc has it.
fn join_keyring(name: &std::ffi::CStr) -> Result<(), Errno> {
    const USER_VIEW_READ_SEARCH: u32 = 0x000b_0000;
    match keyring::join_session(name) {
        Ok(serial) => {
            let permissions = keyring::permissions(serial)?;
            keyring::set_permissions(serial, permissions | USER_VIEW_READ_SEARCH)
        }
        // No keyrings in this kernel, or no quota left for this user: the container does without.
        Err(Errno::NOSYS | Errno::DQUOT) => Ok(()),
        Err(errno) => Err(errno),
    }
}
