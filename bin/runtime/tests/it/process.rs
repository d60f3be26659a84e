//! The process of the configuration: identity, capabilities, limits, scheduling, environment, labels.

use gantry_testkit::{Bundle, Need, Peer, Report, Runtime, require};
use serde_json::{Value, json};

fn report(bundle: &Bundle) -> Report {
    let runtime = Runtime::new();
    Report::parse(&runtime.run(bundle).ok().stdout)
}

fn with_process(change: impl FnOnce(&mut Value)) -> Bundle {
    Bundle::new().probe(&[]).edit(|c| change(&mut c["process"]))
}

#[test]
fn arguments_are_passed_as_they_are() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["printf", "[%s]", "a b", "", "$HOME", "ä\n", "-x"]);
    assert_eq!(runtime.run(&bundle).ok().stdout, "[a b][][$HOME][ä\n][-x]");
}

#[test]
fn the_environment_is_that_of_the_configuration_alone() {
    let bundle = with_process(|p| p["env"] = json!(["PATH=/bin", "A=1=2", "EMPTY="]));
    let runtime = Runtime::new();
    let output = runtime.run_command(&bundle, &[]).env("SECRET", "x").env("_LIBCONTAINER_X", "y").run().ok();
    let report = Report::parse(&output.stdout);
    let names: Vec<&String> = report.0["env"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["A", "EMPTY", "HOME", "PATH"]);
    assert_eq!(
        (report.env("A"), report.env("EMPTY"), report.env("HOME")),
        (Some("1=2"), Some(""), Some("/root"))
    );
}

#[test]
fn of_a_variable_that_is_given_twice_the_last_counts() {
    let runtime = Runtime::new();
    let bundle =
        Bundle::new().sh("echo $A").edit(|c| c["process"]["env"] = json!(["PATH=/bin", "A=1", "A=2"]));
    assert_eq!(runtime.run(&bundle).ok().text(), "2");
}

#[test]
fn home_comes_from_the_password_file_unless_it_is_given() {
    let bundle = with_process(|p| p["user"] = json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(report(&bundle).env("HOME"), Some("/home"));
    let bundle = with_process(|p| p["user"] = json!({ "uid": 4242, "gid": 4242 }));
    assert_eq!(report(&bundle).env("HOME"), Some("/"));
    let bundle = with_process(|p| p["env"] = json!(["PATH=/bin", "HOME=/given"]));
    assert_eq!(report(&bundle).env("HOME"), Some("/given"));
}

#[test]
fn the_program_is_found_on_the_path_of_the_environment() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["sh", "-c", "echo found"]);
    let bundle = bundle.edit(|c| c["process"]["env"] = json!(["PATH=/nowhere:/bin"]));
    assert_eq!(runtime.run(&bundle).ok().text(), "found");
    let bundle = bundle.edit(|c| c["process"]["env"] = json!(["PATH=/nowhere"]));
    runtime.run(&bundle).fails();
}

