//! Random profiles: our programs against what the profile says, and against libseccomp's programs with runc's answer
//! to unknown calls in front of them.
//!
//! Known faults of libseccomp (seen in 2.5.4 and 2.6.0), where only the first comparison counts: rules that compare
//! several arguments with `<`, `<=` or `!=` are merged or dropped wrongly, and a linear program for x86_64 with x32
//! may forget to load the number. Of two overlapping `!=` with different actions it takes one for the upper half of the
//! argument and the other for the lower.

use crate::calls::calls;
use crate::model::{ENOSYS, Model, is_big_endian};
use crate::oracle::{Answer, Oracle};
use gantry_runtime::seccomp::{Arch, SeccompError, compile, syscall_names, syscall_number};
use gantry_testkit::bpf::{self, Call};
use gantry_types::oci::{Seccomp, SyscallArg, SyscallRule};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// The calls that random profiles are about: plain ones, and ones that hide behind socketcall(2) and ipc(2).
const NAMES: [&str; 15] = [
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
    "no_such_call",
];

const OPERATORS: [&str; 7] = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];

const DEFAULTS: [&str; 6] = ["ERRNO", "KILL", "KILL_PROCESS", "TRAP", "ALLOW", "LOG"];

/// The architectures of a kernel in these tests.
const LITTLE: &[Arch] = &[Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm, Arch::Ppc64Le];
const BIG: &[Arch] = &[Arch::S390X, Arch::S390, Arch::Mips64, Arch::Mips, Arch::Mips64N32, Arch::Parisc];

type Actions = &'static [(&'static str, Option<u32>)];
const ONE_ACTION: Actions = &[("NOTIFY", None)];
const ACTIONS: Actions = &[("TRAP", None), ("ERRNO", Some(7)), ("TRACE", Some(8)), ("ERRNO", Some(9))];

fn value() -> impl Strategy<Value = u64> {
    let word = prop_oneof![Just(0), Just(1), Just(5), Just(u32::MAX), Just(0x8000_0000), 0..9u32];
    let high = prop_oneof![4 => Just(0), 1 => word.clone()];
    (high, word).prop_map(|(high, low)| (u64::from(high) << 32) | u64::from(low))
}

fn argument() -> impl Strategy<Value = SyscallArg> {
    (0..3u32, value(), value(), prop::sample::select(&OPERATORS[..])).prop_map(
        |(index, value, value_two, op)| SyscallArg { index, value, value_two, op: format!("SCMP_CMP_{op}") },
    )
}

fn rule(actions: Actions, max_args: usize) -> impl Strategy<Value = SyscallRule> {
    let names = prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4);
    let args = prop_oneof![1 => Just(Vec::new()), 3 => prop::collection::vec(argument(), 0..=max_args)];
    (names, prop::sample::select(actions), args).prop_map(|(names, (action, errno_ret), args)| {
        let names = names.into_iter().filter(|name| action != "NOTIFY" || *name != "write");
        SyscallRule {
            names: names.map(str::to_owned).collect(),
            action: format!("SCMP_ACT_{action}"),
            errno_ret,
            args,
        }
    })
}

fn profile(arches: &'static [Arch], actions: Actions, max_args: usize) -> impl Strategy<Value = Seccomp> {
    let architectures = prop::sample::subsequence(arches, 0..=arches.len());
    let rules = prop::collection::vec(rule(actions, max_args), 1..12);
    (prop::sample::select(&DEFAULTS[..]), architectures, rules).prop_map(
        |(default, architectures, syscalls)| Seccomp {
            default_action: format!("SCMP_ACT_{default}"),
            architectures: architectures.into_iter().map(|arch| arch.name().to_owned()).collect(),
            syscalls,
            ..Seccomp::default()
        },
    )
}

/// What a comparison with libseccomp has seen.
#[derive(Debug, Default)]
struct Seen {
    profiles: usize,
    refused: usize,
    faults_of_libseccomp: usize,
    /// Calls for which rules with different actions match, and libseccomp takes the same as we do.
    same_order: usize,
    /// And those where it takes another one.
    other_order: usize,
}

