//! The last steps: identity, privileges, the gate, and the program.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

use gantry_sys::caps::{self, CapSets};
use gantry_sys::exec::StringArray;
use gantry_sys::features::{Feature, has};
use gantry_sys::finale::{self, Finale, Reports};
use gantry_sys::{Errno, process, sched};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, openat, statat};

use super::mask::{private_proc, write_beneath};
use super::{At, Fault, Init, Step};
use crate::plan::Gate;
use crate::plan::identity::{CAP_CHECKPOINT_RESTORE, CAP_DAC_OVERRIDE, CAP_SYS_ADMIN, ProcessPlan};
use crate::plan::namespaces::NEWUSER;
use crate::sync::{Kind, Message, receive_plain, send};

/// The last capability that this build knows of; a newer kernel may have more, up to 63.
const LAST_POSSIBLE_CAPABILITY: u32 = 63;

impl Init<'_> {
    pub(super) fn execute(&mut self) -> Result<std::convert::Infallible, Fault> {
        let plan = &self.plan.process;
        if self.plan.rootfs.is_some() {
            self.close_others(None)?;
        }
        self.attributes(plan)?;
        self.labels(plan)?;
        self.own_stdio(plan);
        self.limits(plan)?;
        if plan.no_new_privileges {
            process::set_no_new_privs().at(Step::NoNewPrivileges)?;
        }
        // Either may be let in where the other is not: the runtime, or the user.
        let entered = rustix::process::chdir(&plan.cwd);
        let last = self.become_user(plan)?;
        let env = self.enter_cwd(plan, entered)?;
        let program = find_program(plan).at(Step::LookPath)?;
        self.listen(plan)?;
        self.failpoint(Step::LookPath)?;
        self.wait_at_gate()?;
        self.run_start_container_hooks(env.as_ref())?;
        self.failpoint(Step::StartContainerHook)?;
        close_descriptors(3 + plan.preserve_fds).at(Step::Descriptors)?;
        let filter = plan.seccomp.as_ref().filter(|program| !program.listener);
        let report = |step: Step| Message { step: step as u32, ..Message::new(Kind::Fault) }.encode();
        let finale = Finale {
            program,
            argv: &plan.args,
            envp: env.as_ref().unwrap_or(&plan.env),
            filter: filter.map(|program| (program.instructions.as_slice(), program.flags)),
            filter_last: plan.no_new_privileges,
            capabilities: last,
            reports: Reports {
                leave: report(Step::LeaveBinary),
                filter: report(Step::Seccomp),
                capabilities: report(Step::Capabilities),
                execute: report(Step::Exec),
            },
            listeners: [
                Some(self.socket),
                match &self.plan.gate {
                    Gate::Fifo { result, .. } => Some(result.as_fd()),
                    _ => None,
                },
            ],
            leaves_binary: self.plan.leaves_binary,
        };
        finale::perform(&finale).at(Step::Exec)
    }

    /// What needs privileges and is inherited over execve(2).
    fn attributes(&self, plan: &ProcessPlan) -> Result<(), Fault> {
        if let Some(attr) = &plan.scheduler {
            sched::set_scheduler(0, attr).at(Step::Scheduler)?;
        }
        if let Some((class, priority)) = plan.io_priority {
            sched::set_io_priority(class, priority).at(Step::IoPriority)?;
        }
        if let Some(persona) = plan.personality {
            process::set_personality(persona).at(Step::Personality)?;
        }
        if let Some((mode, nodes)) = &plan.memory_policy {
            sched::set_memory_policy(*mode, nodes).at(Step::MemoryPolicy)?;
        }
        if let Some(mask) = &plan.final_affinity {
            sched::set_affinity(0, mask).at(Step::Affinity)?;
        }
        Ok(())
    }

    /// Labels for the program, written through a procfs that nobody else has a hand in (CVE-2019-16884, -19921).
    fn labels(&self, plan: &ProcessPlan) -> Result<(), Fault> {
        if plan.apparmor.is_none() && plan.selinux.is_none() {
            return Ok(());
        }
        let root = openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::Label)?;
        let proc = private_proc(root.as_fd()).at(Step::ProcHandle)?;
        let me = own_directory(proc.as_fd()).at(Step::ProcHandle)?;
        if let Some(profile) = &plan.apparmor {
            let mut text = b"exec ".to_vec();
            text.extend_from_slice(profile.as_bytes());
            // Kernels before 5.8 have AppArmor's file among those of all modules.
            match write_beneath(me.as_fd(), c"attr/apparmor/exec", &text) {
                Err(Errno::NOENT) => write_beneath(me.as_fd(), c"attr/exec", &text),
                result => result,
            }
            .at_index(Step::Label, 0)?;
        }
        if let Some(label) = &plan.selinux {
            write_beneath(me.as_fd(), c"attr/exec", label.as_bytes()).at_index(Step::Label, 1)?;
        }
        Ok(())
    }

    /// Gives the standard streams to the user, as far as they are ours to give.
    fn own_stdio(&self, plan: &ProcessPlan) {
        let null = gantry_sys::mount::device_number(1, 3);
        for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            let Ok(stat) = rustix::fs::fstat(fd) else { continue };
            let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
            if stat.st_uid == plan.uid || device && stat.st_rdev == null {
                continue;
            }
            // Not on a read-only file system, and not what belongs to somebody outside the user namespace.
            let _ = rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(plan.uid)), None);
        }
    }

    fn limits(&self, plan: &ProcessPlan) -> Result<(), Fault> {
        if plan.rlimits.is_empty() {
            return Ok(());
        }
        if (self.plan.namespaces.new | self.plan.namespaces.joined) & NEWUSER != 0 {
            // Raising a limit takes a capability of the host's.
            self.tell(Kind::NeedLimits)?;
            return self.wait_for(Kind::Limits).map(drop);
        }
        for (index, limit) in plan.rlimits.iter().enumerate() {
            process::set_rlimit(0, limit.resource, limit.soft, limit.hard).at_index(Step::Rlimit, index)?;
        }
        Ok(())
    }

    /// Becomes the user with their capabilities. Gives back the sets for the very end, where what is left to do needs
    /// more until then.
    fn become_user(&self, plan: &ProcessPlan) -> Result<Option<CapSets>, Fault> {
        let Some(wanted) = plan.capabilities else {
            self.set_ids(plan)?;
            return Ok(None);
        };
        let held = caps::capget().at(Step::Capabilities)?.permitted;
        caps::bound(wanted.bounding, LAST_POSSIBLE_CAPABILITY)
            .or_else(|errno| {
                // Who may not drop has nothing to drop either.
                if errno == Errno::PERM && held == 0 { Ok(()) } else { Err(errno) }
            })
            .at(Step::BoundingSet)?;
        caps::keep_over_setuid(true).at(Step::Capabilities)?;
        self.set_ids(plan)?;
        caps::keep_over_setuid(false).at(Step::Capabilities)?;
        // What the process does not hold it cannot give: names of newer kernels, and what the host withheld.
        let last = CapSets {
            effective: wanted.effective & wanted.permitted & held,
            permitted: wanted.permitted & held,
            inheritable: wanted.inheritable & held,
        };
        // A filter without no_new_privs needs CAP_SYS_ADMIN, leaving the binary CAP_CHECKPOINT_RESTORE.
        let extra = held & (CAP_SYS_ADMIN | CAP_CHECKPOINT_RESTORE);
        let now = CapSets { effective: last.effective | extra, permitted: last.permitted | extra, ..last };
        caps::capset(&now).at(Step::Capabilities)?;
        // Ambient capabilities only those that are permitted and inheritable; asking for others is no error in runc.
        caps::set_ambient(wanted.ambient & last.permitted & last.inheritable).at(Step::Ambient)?;
        Ok(Some(last).filter(|_| extra != 0 && now != last))
    }

    fn set_ids(&self, plan: &ProcessPlan) -> Result<(), Fault> {
        if let Some(groups) = &plan.groups {
            let denied = |errno: Errno| {
                // setgroups(2) is denied for good in a namespace that an ordinary user made.
                if errno == Errno::PERM && groups.is_empty() { Ok(()) } else { Err(errno) }
            };
            process::set_groups(groups).or_else(denied).at(Step::Groups)?;
        }
        process::set_gid(plan.gid).at(Step::Gid)?;
        process::set_uid(plan.uid).at(Step::Uid)
    }

    /// Goes to the working directory, and finds the home directory where the environment has none.
    fn enter_cwd(
        &self,
        plan: &ProcessPlan,
        entered: Result<(), Errno>,
    ) -> Result<Option<StringArray>, Fault> {
        match entered {
            Err(Errno::ACCESS | Errno::PERM) => rustix::process::chdir(&plan.cwd),
            entered => entered,
        }
        .at(Step::Cwd)?;
        // A descriptor that leads out of the container would show here (CVE-2024-21626).
        let cwd = rustix::process::getcwd(Vec::new()).at(Step::CwdOutside)?;
        if !cwd.as_bytes().starts_with(b"/") {
            return Err(Errno::NOENT).at(Step::CwdOutside);
        }
        let mask = plan.umask.unwrap_or(0o022);
        rustix::process::umask(Mode::from_raw_mode(mask));
        if !plan.needs_home {
            return Ok(None);
        }
        let home = crate::passwd::home_of(plan.uid).unwrap_or_else(|| c"/".to_owned());
        let mut entry = b"HOME=".to_vec();
        entry.extend_from_slice(home.as_bytes());
        let mut strings: Vec<_> =
            plan.env.strings().iter().filter(|s| !s.as_bytes().starts_with(b"HOME=")).cloned().collect();
        strings.extend(std::ffi::CString::new(entry).ok());
        Ok(Some(StringArray::new(strings)))
    }

    /// Installs a filter with a listener, and lets the parent take the listener.
    ///
    /// From here on the process makes only calls that runc leaves to it too: read, write, close and execve.
    fn listen(&self, plan: &ProcessPlan) -> Result<(), Fault> {
        let Some(program) = plan.seccomp.as_ref().filter(|program| program.listener) else {
            return Ok(());
        };
        let listener = gantry_sys::seccomp::load(&program.instructions, program.flags)
            .at(Step::Seccomp)?
            .ok_or(Errno::INVAL)
            .at(Step::Seccomp)?;
        let message = Message { index: listener.as_raw_fd() as u32, ..Message::new(Kind::Listener) };
        send(self.socket, message, None).at(Step::Seccomp)?;
        match receive_plain(self.socket).at(Step::Seccomp)? {
            Some(message) if message.kind == Kind::ListenerTaken => Ok(()),
            _ => Err(Errno::PIPE).at(Step::Sync),
        }
    }

    fn wait_at_gate(&self) -> Result<(), Fault> {
        match &self.plan.gate {
            Gate::Open => Ok(()),
            Gate::Socket => {
                self.tell(Kind::Ready)?;
                match receive_plain(self.socket).at(Step::Sync)? {
                    Some(message) if message.kind == Kind::Start => Ok(()),
                    _ => Err(Errno::PIPE).at(Step::Sync),
                }
            }
            Gate::Fifo { start, .. } => {
                self.tell(Kind::Ready)?;
                crate::gate::wait(start).at(Step::Sync)
            }
        }
    }
}

