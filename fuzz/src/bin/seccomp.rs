//! Seccomp profiles: the program's verdicts are what the profile says, by the model of the compiler's own tests.
//! Profiles are JSON, or made of any bytes.
#![no_main]

#[path = "../../../crates/runtime/tests/seccomp/action.rs"]
mod action;
#[path = "../../../crates/runtime/tests/seccomp/calls.rs"]
mod calls;
#[path = "../../../crates/runtime/tests/seccomp/model.rs"]
mod model;

use gantry_runtime::seccomp::{Arch, compile};
use gantry_testkit::bpf::{self, Call};
use gantry_types::oci::{Seccomp, SyscallArg, SyscallRule, from_json};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use model::{Model, is_big_endian};

const LITTLE: &[Arch] = &[Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm, Arch::Ppc64Le];
const BIG: &[Arch] = &[Arch::S390X, Arch::S390, Arch::Mips64, Arch::Mips, Arch::Mips64N32, Arch::Parisc];
const NAMES: [&str; 16] = [
    "read",
    "write",
    "openat",
    "clone",
    "personality",
    "socket",
    "socketcall",
    "connect",
    "shmat",
    "ipc",
    "mmap2",
    "ioctl",
    "readv",
    "set_tls",
    "futex_wait",
    "no_such_call",
];
const OPERATORS: [&str; 7] = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];
const ACTIONS: [&str; 8] = ["ERRNO", "KILL", "KILL_PROCESS", "TRAP", "ALLOW", "LOG", "TRACE", "NOTIFY"];
/// A profile of more names or conditions takes too long to compare in full.
const MAX_SIZE: usize = 24;

fn value(bytes: &mut Unstructured<'_>) -> Result<u64> {
    const WORDS: [u64; 8] = [0, 1, 2, 5, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
    if bytes.ratio(1, 8)? {
        return bytes.arbitrary();
    }
    let (low, high) = (*bytes.choose(&WORDS)?, *bytes.choose(&WORDS)?);
    Ok(if bytes.ratio(1, 3)? { low | high << 32 } else { low })
}

fn argument(bytes: &mut Unstructured<'_>) -> Result<SyscallArg> {
    Ok(SyscallArg {
        index: bytes.int_in_range(0..=3)?,
        value: value(bytes)?,
        value_two: value(bytes)?,
        op: format!("SCMP_CMP_{}", bytes.choose(&OPERATORS)?),
    })
}

fn rule(bytes: &mut Unstructured<'_>) -> Result<SyscallRule> {
    let mut rule = SyscallRule {
        action: format!("SCMP_ACT_{}", bytes.choose(&ACTIONS)?),
        errno_ret: bytes.arbitrary::<Option<u8>>()?.map(u32::from),
        ..SyscallRule::default()
    };
    for _ in 0..bytes.int_in_range(1..=3)? {
        rule.names.push((*bytes.choose(&NAMES)?).to_owned());
    }
    for _ in 0..bytes.int_in_range(0..=3)? {
        rule.args.push(argument(bytes)?);
    }
    Ok(rule)
}

fn profile(bytes: &mut Unstructured<'_>, arches: &[Arch]) -> Result<Seccomp> {
    let mut profile =
        Seccomp { default_action: format!("SCMP_ACT_{}", bytes.choose(&ACTIONS)?), ..Seccomp::default() };
    for arch in arches {
        if bytes.arbitrary()? {
            profile.architectures.push(arch.name().to_owned());
        }
    }
    while profile.syscalls.len() < 12 && !bytes.is_empty() {
        profile.syscalls.push(rule(bytes)?);
    }
    Ok(profile)
}

fn compare(profile: &Seccomp, arches: &[Arch]) {
    let size = |rule: &SyscallRule| rule.names.len() * rule.args.len().max(1);
    if profile.syscalls.iter().map(size).sum::<usize>() > MAX_SIZE {
        return;
    }
    let native = arches[0];
    let Ok(program) = compile(profile, native) else { return };
    if program.is_empty() {
        return;
    }
    let checked = bpf::check(&program.instructions).expect("a program that the kernel takes");
    let model = Model::new(profile, native);
    for (arch, number, arguments) in calls::calls(profile, arches) {
        let about = model.about(arch, number);
        for arguments in arguments {
            let call = Call { number, arch, instruction_pointer: 0, arguments };
            let answer = checked.run_on(&call, is_big_endian(native)).answer;
            let right = about.verdicts(&arguments);
            assert!(right.contains(&answer), "{answer:#x} for {call:x?}, right is {right:x?}: {profile:?}");
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    if bytes.first() == Some(&b'{') {
        gantry_runtime::fuzzing::profile(bytes);
        if let Ok(profile) = from_json(bytes) {
            compare(&profile, LITTLE);
        }
        return;
    }
    let Some((first, rest)) = bytes.split_first() else { return };
    let arches = if first % 4 == 0 { BIG } else { LITTLE };
    if let Ok(profile) = profile(&mut Unstructured::new(rest), arches) {
        compare(&profile, arches);
    }
});