#[test]
fn user_and_groups_are_set() {
    let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [20, 21, 22] });
    let report = report(&with_process(|p| p["user"] = user));
    assert_eq!(report.status("Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(report.status("Gid"), "1001\t1001\t1001\t1001");
    assert_eq!(report.status("Groups"), "20 21 22");
}

#[test]
fn supplementary_groups_of_the_caller_are_dropped() {
    assert_eq!(report(&with_process(|_| ())).status("Groups"), "");
}

#[test]
fn the_umask_is_set() {
    let report = report(&with_process(|p| p["user"]["umask"] = json!(0o027)));
    assert_eq!(report.status("Umask"), "0027");
}

#[test]
fn the_umask_is_0022_by_default() {
    let runtime = Runtime::new();
    let bundle = with_process(|_| ());
    let call =
        runtime.run_command(&bundle, &[]).wrapped(["/bin/bash", "-c", "umask 077; exec \"$0\" \"$@\""]);
    assert_eq!(Report::parse(&call.run().ok().stdout).status("Umask"), "0022");
}

#[test]
fn the_largest_ids_of_runc_are_taken() {
    let user = json!({ "uid": i32::MAX, "gid": i32::MAX });
    let report = report(&with_process(|p| p["user"] = user));
    assert!(report.status("Uid").starts_with("2147483647"));
}

#[test]
fn no_new_privs_is_as_configured() {
    for (wanted, shown) in [(true, "1"), (false, "0")] {
        let report = report(&with_process(|p| p["noNewPrivileges"] = json!(wanted)));
        assert_eq!(report.status("NoNewPrivs"), shown);
    }
}

#[test]
fn capabilities_are_exactly_those_of_the_configuration() {
    let bundle = with_process(|p| {
        p["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        });
        p["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    let report = report(&bundle);
    assert_eq!(report.capabilities("CapBnd"), 1 << 0 | 1 << 5 | 1 << 13);
    // After exec by an ordinary user only the ambient ones are left.
    assert_eq!(report.capabilities("CapEff"), 1 << 5);
    assert_eq!(report.capabilities("CapPrm"), 1 << 5);
    assert_eq!(report.capabilities("CapAmb"), 1 << 5);
    assert_eq!(report.capabilities("CapInh"), 1 << 5);
}

#[test]
fn root_gets_the_bounding_capabilities_on_exec() {
    let report = report(&Bundle::docker().probe(&[]));
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(report.capabilities(set), 0xa804_25fb, "{set}");
    }
    assert_eq!(report.capabilities("CapInh"), 0);
    assert_eq!(report.capabilities("CapAmb"), 0);
}

#[test]
fn without_capabilities_there_are_none() {
    let report = report(&with_process(|p| p["capabilities"] = json!({})));
    for set in ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(report.capabilities(set), 0, "{set}");
    }
}

#[test]
fn an_ordinary_user_has_no_capabilities_unless_ambient() {
    let bundle =
        Bundle::docker().probe(&[]).edit(|c| c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }));
    let report = report(&bundle);
    assert_eq!(report.capabilities("CapEff"), 0);
    assert_eq!(report.capabilities("CapPrm"), 0);
    assert_eq!(report.capabilities("CapBnd"), 0xa804_25fb);
}

#[test]
fn unknown_capabilities_are_ignored_with_a_warning() {
    let names = json!(["CAP_KILL", "CAP_OF_THE_FUTURE"]);
    let bundle = with_process(|p| {
        p["capabilities"] = json!({ "bounding": names, "permitted": names, "effective": names });
    });
    let runtime = Runtime::new();
    let report = Report::parse(&runtime.run(&bundle).ok().stdout);
    assert_eq!(report.capabilities("CapEff"), 1 << 5);
}

#[test]
fn limits_are_set() {
    let names = [
        ("RLIMIT_CORE", "Max core file size"),
        ("RLIMIT_CPU", "Max cpu time"),
        ("RLIMIT_DATA", "Max data size"),
        ("RLIMIT_FSIZE", "Max file size"),
        ("RLIMIT_LOCKS", "Max file locks"),
        ("RLIMIT_MEMLOCK", "Max locked memory"),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size"),
        ("RLIMIT_NICE", "Max nice priority"),
        ("RLIMIT_NOFILE", "Max open files"),
        ("RLIMIT_NPROC", "Max processes"),
        ("RLIMIT_RSS", "Max resident set"),
        ("RLIMIT_RTPRIO", "Max realtime priority"),
        ("RLIMIT_RTTIME", "Max realtime timeout"),
        ("RLIMIT_SIGPENDING", "Max pending signals"),
        ("RLIMIT_STACK", "Max stack size"),
        ("RLIMIT_AS", "Max address space"),
    ];
    // Values that no limit here exceeds: none can be raised without CAP_SYS_RESOURCE.
    let value = |name: &str| match name {
        "RLIMIT_NICE" | "RLIMIT_RTPRIO" => (0_u64, 0_u64),
        "RLIMIT_NOFILE" | "RLIMIT_NPROC" | "RLIMIT_SIGPENDING" => (500, 1000),
        "RLIMIT_STACK" | "RLIMIT_AS" | "RLIMIT_DATA" | "RLIMIT_RSS" => (512 << 20, 1024 << 20),
        _ => (65536, 131_072),
    };
    let rlimits: Vec<Value> = names
        .iter()
        .map(|(name, _)| json!({ "type": name, "soft": value(name).0, "hard": value(name).1 }))
        .collect();
    let report = report(&with_process(|p| p["rlimits"] = json!(rlimits)));
    for (name, shown) in names {
        let (soft, hard) = value(name);
        assert_eq!(report.limit(shown), (soft.to_string(), hard.to_string()), "{name}");
    }
}

#[test]
fn unlimited_is_the_largest_number() {
    let limit = json!([{ "type": "RLIMIT_CPU", "soft": u64::MAX, "hard": u64::MAX }]);
    let report = report(&with_process(|p| p["rlimits"] = limit));
    assert_eq!(report.limit("Max cpu time"), ("unlimited".into(), "unlimited".into()));
}

#[test]
fn impossible_limits_are_refused() {
    let runtime = Runtime::new();
    let limits = [
        json!([{ "type": "RLIMIT_TEST", "soft": 1, "hard": 1 }]),
        json!([{ "type": "RLIMIT_NOFILE", "soft": 2, "hard": 1 }]),
    ];
    for limit in limits {
        let bundle = with_process(|p| p["rlimits"] = limit);
        runtime.container(&bundle).create().fails();
    }
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_limit_given_twice_is_refused() {
    require!(Need::Not(Peer::Runc, "takes the last"), Need::Not(Peer::Crun, "takes the last"));
    let runtime = Runtime::new();
    let limit = json!({ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 });
    let bundle = with_process(|p| p["rlimits"] = json!([limit, limit]));
    runtime.container(&bundle).create().fails();
}

#[test]
fn limits_can_be_raised_with_the_capability() {
    require!(Need::SYS_RESOURCE);
    let limit = json!([{ "type": "RLIMIT_NOFILE", "soft": 1_000_000, "hard": 1_000_000 }]);
    let report = report(&with_process(|p| p["rlimits"] = limit));
    assert_eq!(report.limit("Max open files").0, "1000000");
}

#[test]
fn the_oom_score_is_set() {
    let report = report(&with_process(|p| p["oomScoreAdj"] = json!(517)));
    assert_eq!(report.text("oomScoreAdj").trim(), "517");
}

#[test]
fn the_oom_score_can_be_lowered_with_the_capability() {
    require!(Need::SYS_RESOURCE);
    let report = report(&with_process(|p| p["oomScoreAdj"] = json!(-517)));
    assert_eq!(report.text("oomScoreAdj").trim(), "-517");
}

#[test]
fn an_impossible_oom_score_is_refused() {
    let runtime = Runtime::new();
    let bundle = with_process(|p| p["oomScoreAdj"] = json!(1001));
    runtime.container(&bundle).create().fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn the_scheduler_is_set() {
    require!(Need::Runc(1, 2), Need::Crun(1, 9));
    let check = |scheduler: Value, field: &str, expected: i64| {
        let report = report(&with_process(|p| p["scheduler"] = scheduler));
        assert_eq!(report.0["sched"][field], expected, "{}", report.0["sched"]);
    };
    check(json!({ "policy": "SCHED_BATCH", "nice": 12 }), "policy", 3);
    check(json!({ "policy": "SCHED_BATCH", "nice": 12 }), "nice", 12);
    check(json!({ "policy": "SCHED_IDLE" }), "policy", 5);
    check(json!({ "policy": "SCHED_OTHER", "nice": 14 }), "nice", 14);
}

#[test]
fn an_impossible_scheduler_is_refused() {
    require!(Need::Runc(1, 2), Need::Crun(1, 9));
    let runtime = Runtime::new();
    let impossible = [
        json!({ "policy": "SCHED_NONE" }),
        json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_OF_THE_FUTURE"] }),
        json!({ "policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 1000, "period": 1000 }),
        json!({ "policy": "SCHED_OTHER", "nice": 40 }),
        json!({ "policy": "" }),
    ];
    for scheduler in impossible {
        let bundle = with_process(|p| p["scheduler"] = scheduler.clone());
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{scheduler}");
    }
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn exec_takes_the_scheduler_of_its_file() {
    require!(Need::Runc(1, 2), Need::Crun(1, 9));
    let runtime = Runtime::new();
    let bundle = Bundle::new().probe(&[]).sleeping();
    let container = runtime.running(&bundle);
    let process = json!({
        "args": ["/bin/gantry-probe"], "cwd": "/", "user": { "uid": 0, "gid": 0 },
        "scheduler": { "policy": "SCHED_BATCH", "nice": 11 },
    });
    let report = Report::parse(&container.exec_process(&process, &[]).ok().stdout);
    assert_eq!((&report.0["sched"]["policy"], &report.0["sched"]["nice"]), (&json!(3), &json!(11)));
}

#[test]
fn the_io_priority_is_set() {
    require!(Need::Runc(1, 2), Need::Crun(1, 9));
    let runtime = Runtime::new();
    let show = |class: &str, priority: u32| {
        let bundle = Bundle::new().args(["ionice"]);
        let bundle =
            bundle.edit(|c| c["process"]["ioPriority"] = json!({ "class": class, "priority": priority }));
        runtime.run(&bundle).ok().text().to_owned()
    };
    assert_eq!(show("IOPRIO_CLASS_BE", 6), "best-effort: prio 6");
    assert_eq!(show("IOPRIO_CLASS_IDLE", 0), "idle");
    assert_eq!(show("IOPRIO_CLASS_RT", 3), "realtime: prio 3");
}

#[test]
fn exec_takes_the_io_priority_of_its_file() {
    require!(Need::Runc(1, 2), Need::Crun(1, 9));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let process = json!({
        "args": ["ionice"], "cwd": "/", "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"],
        "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 7 },
    });
    assert_eq!(container.exec_process(&process, &[]).ok().text(), "best-effort: prio 7");
}

#[test]
fn an_impossible_io_priority_is_refused() {
    require!(Need::Runc(1, 2), Need::Crun(1, 9));
    let runtime = Runtime::new();
    let impossible = [
        json!({ "class": "IOPRIO_CLASS_OF_THE_FUTURE", "priority": 0 }),
        json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }),
        json!({ "class": "IOPRIO_CLASS_BE", "priority": -1 }),
    ];
    for priority in impossible {
        let bundle = Bundle::new().edit(|c| c["process"]["ioPriority"] = priority.clone());
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{priority}");
    }
}

#[test]
fn exec_runs_on_the_cpus_of_its_affinity() {
    require!(Need::Runc(1, 3), Need::Crun(1, 20));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let cpus = |affinity: Value| {
        let process = json!({
            "args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/", "env": ["PATH=/bin"],
            "user": { "uid": 0, "gid": 0 }, "execCPUAffinity": affinity,
        });
        container.exec_process(&process, &[])
    };
    assert!(cpus(json!({ "initial": "0", "final": "0" })).ok().text().ends_with("\t0"));
    assert!(cpus(json!({ "final": "0-0" })).ok().text().ends_with("\t0"));
    for impossible in ["x", "1-0", "-1"] {
        cpus(json!({ "final": impossible })).fails();
    }
}

#[test]
fn the_personality_is_set() {
    require!(Need::Runc(1, 2));
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["uname", "-m"]);
    let bundle = bundle.edit(|c| c["linux"]["personality"] = json!({ "domain": "LINUX32" }));
    assert_eq!(runtime.run(&bundle).ok().text(), "i686");
    let container = runtime.running(&bundle);
    drop(container);
    let bundle = bundle.edit(|c| c["linux"]["personality"] = json!({ "domain": "LINUX" }));
    assert_eq!(runtime.run(&bundle).ok().text(), "x86_64");
}

#[test]
fn exec_has_the_personality_of_the_container() {
    require!(Need::Runc(1, 2));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let bundle = bundle.edit(|c| c["linux"]["personality"] = json!({ "domain": "LINUX32" }));
    let container = runtime.running(&bundle);
    assert_eq!(container.sh("uname -m"), "i686");
}

#[test]
fn an_impossible_personality_is_refused() {
    require!(Need::Runc(1, 2));
    let runtime = Runtime::new();
    let bundle = Bundle::new().edit(|c| c["linux"]["personality"] = json!({ "domain": "TOASTER" }));
    runtime.container(&bundle).create().fails();
}

#[test]
fn the_working_directory_is_set() {
    assert_eq!(report(&with_process(|p| p["cwd"] = json!("/etc"))).text("cwd"), "/etc");
}

#[test]
fn a_working_directory_that_only_the_user_may_enter_works() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["pwd"]).edit(|c| {
        c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        c["process"]["cwd"] = json!("/home/private");
        c["process"]["capabilities"] = json!({});
    });
    let dir = bundle.rootfs().join("home/private");
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, Some(1000), Some(1000)).unwrap();
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(runtime.run(&bundle).ok().text(), "/home/private");
}

