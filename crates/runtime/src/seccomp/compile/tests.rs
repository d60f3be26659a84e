use super::*;
use crate::seccomp::{MAX_CONDITIONS, MAX_NAMES, MAX_RULES, unknown_syscalls};
use gantry_sys::seccomp::{MAX_INSTRUCTIONS, flag};
use gantry_testkit::bpf::{self, Call};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const EPERM: u32 = action::ERRNO | 1;

fn profile(value: Value) -> Seccomp {
    serde_json::from_value(value).unwrap()
}

fn try_compile(value: Value) -> Result<Program, SeccompError> {
    compile(&profile(value), Arch::X86_64)
}

fn answer(program: &Program, number: u32, arguments: [u64; 6]) -> u32 {
    let call = Call { number, arch: Arch::X86_64.audit(), instruction_pointer: 0, arguments };
    bpf::check(&program.instructions).unwrap().run(&call).answer
}

/// The errors of a profile with one rule.
fn rule_error(rule: Value) -> String {
    let rule = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    try_compile(rule).unwrap_err().to_string()
}

#[test]
fn no_profile_is_no_program() {
    assert!(try_compile(json!({})).unwrap().is_empty());
    assert!(try_compile(json!({"defaultAction": "", "syscalls": []})).unwrap().is_empty());
    assert!(try_compile(json!({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]})).is_err());
    let nothing = try_compile(json!({"defaultAction": "SCMP_ACT_ALLOW"})).unwrap();
    assert_eq!(answer(&nothing, 0, [0; 6]), action::ALLOW);
}

#[test]
fn flags_are_runcs() {
    let flags = |flags: Value| {
        let value = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags});
        try_compile(value).map(|program| program.flags)
    };
    assert_eq!(flags(Value::Null).unwrap(), flag::SPEC_ALLOW);
    assert_eq!(flags(json!([])).unwrap(), 0);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_TSYNC"])).unwrap(), 0);
    let both = json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    assert_eq!(flags(both).unwrap(), flag::LOG | flag::SPEC_ALLOW);
    // The kernel takes it with a listener only.
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])).unwrap(), 0);
    let error = flags(json!(["SECCOMP_FILTER_FLAG_NEW_LISTENER"])).unwrap_err();
    assert!(matches!(error, SeccompError::Unknown { what: "flag", ref known, .. } if known.len() == 4));
}

#[test]
fn notify_wants_a_listener_and_has_limits() {
    let notify = |name: &str| {
        try_compile(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls": [{"names": [name], "action": "SCMP_ACT_NOTIFY"}],
        }))
    };
    let program = notify("mkdir").unwrap();
    assert!(program.listener);
    assert_eq!(program.flags, flag::NEW_LISTENER | flag::WAIT_KILLABLE_RECV);
    assert_eq!(answer(&program, 83, [0; 6]), action::NOTIFY);
    // As in runc, also for calls that nobody knows.
    assert!(notify("no_such_call").unwrap().listener);
    assert!(matches!(notify("write"), Err(SeccompError::Notify { .. })));
    let default = try_compile(json!({"defaultAction": "SCMP_ACT_NOTIFY"}));
    assert!(matches!(default, Err(SeccompError::Notify { .. })));
}

#[test]
fn actions_have_their_data() {
    for (name, errno, expect) in [
        ("KILL", None, action::KILL_THREAD),
        ("KILL_THREAD", None, action::KILL_THREAD),
        ("KILL_PROCESS", None, action::KILL_PROCESS),
        ("TRAP", Some(9), action::TRAP),
        ("ERRNO", None, EPERM),
        ("ERRNO", Some(0), action::ERRNO),
        ("ERRNO", Some(4095), action::ERRNO | 4095),
        ("TRACE", None, action::TRACE | 1),
        ("TRACE", Some(0xffff), action::TRACE | 0xffff),
        ("LOG", None, action::LOG),
    ] {
        let rule = json!({"names": ["read"], "action": format!("SCMP_ACT_{name}"), "errnoRet": errno});
        let program = try_compile(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})).unwrap();
        assert_eq!(answer(&program, 0, [0; 6]), expect, "{name}");
        let default = json!({"defaultAction": format!("SCMP_ACT_{name}"), "defaultErrnoRet": errno});
        assert_eq!(answer(&try_compile(default).unwrap(), 0, [0; 6]), expect, "{name}");
    }
}

