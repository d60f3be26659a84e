//! Seccomp profiles: actions, conditions, architectures, flags, unknown system calls.

use gantry_testkit::{Bundle, Need, Output, Runtime, require};
use serde_json::{Value, json};

/// Numbers on x86_64.
mod nr {
    pub(super) const PERSONALITY: &str = "135";
    pub(super) const MOUNT: &str = "165";
    /// `sched_get_priority_max`, which answers 99 for `SCHED_FIFO` and which no runtime calls for itself.
    pub(super) const PRIORITY: &str = "146";
    pub(super) const CLONE3: &str = "435";
    /// A number that no kernel has yet.
    pub(super) const FUTURE: &str = "900";
}

const ARCHITECTURES: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];

fn profile(rules: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ARCHITECTURES, "syscalls": rules })
}

fn call(profile: Value, args: &[&str]) -> Output {
    let runtime = Runtime::new();
    let words = ["syscall"].iter().chain(args).copied();
    let bundle = Bundle::new().with_syscall().args(words).edit(|c| c["linux"]["seccomp"] = profile);
    runtime.run(&bundle)
}

#[track_caller]
fn answers(profile: Value, args: &[&str], expected: &str) {
    let output = call(profile, args).ok();
    assert_eq!(output.text(), expected);
}

#[test]
fn the_mode_of_the_process_is_filter() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["grep", "Seccomp", "/proc/self/status"]);
    let bundle = bundle.edit(|c| c["linux"]["seccomp"] = profile(json!([])));
    let output = runtime.run(&bundle).ok();
    assert!(output.stdout.contains("Seccomp:\t2"), "{output}");
    assert!(output.stdout.contains("Seccomp_filters:\t1"), "{output}");
}

