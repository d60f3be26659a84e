//! Programs in the kernel: what it lets through, fails and kills.

use gantry_runtime::seccomp::{Arch, Instruction, Program, compile, features};
use gantry_sys::seccomp::{flag, load};
use gantry_types::oci::Seccomp;
use serde_json::{Value, json};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

const EPERM: &str = "1";
const EBADF: &str = "9";
const ENOSYS: &str = "38";
const SIGSYS: i32 = 31;

/// What tells the test binary to be the process that loads the program.
const PROGRAM: &str = "GANTRY_TEST_SECCOMP_PROGRAM";
const FLAGS: &str = "GANTRY_TEST_SECCOMP_FLAGS";
const CALLS: &str = "GANTRY_TEST_SECCOMP_CALLS";

/// The program that makes the calls; `None`, and a line that says so, without a C compiler.
fn payload() -> Option<&'static PathBuf> {
    static PAYLOAD: OnceLock<Option<(tempfile::TempDir, PathBuf)>> = OnceLock::new();
    let compile = || {
        let directory = tempfile::tempdir().unwrap();
        let binary = directory.path().join("payload");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp/payload.c");
        let output = Command::new("cc").args(["-O1", "-static", "-o"]).arg(&binary).arg(source).output();
        let compiled = output.is_ok_and(|output| output.status.success());
        compiled.then_some((directory, binary))
    };
    let payload = PAYLOAD.get_or_init(compile).as_ref().map(|(_, binary)| binary);
    if payload.is_none() || cfg!(not(target_arch = "x86_64")) {
        eprintln!("SKIPPED: needs a C compiler and x86_64");
        return None;
    }
    payload
}

/// Not a test of its own: the part of the others that runs in another process, loads a program, and becomes the
/// payload.
#[test]
fn child() {
    let Some(file) = std::env::var_os(PROGRAM) else { return };
    let flags = std::env::var(FLAGS).unwrap().parse().unwrap();
    let calls = std::env::var(CALLS).unwrap();
    let mut command = Command::new(payload().unwrap());
    command.args(calls.split_whitespace());
    let bytes = std::fs::read(file).unwrap();
    let instructions: Vec<Instruction> = bytes.chunks_exact(8).map(crate::oracle::instruction).collect();

    rustix::thread::set_no_new_privs(true).unwrap();
    if let Some(listener) = load(&instructions, flags).unwrap() {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        let flags = rustix::io::fcntl_getfd(&listener).unwrap();
        println!("\nlistener {} {flags:?}", link.display());
    }
    panic!("{}", command.exec());
}

fn run(program: &Program, calls: &str) -> Option<Output> {
    payload()?;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, program.to_bytes()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kernel::child", "--nocapture"]);
    command.env(PROGRAM, file.path()).env(FLAGS, program.flags.to_string()).env(CALLS, calls);
    Some(command.output().unwrap())
}

fn program(profile: Value) -> Program {
    let profile: Seccomp = serde_json::from_value(profile).unwrap();
    compile(&profile, Arch::X86_64).unwrap()
}

/// Checks what each call gave.
fn check(program: &Program, calls: &[(&str, &str)]) {
    let list: Vec<&str> = calls.iter().map(|(call, _)| *call).collect();
    let Some(output) = run(program, &list.join(" ")) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    let results: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("call ")).collect();
    let expected: Vec<&str> = calls.iter().map(|(_, result)| *result).collect();
    assert_eq!(results, expected, "{list:?} {output:?}");
}

/// Checks that the call is the process's last.
fn check_killed(program: &Program, call: &str) {
    let Some(output) = run(program, call) else { return };
    assert_eq!(output.status.signal(), Some(SIGSYS), "{call} {output:?}");
}

