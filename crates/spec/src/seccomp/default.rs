//! The default filter, as a table: what docker allows since its release 29 (its profile of June 2026).
//!
//! Everything that is not named ends with EPERM; the runtime answers ENOSYS for system calls that are newer than all that
//! are named, so that programs fall back to older ones.

use gantry_types::oci::{Seccomp, SyscallArg, SyscallRule};

use super::Conditions;
use crate::host::KernelVersion;

const ALLOW: &str = "SCMP_ACT_ALLOW";
const ERRNO: &str = "SCMP_ACT_ERRNO";
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET of clone(2).
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// personality(2): Linux, Linux of 32 bits, either as an old release (UNAME26), and the question.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Whatever the conditions are.
const ALWAYS: &str = "
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
    fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
    ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat
    get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32
    getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority
    getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname
    getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
    io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat
    llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier
    memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2
    mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
    name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64
    preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
    removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64
    sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid
    setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32
    setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid
    setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
    sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink
    symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64
    ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
    vmsplice wait4 waitid waitpid write writev
";

/// With a capability.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// On an architecture.
const BY_ARCHITECTURE: [(&[&str], &str); 6] = [
    (&["ppc64le"], "sync_file_range2 swapcontext"),
    (
        &["arm", "arm64"],
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    (&["amd64", "x32"], "arch_prctl"),
    (&["amd64", "x32", "x86"], "modify_ldt"),
    (&["s390", "s390x"], "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
    (&["riscv64"], "riscv_flush_icache"),
];

/// Since Linux 4.8 a tracer cannot go round the filter of what it traces.
const PTRACE_SAFE: KernelVersion = KernelVersion { major: 4, minor: 8 };

/// Architectures whose programs a machine can run besides its own.
pub(super) const ARCHITECTURES: [(&str, &[&str]); 9] = [
    ("SCMP_ARCH_X86_64", &["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    ("SCMP_ARCH_AARCH64", &["SCMP_ARCH_ARM"]),
    ("SCMP_ARCH_MIPS64", &["SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32"]),
    ("SCMP_ARCH_MIPS64N32", &["SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64"]),
    ("SCMP_ARCH_MIPSEL64", &["SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"]),
    ("SCMP_ARCH_MIPSEL64N32", &["SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64"]),
    ("SCMP_ARCH_S390X", &["SCMP_ARCH_S390"]),
    ("SCMP_ARCH_RISCV64", &[]),
    ("SCMP_ARCH_LOONGARCH64", &[]),
];

/// The names of architectures in profiles' conditions, and in filters.
const NAMES: [(&str, &str); 16] = [
    ("amd64", "SCMP_ARCH_X86_64"),
    ("x86", "SCMP_ARCH_X86"),
    ("x32", "SCMP_ARCH_X32"),
    ("arm", "SCMP_ARCH_ARM"),
    ("arm64", "SCMP_ARCH_AARCH64"),
    ("loongarch64", "SCMP_ARCH_LOONGARCH64"),
    ("mips64", "SCMP_ARCH_MIPS64"),
    ("mips64n32", "SCMP_ARCH_MIPS64N32"),
    ("mipsel64", "SCMP_ARCH_MIPSEL64"),
    ("mipsel", "SCMP_ARCH_MIPSEL"),
    ("ppc", "SCMP_ARCH_PPC"),
    ("ppc64", "SCMP_ARCH_PPC64"),
    ("ppc64le", "SCMP_ARCH_PPC64LE"),
    ("riscv64", "SCMP_ARCH_RISCV64"),
    ("s390", "SCMP_ARCH_S390"),
    ("s390x", "SCMP_ARCH_S390X"),
];

/// The filter's name of an architecture.
pub(super) fn architecture(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, filter)| *filter)
}

fn allow(names: &str) -> SyscallRule {
    let names = names.split_ascii_whitespace().map(str::to_owned).collect();
    SyscallRule { names, action: ALLOW.to_owned(), ..SyscallRule::default() }
}

fn when(name: &str, index: u32, op: &str, value: u64) -> SyscallRule {
    let arg = SyscallArg { index, value, value_two: 0, op: op.to_owned() };
    SyscallRule { args: vec![arg], ..allow(name) }
}

/// The default filter of a container.
pub(super) fn filter(conditions: &Conditions<'_>) -> Seccomp {
    let has = |name: &str| conditions.capabilities.iter().any(|capability| capability == name);
    let mut syscalls = vec![allow(ALWAYS)];
    if conditions.kernel >= PTRACE_SAFE {
        syscalls.push(allow("process_vm_readv process_vm_writev ptrace"));
    }
    // All families but the kernel's cryptography, which nobody uses but exploits, and the hypervisor's sockets.
    syscalls.push(when("socket", 0, "SCMP_CMP_LT", AF_ALG));
    syscalls.push(when("socket", 0, "SCMP_CMP_EQ", AF_ALG + 1));
    syscalls.push(when("socket", 0, "SCMP_CMP_GT", AF_VSOCK));
    syscalls.extend(PERSONALITIES.map(|value| when("personality", 0, "SCMP_CMP_EQ", value)));
    for (architectures, names) in BY_ARCHITECTURE {
        if architectures.contains(&conditions.architecture) {
            syscalls.push(allow(names));
        }
    }
    if !has("CAP_SYS_ADMIN") {
        syscalls.extend(clone(conditions.architecture));
    }
    for (capability, names) in BY_CAPABILITY {
        if has(capability) {
            syscalls.push(allow(names));
        }
    }
    Seccomp {
        default_action: ERRNO.to_owned(),
        default_errno_ret: Some(EPERM),
        architectures: architectures(conditions.architecture),
        syscalls,
        ..Seccomp::default()
    }
}

/// clone(2) without new namespaces. The flags of clone3(2) are in memory, where no filter sees them: ENOSYS makes libraries
/// fall back.
fn clone(architecture: &str) -> [SyscallRule; 2] {
    // The order of the arguments is another there.
    let index = u32::from(matches!(architecture, "s390" | "s390x"));
    let clone3 = SyscallRule { action: ERRNO.to_owned(), errno_ret: Some(ENOSYS), ..allow("clone3") };
    [when("clone", index, "SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES), clone3]
}

/// An architecture with those whose programs it can run.
fn architectures(name: &str) -> Vec<String> {
    let Some(own) = architecture(name) else { return Vec::new() };
    let others = ARCHITECTURES.iter().find(|(known, _)| *known == own).map(|(_, others)| *others);
    let all = others.map(|others| std::iter::once(own).chain(others.iter().copied()));
    all.into_iter().flatten().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(capabilities: &[&str], kernel: (u32, u32), architecture: &str) -> Seccomp {
        let capabilities: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
        let kernel = KernelVersion { major: kernel.0, minor: kernel.1 };
        filter(&Conditions { capabilities: &capabilities, kernel, architecture })
    }

    fn allowed(filter: &Seccomp, name: &str) -> bool {
        filter.syscalls.iter().any(|rule| {
            rule.action == ALLOW && rule.args.is_empty() && rule.names.iter().any(|known| known == name)
        })
    }

    #[test]
    fn it_has_as_many_names_as_dockers() {
        let filter = with(&[], (6, 1), "amd64");
        assert_eq!(filter.syscalls[0].names.len(), 361);
        let mut names = filter.syscalls[0].names.clone();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 361);
        assert_eq!(filter.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
        // 9 of the groups that only some containers have hold here.
        assert_eq!(filter.syscalls.len(), 1 + 1 + 3 + 5 + 2 + 2);
    }

    #[test]
    fn capabilities_open_what_they_are_for() {
        for (capability, names) in BY_CAPABILITY {
            let (without, with) = (with(&[], (6, 1), "amd64"), with(&[capability], (6, 1), "amd64"));
            for name in names.split_ascii_whitespace() {
                assert!(allowed(&with, name), "{capability} {name}");
                let always = name == "ptrace" || name.starts_with("process_vm");
                assert_eq!(allowed(&without, name), always, "{name}");
            }
        }
    }

    #[test]
    fn new_namespaces_need_a_capability() {
        let errno = |filter: &Seccomp| {
            let rule = filter.syscalls.iter().find(|rule| rule.names == ["clone3"]);
            rule.and_then(|rule| rule.errno_ret)
        };
        assert_eq!(errno(&with(&[], (6, 1), "amd64")), Some(ENOSYS));
        assert_eq!(errno(&with(&["CAP_SYS_ADMIN"], (6, 1), "amd64")), None);
        let index = |architecture| clone(architecture)[0].args[0].index;
        assert_eq!((index("amd64"), index("s390x")), (0, 1));
    }

    #[test]
    fn conditions_are_about_the_machine() {
        assert!(!allowed(&with(&[], (4, 7), "amd64"), "ptrace"));
        assert!(allowed(&with(&[], (4, 8), "amd64"), "ptrace"));
        assert!(allowed(&with(&[], (6, 1), "riscv64"), "riscv_flush_icache"));
        assert!(!allowed(&with(&[], (6, 1), "arm64"), "modify_ldt"));
        assert!(with(&[], (6, 1), "ppc64le").architectures.is_empty());
    }

    #[test]
    fn sockets_of_two_families_are_refused() {
        let filter = with(&[], (6, 1), "amd64");
        let rules: Vec<_> = filter.syscalls.iter().filter(|rule| rule.names == ["socket"]).collect();
        let open = |family: u64| {
            rules.iter().any(|rule| match rule.args[0].op.as_str() {
                "SCMP_CMP_LT" => family < rule.args[0].value,
                "SCMP_CMP_EQ" => family == rule.args[0].value,
                _ => family > rule.args[0].value,
            })
        };
        assert!((0..60).all(|family| open(family) != matches!(family, 38 | 40)));
    }
}