/// Compares the verdicts for one profile with what it says, and with libseccomp's if there is an oracle.
fn compare(
    profile: &Seccomp,
    arches: &[Arch],
    oracle: Option<(&mut Oracle, &mut Seen)>,
) -> Result<(), TestCaseError> {
    let native = arches[0];
    let ours = compile(profile, native);
    let mut seen = None;
    let mut reference = None;
    if let Some((oracle, counts)) = oracle {
        counts.profiles += 1;
        match oracle.compile(profile, true) {
            Answer::Program(program) => {
                prop_assert!(ours.is_ok(), "libseccomp accepts what we refuse: {ours:?}");
                reference = Some(program);
            }
            Answer::Refused => counts.refused += 1,
        }
        seen = Some(counts);
    }
    let program = match ours {
        Ok(program) => program.instructions,
        Err(SeccompError::Contradiction { .. }) => return Ok(()),
        Err(error) => return Err(TestCaseError::fail(error.to_string())),
    };
    let checked = bpf::check(&program).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
    let model = Model::new(profile, native);
    let mut fault = false;
    for (arch, number, arguments) in calls(profile, arches) {
        let about = model.about(arch, number);
        for arguments in arguments {
            let call = Call { number, arch, instruction_pointer: 0, arguments };
            let answer = checked.run_on(&call, is_big_endian(native)).answer;
            let right = about.verdicts(&arguments);
            let listing = || format!("{call:x?} {right:x?}\n{}", bpf::disassemble(&program));
            prop_assert!(right.contains(&answer), "{answer:#x} is not what the profile says\n{}", listing());
            let (Some(reference), Some(seen)) = (&reference, &mut seen) else { continue };
            let theirs = bpf::Reference::new(reference).run(&call).answer;
            if right != [ENOSYS] && !right.contains(&theirs) {
                fault = true;
                println!("libseccomp answers {theirs:#x} to {call:x?}, right is {right:x?}");
            }
            match right.len() {
                1 => {}
                _ if answer == theirs => seen.same_order += 1,
                _ => seen.other_order += 1,
            }
        }
    }
    if let Some(seen) = seen {
        seen.faults_of_libseccomp += usize::from(fault);
    }
    Ok(())
}

fn runner(cases: u32) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    // The gate sees the same profiles each time: what libseccomp gets wrong is not for it to find. Soaking sees others.
    if std::env::var_os("GANTRY_SOAK").is_some() {
        return TestRunner::new(config);
    }
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn verdicts_are_what_the_profile_says() {
    for arches in [LITTLE, BIG] {
        runner(64).run(&profile(arches, ACTIONS, 3), |profile| compare(&profile, arches, None)).unwrap();
    }
}

/// Runs random profiles past libseccomp as well, and returns what was seen.
fn compare_with_libseccomp(actions: Actions, max_args: usize) -> Option<Seen> {
    let mut oracle = Oracle::start()?;
    let mut seen = Seen::default();
    let (oracle, counts) = (std::cell::RefCell::new(&mut oracle), std::cell::RefCell::new(&mut seen));
    runner(64)
        .run(&profile(LITTLE, actions, max_args), |profile| {
            compare(&profile, LITTLE, Some((&mut oracle.borrow_mut(), &mut counts.borrow_mut())))
        })
        .unwrap();
    println!("{seen:?}");
    Some(seen)
}

#[test]
fn verdicts_of_single_conditions_are_libseccomps() {
    let Some(seen) = compare_with_libseccomp(ONE_ACTION, 1) else { return };
    assert_eq!(seen.refused, 0, "{seen:?}");
    assert!(seen.faults_of_libseccomp < seen.profiles / 8, "{seen:?}");
}

#[test]
fn verdicts_of_overlapping_rules_are_libseccomps() {
    let Some(seen) = compare_with_libseccomp(ACTIONS, 3) else { return };
    assert!(seen.same_order > 0 && seen.refused < seen.profiles / 2, "{seen:?}");
    assert!(seen.other_order < seen.same_order / 10, "{seen:?}");
    assert!(seen.faults_of_libseccomp < seen.profiles / 8, "{seen:?}");
}

#[test]
fn verdicts_on_docker_s_profile_are_libseccomps() {
    let mut profile: Seccomp = serde_json::from_str(gantry_testkit::DOCKER_DEFAULT_SECCOMP).unwrap();
    let Some(mut oracle) = Oracle::start() else { return };
    // Our tables are newer.
    let mut is_same = |name: &String, arch| match oracle.resolve(arch, name) {
        Some(number @ 0..) => syscall_number(name, arch) == number.try_into().ok(),
        Some(_) => arch == Arch::X86 || syscall_number(name, arch).is_none(),
        None => false,
    };
    for rule in &mut profile.syscalls {
        rule.names.retain(|name| LITTLE[..3].iter().all(|arch| is_same(name, *arch)));
    }
    let mut seen = Seen::default();
    compare(&profile, &LITTLE[..3], Some((&mut oracle, &mut seen))).unwrap();
    assert_eq!(seen.faults_of_libseccomp, 0, "{seen:?}");
}

#[test]
fn numbers_are_libseccomps() {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut compared = 0;
    // libseccomp's table of 64-bit PA-RISC was that of 32-bit up to 2.6.0.
    for arch in Arch::all().filter(|arch| *arch != Arch::Parisc64) {
        for name in syscall_names() {
            // Negative: absent, behind a multiplexer, or the architecture is newer than the library.
            if let Some(number @ 0..) = oracle.resolve(arch, name) {
                assert_eq!(
                    syscall_number(name, arch).map(i64::from),
                    Some(number),
                    "{name} on {}",
                    arch.name()
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 4000, "{compared}");
}