#[test]
fn faults_are_named() {
    let errno = |action: &str, errno: u32| {
        rule_error(json!({"names": ["read"], "action": action, "errnoRet": errno}))
    };
    assert!(errno("SCMP_ACT_ERRNO", 4096).contains("4096"));
    assert!(errno("SCMP_ACT_TRACE", 0x1_0000).contains("65536"));
    assert!(rule_error(json!({"names": ["read"], "action": "ALLOW"})).contains("SCMP_ACT_KILL_PROCESS"));
    assert!(rule_error(json!({"names": [""], "action": "SCMP_ACT_KILL"})).contains("empty"));
    let arg = |index: u32, op: &str| {
        rule_error(
            json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": index, "op": op}]}),
        )
    };
    assert!(arg(6, "SCMP_CMP_EQ").contains("argument 6"));
    assert!(arg(0, "SCMP_CMP_ODD").contains("SCMP_CMP_MASKED_EQ"));
    let arch = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_VAX"]});
    assert!(try_compile(arch).unwrap_err().to_string().contains("SCMP_ARCH_X86_64"));
    let long = "x".repeat(10_000);
    assert!(rule_error(json!({"names": ["read"], "action": long})).len() < 400);
}

#[test]
fn contradictions_are_refused() {
    let rules = |rules: [(&str, Value); 2]| {
        let rules = rules.map(|(action, args)| json!({"names": ["ioctl"], "action": action, "args": args}));
        try_compile(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}))
    };
    let short = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]);
    let long =
        json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]);
    let contradicts = |pair| matches!(rules(pair), Err(SeccompError::Contradiction { syscall: "ioctl" }));
    assert!(contradicts([("SCMP_ACT_ALLOW", short.clone()), ("SCMP_ACT_KILL", short.clone())]));
    assert!(contradicts([("SCMP_ACT_ALLOW", long.clone()), ("SCMP_ACT_KILL", short.clone())]));
    // The first one covers the second.
    let program = rules([("SCMP_ACT_ALLOW", short.clone()), ("SCMP_ACT_KILL", long)]).unwrap();
    assert_eq!(answer(&program, 16, [1, 2, 0, 0, 0, 0]), action::ALLOW);
    assert!(rules([("SCMP_ACT_ALLOW", short.clone()), ("SCMP_ACT_ALLOW", short)]).is_ok());
}

#[test]
fn unknown_names_are_skipped_and_listed() {
    let value = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["neither_this"], "action": "SCMP_ACT_LOG"},
    ]});
    assert_eq!(
        unknown_syscalls(&profile(value.clone())).collect::<Vec<_>>(),
        ["no_such_call", "neither_this"]
    );
    assert_eq!(answer(&try_compile(value).unwrap(), 0, [0; 6]), action::ALLOW);
}

#[test]
fn newer_calls_than_the_profiles_do_not_exist() {
    let compile = |default: &str| {
        let rules = json!([{"names": ["read", "openat2"], "action": "SCMP_ACT_TRAP"}]);
        try_compile(json!({"defaultAction": default, "syscalls": rules})).unwrap()
    };
    for default in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS"] {
        let program = compile(default);
        assert_eq!(answer(&program, 437, [0; 6]), action::TRAP);
        assert_eq!(answer(&program, 438, [0; 6]), NO_SUCH_CALL);
        assert_eq!(answer(&program, 5000, [0; 6]), NO_SUCH_CALL);
        assert_ne!(answer(&program, 436, [0; 6]), NO_SUCH_CALL);
    }
    for default in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
        assert_ne!(answer(&compile(default), 438, [0; 6]), NO_SUCH_CALL);
    }
}