#[test]
fn errno_is_eperm_by_default() {
    let rules = json!([{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO" }]);
    answers(profile(rules), &[nr::PRIORITY, "1"], "-1 EPERM(1)");
}

#[test]
fn errno_is_what_the_rule_says() {
    let rules = json!([{ "names": ["sched_get_priority_max", "gettid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }]);
    answers(profile(rules.clone()), &[nr::PRIORITY, "1"], "-1 EOPNOTSUPP(95)");
    answers(profile(rules), &["186"], "-1 EOPNOTSUPP(95)");
}

#[test]
fn kill_ends_the_process_by_sigsys() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD"] {
        let rules = json!([{ "names": ["sched_get_priority_max"], "action": action }]);
        call(profile(rules), &[nr::PRIORITY, "1"]).exits(128 + 31);
    }
}

#[test]
fn trap_sends_sigsys() {
    let rules = json!([{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_TRAP" }]);
    call(profile(rules), &[nr::PRIORITY, "1"]).exits(128 + 31);
}

#[test]
fn log_lets_the_call_through() {
    let rules = json!([{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_LOG" }]);
    answers(profile(rules), &[nr::PRIORITY, "1"], "99");
}

#[test]
fn trace_without_a_tracer_is_enosys() {
    let rules = json!([{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_TRACE" }]);
    answers(profile(rules), &[nr::PRIORITY, "1"], "-1 ENOSYS(38)");
}

#[test]
fn allow_in_a_profile_that_denies_by_default() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().with_syscall();
    if bundle.config()["linux"]["seccomp"].is_null() {
        gantry_testkit::skip_test!("the fixture of docker's profile is missing");
    }
    let bundle = bundle.args(["syscall", nr::MOUNT]);
    assert_eq!(runtime.run(&bundle).ok().text(), "-1 EPERM(1)");
    let bundle = bundle.args(["syscall", nr::PRIORITY, "1"]);
    assert_eq!(runtime.run(&bundle).ok().text(), "99");
    // clone3 cannot be filtered by its flags, so that programs shall fall back to clone.
    let bundle = bundle.args(["syscall", nr::CLONE3, "0", "0"]);
    assert_eq!(runtime.run(&bundle).ok().text(), "-1 ENOSYS(38)");
}

#[test]
fn unknown_newer_system_calls_are_enosys_where_the_profile_denies() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().with_syscall();
    if bundle.config()["linux"]["seccomp"].is_null() {
        gantry_testkit::skip_test!("the fixture of docker's profile is missing");
    }
    let bundle = bundle.args(["syscall", nr::FUTURE]);
    assert_eq!(runtime.run(&bundle).ok().text(), "-1 ENOSYS(38)");
}

#[test]
fn conditions_on_arguments_hold() {
    let rule = |op: &str, value: u64, two: u64| {
        json!([{
            "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99,
            "args": [{ "index": 0, "value": value, "valueTwo": two, "op": op }],
        }])
    };
    // The argument 0xffffffff asks for the current value and changes nothing; it is what is compared.
    let denied = "-1 EADDRNOTAVAIL(99)";
    let check = |op: &str, value: u64, two: u64, argument: &str, expected: bool| {
        let output = call(profile(rule(op, value, two)), &[nr::PERSONALITY, argument]).ok();
        assert_eq!(output.text() == denied, expected, "{op} {value} {two} {argument}: {output}");
    };
    for (op, value, denies_less, denies_equal, denies_more) in [
        ("SCMP_CMP_NE", 8, true, false, true),
        ("SCMP_CMP_LT", 8, true, false, false),
        ("SCMP_CMP_LE", 8, true, true, false),
        ("SCMP_CMP_EQ", 8, false, true, false),
        ("SCMP_CMP_GE", 8, false, true, true),
        ("SCMP_CMP_GT", 8, false, false, true),
    ] {
        check(op, value, 0, "0", denies_less);
        check(op, value, 0, "8", denies_equal);
        check(op, value, 0, "0xffffffff", denies_more);
    }
    check("SCMP_CMP_MASKED_EQ", 0x0f, 0x08, "0x18", true);
    check("SCMP_CMP_MASKED_EQ", 0x0f, 0x08, "0x17", false);
}

#[test]
fn conditions_look_at_all_64_bits() {
    let rules = json!([{
        "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99,
        "args": [{ "index": 0, "value": 0x1_0000_0008_u64, "op": "SCMP_CMP_EQ" }],
    }]);
    answers(profile(rules.clone()), &[nr::PERSONALITY, "0x100000008"], "-1 EADDRNOTAVAIL(99)");
    answers(profile(rules), &[nr::PERSONALITY, "0xffffffff"], "0");
    let rules = json!([{
        "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99,
        "args": [{ "index": 0, "value": 0x1_0000_0000_u64, "op": "SCMP_CMP_GE" }],
    }]);
    answers(profile(rules.clone()), &[nr::PERSONALITY, "0x200000000"], "-1 EADDRNOTAVAIL(99)");
    answers(profile(rules), &[nr::PERSONALITY, "0xffffffff"], "0");
}

#[test]
fn several_conditions_must_hold_together() {
    let rules = json!([{
        "names": ["getrandom"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99,
        "args": [
            { "index": 1, "value": 4, "op": "SCMP_CMP_EQ" },
            { "index": 2, "value": 1, "op": "SCMP_CMP_EQ" },
        ],
    }]);
    answers(profile(rules.clone()), &["318", "buf", "4", "1"], "-1 EADDRNOTAVAIL(99)");
    answers(profile(rules.clone()), &["318", "buf", "4", "0"], "4");
    answers(profile(rules), &["318", "buf", "5", "1"], "5");
}

#[test]
fn several_conditions_on_one_argument_are_alternatives() {
    // Not what the specification says, but what runc does: each becomes a rule of its own.
    let rules = json!([{
        "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99,
        "args": [
            { "index": 0, "value": 8, "op": "SCMP_CMP_EQ" },
            { "index": 0, "value": 9, "op": "SCMP_CMP_EQ" },
        ],
    }]);
    answers(profile(rules.clone()), &[nr::PERSONALITY, "8"], "-1 EADDRNOTAVAIL(99)");
    answers(profile(rules.clone()), &[nr::PERSONALITY, "9"], "-1 EADDRNOTAVAIL(99)");
    answers(profile(rules), &[nr::PERSONALITY, "0xffffffff"], "0");
}

#[test]
fn rules_without_conditions_win_over_those_with() {
    let rules = json!([
        { "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99 },
        {
            "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99,
            "args": [{ "index": 0, "value": 7, "op": "SCMP_CMP_EQ" }],
        },
    ]);
    answers(profile(rules), &[nr::PRIORITY, "1"], "-1 EADDRNOTAVAIL(99)");
}

#[test]
fn the_32_bit_interface_is_filtered_by_name_too() {
    // sched_get_priority_max is number 159 there.
    let rules = json!([{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99 }]);
    answers(profile(rules), &["-32", "159", "1"], "-1 EADDRNOTAVAIL(99)");
    answers(profile(json!([])), &["-32", "159", "1"], "99");
}

#[test]
fn architectures_that_are_not_listed_are_killed() {
    let mut profile = profile(json!([]));
    profile["architectures"] = json!(["SCMP_ARCH_X86_64"]);
    call(profile, &["-32", "159", "1"]).exits(128 + 31);
}

#[test]
fn without_architectures_the_native_one_is_meant() {
    let mut profile =
        profile(json!([{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99 }]));
    profile.as_object_mut().unwrap().remove("architectures");
    answers(profile, &[nr::PRIORITY, "1"], "-1 EADDRNOTAVAIL(99)");
}

#[test]
fn unknown_names_are_skipped() {
    let rules = json!([{ "names": ["of_the_future", "sched_get_priority_max"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99 }]);
    answers(profile(rules), &[nr::PRIORITY, "1"], "-1 EADDRNOTAVAIL(99)");
}

#[test]
fn flags_are_taken() {
    require!(Need::Runc(1, 2));
    for flags in [
        json!(["SECCOMP_FILTER_FLAG_LOG"]),
        json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
        json!(["SECCOMP_FILTER_FLAG_TSYNC"]),
        json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
    ] {
        let mut profile =
            profile(json!([{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO" }]));
        profile["flags"] = flags;
        answers(profile, &[nr::PRIORITY, "1"], "-1 EPERM(1)");
    }
}

#[test]
fn spec_allow_leaves_speculation_as_it_was() {
    require!(Need::Runc(1, 2));
    let runtime = Runtime::new();
    let shown = |flags: Value| {
        let mut profile = profile(json!([]));
        profile["flags"] = flags;
        let bundle = Bundle::new().args(["grep", "Speculation_Store_Bypass", "/proc/self/status"]);
        runtime.run(&bundle.edit(|c| c["linux"]["seccomp"] = profile)).ok().text().to_owned()
    };
    let without = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = without.lines().find(|line| line.starts_with("Speculation_Store_Bypass")).unwrap();
    assert_eq!(shown(json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"])), own);
}

#[test]
fn impossible_profiles_are_refused() {
    let runtime = Runtime::new();
    let impossible = [
        json!({ "defaultAction": "SCMP_ACT_TOAST" }),
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_TOASTER"] }),
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_TOAST"] }),
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_TOAST" }] }),
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
            "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO",
            "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_TOAST" }],
        }] }),
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
            "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO",
            "args": [{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }],
        }] }),
    ];
    for profile in impossible {
        let bundle = Bundle::new().edit(|c| c["linux"]["seccomp"] = profile.clone());
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{profile}");
    }
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn exec_is_under_the_profile_too() {
    let runtime = Runtime::new();
    let rules = json!([{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99 }]);
    let bundle = Bundle::new().with_syscall().sleeping().edit(|c| c["linux"]["seccomp"] = profile(rules));
    let container = runtime.running(&bundle);
    assert_eq!(container.exec(&[], ["syscall", nr::PRIORITY, "1"]).ok().text(), "-1 EADDRNOTAVAIL(99)");
}

#[test]
fn a_profile_works_with_and_without_no_new_privs_and_for_any_user() {
    let runtime = Runtime::new();
    let rules = json!([{ "names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99 }]);
    for no_new_privs in [true, false] {
        for uid in [0, 1000] {
            let bundle = Bundle::docker().with_syscall().args(["syscall", nr::PRIORITY, "1"]).edit(|c| {
                c["process"]["noNewPrivileges"] = json!(no_new_privs);
                c["process"]["user"] = json!({ "uid": uid, "gid": uid });
                c["linux"]["seccomp"] = profile(rules.clone());
            });
            assert_eq!(runtime.run(&bundle).ok().text(), "-1 EADDRNOTAVAIL(99)", "{no_new_privs} {uid}");
        }
    }
}

#[test]
fn a_profile_that_denies_what_the_setup_needs_works_when_it_is_set_last() {
    // With no_new_privs the filter comes after all other set-up: capabilities, users and hooks may be denied.
    let runtime = Runtime::new();
    let names = json!(["setuid", "setgid", "setgroups", "capset", "mount", "pivot_root", "prctl", "chdir"]);
    let rules = json!([{ "names": names, "action": "SCMP_ACT_ERRNO" }]);
    let bundle = Bundle::new().args(["echo", "fine"]).edit(|c| c["linux"]["seccomp"] = profile(rules));
    assert_eq!(runtime.run(&bundle).ok().text(), "fine");
}

#[test]
fn large_profiles_work() {
    let runtime = Runtime::new();
    let mut rules = Vec::new();
    // The kernel takes 4096 instructions, and a comparison takes four of them for each of three architectures.
    for value in 0..300 {
        rules.push(json!({
            "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99,
            "args": [{ "index": 0, "value": 1300 + value, "op": "SCMP_CMP_EQ" }],
        }));
    }
    let bundle = Bundle::new().with_syscall().args(["syscall", nr::PERSONALITY, "1500"]);
    let bundle = bundle.edit(|c| c["linux"]["seccomp"] = profile(json!(rules)));
    assert_eq!(runtime.run(&bundle).ok().text(), "-1 EADDRNOTAVAIL(99)");
}

#[test]
fn the_default_errno_applies() {
    require!(Need::Runc(1, 1));
    let runtime = Runtime::new();
    let bundle = Bundle::docker().with_syscall().args(["syscall", nr::MOUNT]);
    if bundle.config()["linux"]["seccomp"].is_null() {
        gantry_testkit::skip_test!("the fixture of docker's profile is missing");
    }
    let bundle = bundle.edit(|c| c["linux"]["seccomp"]["defaultErrnoRet"] = json!(99));
    assert_eq!(runtime.run(&bundle).ok().text(), "-1 EADDRNOTAVAIL(99)");
}