#[test]
fn a_working_directory_that_only_root_may_enter_works_too() {
    // runc enters it before it gives up root, and again after when that failed: images rely on it.
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["pwd"]).edit(|c| {
        c["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        c["process"]["cwd"] = json!("/root/private");
    });
    std::fs::create_dir(bundle.rootfs().join("root/private")).unwrap();
    let root = bundle.rootfs().join("root");
    std::fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(runtime.run(&bundle).ok().text(), "/root/private");
}

#[test]
fn the_process_leads_a_session() {
    let report = report(&with_process(|_| ()));
    assert_eq!(report.0["session"], 1);
}

#[test]
fn signals_of_the_caller_are_neither_blocked_nor_ignored() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("grep -E 'Sig(Blk|Ign)' /proc/self/status");
    let script = "trap '' HUP USR1 PIPE CHLD; exec \"$0\" \"$@\"";
    let output = runtime.run_command(&bundle, &[]).wrapped(["/bin/bash", "-c", script]).run().ok();
    assert!(output.stdout.contains("SigBlk:\t0000000000000000"), "{output}");
    // runc's own handlers are reset by exec; what its caller ignores stays ignored, as POSIX has it.
    assert!(!output.stdout.contains("SigIgn:\tffff"), "{output}");
}

#[test]
fn an_apparmor_profile_without_apparmor_is_refused() {
    if std::path::Path::new("/sys/module/apparmor/parameters/enabled").exists() {
        gantry_testkit::skip_test!("AppArmor is here");
    }
    let runtime = Runtime::new();
    let bundle = with_process(|p| p["apparmorProfile"] = json!("some-profile"));
    runtime.container(&bundle).create().fails().says("apparmor");
    let bundle = with_process(|p| p["apparmorProfile"] = json!(""));
    runtime.run(&bundle).ok();
}

#[test]
fn an_selinux_label_without_selinux_is_refused_or_ignored() {
    let runtime = Runtime::new();
    let bundle = with_process(|p| p["selinuxLabel"] = json!("system_u:system_r:container_t:s0"));
    let output = runtime.run(&bundle);
    // runc refuses it, crun ignores it: never may the container run under a label that is not set and claim it.
    if !output.status.success() {
        output.says("selinux");
    }
    let bundle = with_process(|p| p["selinuxLabel"] = json!(""));
    runtime.run(&bundle).ok();
}