/// The process's own directory in a procfs, without following the link `thread-self`.
fn own_directory(proc: std::os::fd::BorrowedFd<'_>) -> Result<std::os::fd::OwnedFd, Errno> {
    let target = rustix::fs::readlinkat(proc, c"self", Vec::new())?;
    gantry_sys::path::open_beneath(proc, &target, OFlags::PATH | OFlags::DIRECTORY)
}

/// The program that execvp(3) would find.
fn find_program(plan: &ProcessPlan) -> Result<&CStr, Errno> {
    let mut answer = Errno::NOENT;
    let effective = plan.capabilities.map_or(0, |sets| sets.effective & sets.permitted);
    for candidate in &plan.candidates {
        match executable(candidate, effective & CAP_DAC_OVERRIDE != 0) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) => answer = Errno::ACCESS,
            Err(errno) if plan.candidates.len() == 1 => answer = errno,
            Err(_) => {}
        }
    }
    Err(answer)
}

fn executable(path: &CStr, overrides: bool) -> Result<(), Errno> {
    let stat = statat(CWD, path, AtFlags::empty())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()) {
        // access(2) asks for the user without capabilities. Who has CAP_DAC_OVERRIDE may execute whatever anybody may.
        Err(Errno::ACCESS) if stat.st_mode & 0o111 != 0 && overrides => Ok(()),
        result => result,
    }
}

/// Lets no descriptor from `first` on live through execve(2) (CVE-2024-21626).
fn close_descriptors(first: u32) -> Result<(), Errno> {
    for number in 3..first as i32 {
        // Those to keep were inherited open, or were never there.
        let _ = process::clear_cloexec_raw(number);
    }
    if has(Feature::CloseRangeCloexec) {
        return process::cloexec_from(first);
    }
    // The limit of open files bounds the numbers; /proc may be anybody's by now.
    let limit =
        rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(1 << 20).min(1 << 20);
    for number in first..limit as u32 {
        let _ = process::set_cloexec_raw(number as i32);
    }
    Ok(())
}