#[test]
fn docker_s_profile_is_enforced() {
    let profile = serde_json::from_str(gantry_testkit::DOCKER_DEFAULT_SECCOMP).unwrap();
    let program = program(profile);
    check(
        &program,
        &[
            // getpid, mount, clone3, and a number that no kernel has
            ("64:39", "ok"),
            ("64:165", EPERM),
            ("64:435", ENOSYS),
            ("64:4000", ENOSYS),
            // socket: AF_UNIX, AF_ALG, AF_VSOCK, and AF_UNIX with something in the upper half
            ("64:41:1:1", "ok"),
            ("64:41:26:5", EPERM),
            ("64:41:28:1", EPERM),
            // personality: query, PER_LINUX32, something else
            ("64:135:ffffffff", "ok"),
            ("64:135:8", "ok"),
            ("64:135:5", EPERM),
            // clone: CLONE_NEWNS
            ("64:56:20000", EPERM),
            // The same over int 0x80: getpid, mount, clone3, personality, clone
            ("32:20", "ok"),
            ("32:21", EPERM),
            ("32:435", ENOSYS),
            ("32:136:5", EPERM),
            ("32:120:20000", EPERM),
            // x32: mount, and a number that it does not have
            ("x32:165", EPERM),
            ("x32:4000", ENOSYS),
        ],
    );
}

#[test]
fn newer_calls_than_the_profiles_do_not_exist() {
    // To become the payload, and for it to start and print.
    let needed = [
        "write",
        "newfstatat",
        "fstat",
        "brk",
        "mmap",
        "munmap",
        "mprotect",
        "execve",
        "exit_group",
        "arch_prctl",
        "readlink",
        "prctl",
        "rseq",
        "set_robust_list",
        "set_tid_address",
        "prlimit64",
        "getrandom",
        "uname",
        "ioctl",
        "rt_sigaction",
        "rt_sigprocmask",
        "sigaltstack",
        "close",
        "fcntl",
        "futex",
        "read",
    ];
    let profile = |names: Value| {
        program(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": names, "action": "SCMP_ACT_ALLOW"},
            {"names": needed, "action": "SCMP_ACT_ALLOW"},
        ]}))
    };
    // pidfd_getfd(-1, -1, 0) is 438, and openat2 is 437.
    check(&profile(json!(["openat2"])), &[("64:438:-1", ENOSYS), ("64:39", EPERM)]);
    check(&profile(json!(["faccessat2"])), &[("64:438:-1", EPERM)]);
    check(&profile(json!(["pidfd_getfd"])), &[("64:438:-1", EBADF)]);
}

#[test]
fn foreign_abis_are_killed() {
    let program = program(json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    check(&program, &[("64:39", "ok")]);
    check_killed(&program, "32:20");
    check_killed(&program, "x32:39");
}

#[test]
fn actions_do_what_they_say() {
    let profile = |action: &str, errno: Option<u32>| {
        program(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["getpid"], "action": action, "errnoRet": errno},
        ]}))
    };
    check(&profile("SCMP_ACT_ERRNO", Some(100)), &[("64:39", "100"), ("64:110", "ok")]);
    check(&profile("SCMP_ACT_LOG", None), &[("64:39", "ok")]);
    // Without a tracer.
    check(&profile("SCMP_ACT_TRACE", None), &[("64:39", ENOSYS)]);
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        check_killed(&profile(action, None), "64:39");
    }
}

#[test]
fn all_flags_load() {
    let supported = features().supported_flags;
    for flags in 0..1 << supported.len() {
        let names = supported.iter().enumerate().filter(|(bit, _)| flags & (1 << bit) != 0);
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        let program = program(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": names, "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"},
        ]}));
        check(&program, &[("64:39", "ok"), ("64:83", EPERM)]);
    }
}

#[test]
fn listener_is_returned() {
    let flags = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"];
    let program = program(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"},
    ]}));
    assert_eq!(program.flags, flag::NEW_LISTENER | flag::WAIT_KILLABLE_RECV);
    let Some(output) = run(&program, "64:39") else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("listener anon_inode:seccomp notify FdFlags(CLOEXEC)"), "{output:?}");
    assert!(text.contains("call ok"), "{output:?}");
}