#[test]
fn docker_s_profile_is_small_and_mostly_constant() {
    let profile: Seccomp = serde_json::from_str(gantry_testkit::DOCKER_DEFAULT_SECCOMP).unwrap();
    let program = compile(&profile, Arch::X86_64).unwrap();
    assert!(program.instructions.len() <= 230, "{}", program.instructions.len());
    let checked = bpf::check(&program.instructions).unwrap();
    let mut looked = Vec::new();
    for number in 0..480 {
        let run = checked.run(&Call { number, arch: Arch::X86_64.audit(), ..Call::default() });
        if run.looked_at_arguments {
            looked.push(number);
        } else {
            assert!(run.steps <= 14, "{number}: {}", run.steps);
        }
    }
    // socket, clone and personality: the kernel caches its verdict on all others.
    assert_eq!(looked, [41, 56, 135]);
}

#[test]
fn too_much_is_refused_with_its_size() {
    let rules = |count| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": vec![json!({"names": ["read"], "action": "SCMP_ACT_KILL"}); count]});
    assert!(try_compile(rules(MAX_RULES)).is_ok());
    assert!(matches!(try_compile(rules(MAX_RULES + 1)), Err(SeccompError::TooMany { what: "rules", .. })));
    let names = vec!["read"; MAX_NAMES + 1];
    let names =
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": "SCMP_ACT_KILL"}]});
    assert!(matches!(try_compile(names), Err(SeccompError::TooMany { what: "system call names", .. })));
    let args: Vec<Value> =
        (0..MAX_CONDITIONS).map(|value| json!({"index": 0, "value": value, "op": "SCMP_CMP_EQ"})).collect();
    let rule = |names: &[&str]| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": "SCMP_ACT_KILL", "args": args}]});
    assert!(matches!(
        try_compile(rule(&["read", "write"])),
        Err(SeccompError::TooMany { what: "conditions", .. })
    ));
    let large = try_compile(rule(&["read"])).unwrap_err();
    assert!(matches!(
        large,
        SeccompError::TooLarge { names: 1, conditions: MAX_CONDITIONS, architectures: 1 }
    ));
}

#[test]
fn hostile_profiles_do_not_take_long() {
    let operators = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];
    let actions = ["ALLOW", "LOG", "TRAP"];
    let architectures: Vec<&str> = Arch::all().map(Arch::name).collect();
    // Few and many calls, conditions that share words and ones that do not.
    for (names, spread) in [(1usize, 1u64), (1, 1 << 20), (16, 1 << 33), (64, 7)] {
        let names: Vec<&str> = crate::seccomp::syscall_names().take(names).collect();
        let rules: Vec<Value> = (0..MAX_CONDITIONS / names.len() / 2)
            .take(MAX_RULES)
            .map(|index| {
                let value = index as u64 * spread;
                let argument = |shift: usize| {
                    json!({
                        "index": (index + shift) % 6, "value": value, "valueTwo": value,
                        "op": format!("SCMP_CMP_{}", operators[(index + shift) % operators.len()]),
                    })
                };
                let action = format!("SCMP_ACT_{}", actions[index % actions.len()]);
                json!({"names": names, "action": action, "args": [argument(0), argument(1)]})
            })
            .collect();
        let profile = profile(json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures, "syscalls": rules,
        }));
        let start = Instant::now();
        let result = compile(&profile, Arch::X86_64);
        let limit = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 2 });
        assert!(start.elapsed() < limit, "{spread}: {:?}", start.elapsed());
        println!(
            "{spread}: {:?} {:?}",
            start.elapsed(),
            result.as_ref().map(|program| program.instructions.len())
        );
        if let Ok(program) = result {
            assert!(program.instructions.len() <= MAX_INSTRUCTIONS);
        }
    }
}

#[test]
fn fuzz_entry_takes_anything() {
    for data in [
        "",
        "{}",
        "null",
        "[1]",
        r#"{"defaultAction":"SCMP_ACT_KILL"}"#,
        "\u{0}",
        r#"{"syscalls":null,"defaultAction":"SCMP_ACT_LOG"}"#,
    ] {
        crate::seccomp::fuzzing::profile(data.as_bytes());
    }
    crate::seccomp::fuzzing::profile(gantry_testkit::DOCKER_DEFAULT_SECCOMP.as_bytes());
}
