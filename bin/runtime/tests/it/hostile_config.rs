//! Configurations that no honest engine writes: wrong types, great depth, great size, unknown fields.

use std::time::Duration;

use gantry_testkit::{Bundle, Need, Runtime, require};
use serde_json::{Value, json};

/// Gives the configuration to `create`, which must end soon and leave nothing when it fails.
#[track_caller]
fn survives(runtime: &Runtime, bundle: &Bundle, what: &str) -> bool {
    let container = runtime.container(bundle);
    let output = container.create_command(&[]).limit(Duration::from_secs(30)).run();
    assert!(output.status.code().is_some(), "killed by a signal: {what}: {output}");
    assert!(!output.stderr.contains("panic"), "{what}: {output}");
    if !output.status.success() {
        assert!(!output.stderr.trim().is_empty(), "an error without a word: {what}");
        assert!(runtime.leftovers().is_empty(), "{what}: {output}");
    }
    output.status.success()
}

#[test]
fn wrong_types_are_refused_with_the_name_of_the_field() {
    let runtime = Runtime::new();
    let wrong: [(&str, Value); 14] = [
        ("/ociVersion", json!(1)),
        ("/process/args", json!("sh")),
        ("/process/args", json!([1])),
        ("/process/env", json!({ "A": "b" })),
        ("/process/cwd", json!(["/"])),
        ("/process/user/uid", json!("0")),
        ("/process/user/uid", json!(-1)),
        ("/process/user/uid", json!(1.5)),
        ("/process/user/uid", json!(4_294_967_296_u64)),
        ("/root/path", json!(7)),
        ("/mounts", json!({ "destination": "/x" })),
        ("/mounts/1/options", json!("ro")),
        ("/linux/namespaces", json!(["pid"])),
        ("/linux/resources/devices", json!(true)),
    ];
    for (pointer, value) in wrong {
        let bundle = Bundle::new().edit(|c| *c.pointer_mut(pointer).unwrap() = value.clone());
        assert!(!survives(&runtime, &bundle, pointer), "{pointer} = {value}");
        if runtime.is_ours() {
            let field = pointer.rsplit('/').find(|part| part.parse::<u32>().is_err()).unwrap();
            runtime.container(&bundle).create().fails().says(field);
        }
    }
}

#[test]
fn unknown_fields_are_ignored_everywhere() {
    let runtime = Runtime::new();
    let bundle = Bundle::docker().args(["echo", "fine"]).edit(|c| {
        for pointer in ["", "/process", "/process/user", "/root", "/linux", "/linux/resources", "/mounts/0"] {
            c.pointer_mut(pointer).unwrap()["ofTheFuture"] = json!({ "a": [1, 2, { "b": null }] });
        }
        c["solaris"] = json!({ "milestone": "x" });
        c["windows"] = json!({ "layerFolders": ["x"] });
        c["vm"] = json!({ "hypervisor": { "path": "/x" } });
    });
    assert_eq!(runtime.run(&bundle).ok().text(), "fine");
}

#[test]
fn null_is_absence() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["echo", "fine"]).edit(|c| {
        c["hooks"] = Value::Null;
        c["annotations"] = Value::Null;
        c["process"]["rlimits"] = Value::Null;
        c["process"]["user"]["additionalGids"] = Value::Null;
        c["linux"]["sysctl"] = Value::Null;
        c["linux"]["devices"] = Value::Null;
        c["linux"]["seccomp"] = Value::Null;
        c["linux"]["resources"]["memory"] = Value::Null;
        c["mounts"][0]["options"] = Value::Null;
    });
    assert_eq!(runtime.run(&bundle).ok().text(), "fine");
}

#[test]
fn great_depth_is_refused_and_not_a_crash() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let deep = format!("{{\"ociVersion\":\"1.0.0\",\"x\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    bundle.write_raw(deep.as_bytes());
    assert!(!survives(&runtime, &bundle, "depth"));
}

#[test]
fn great_size_is_survived() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().edit(|c| {
        let env: Vec<String> = (0..20_000).map(|n| format!("VARIABLE_{n}={}", "x".repeat(40))).collect();
        c["process"]["env"] = json!(env);
    });
    // More than execve takes with the usual stack, or not: an answer, in any case.
    survives(&runtime, &bundle, "environment");
    let bundle = Bundle::new().edit(|c| {
        let annotations: serde_json::Map<String, Value> =
            (0..50_000).map(|n| (format!("key{n}"), json!("x".repeat(20)))).collect();
        c["annotations"] = json!(annotations);
    });
    survives(&runtime, &bundle, "annotations");
    let bundle = Bundle::new().edit(|c| c["process"]["cwd"] = json!(format!("/{}", "x/".repeat(4000))));
    assert!(!survives(&runtime, &bundle, "a path longer than the kernel's"));
    let bundle = Bundle::new().edit(|c| c["hostname"] = json!("h".repeat(10_000)));
    assert!(!survives(&runtime, &bundle, "a host name longer than the kernel's"));
}

#[test]
fn a_configuration_beyond_the_limit_is_refused_early() {
    require!(Need::Ours);
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    // A sparse file: nobody writes it, and nobody may read it whole.
    let file = std::fs::File::create(bundle.path().join("config.json")).unwrap();
    file.set_len(8 << 30).unwrap();
    let output = runtime.container(&bundle).create_command(&[]).limit(Duration::from_secs(5)).run();
    output.fails();
}

#[test]
fn a_configuration_that_is_no_file_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let path = bundle.path().join("config.json");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(!survives(&runtime, &bundle, "a directory"));
}

#[test]
fn a_configuration_that_is_a_fifo_or_endless_does_not_hang() {
    require!(Need::Ours);
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let path = bundle.path().join("config.json");
    for target in ["/dev/zero", "/dev/full"] {
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(target, &path).unwrap();
        let container = runtime.container(&bundle);
        container.create_command(&[]).limit(Duration::from_secs(10)).run().fails();
    }
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    runtime.container(&bundle).create_command(&[]).limit(Duration::from_secs(10)).run().fails();
}

#[test]
fn nul_bytes_are_refused() {
    let runtime = Runtime::new();
    let places: [(&str, Value); 6] = [
        ("/process/args", json!(["/bin/true\u{0}x"])),
        ("/process/env", json!(["A=b\u{0}c"])),
        ("/process/cwd", json!("/\u{0}")),
        ("/hostname", json!("a\u{0}b")),
        ("/root/path", json!("rootfs\u{0}")),
        ("/mounts/0/destination", json!("/proc\u{0}x")),
    ];
    for (pointer, value) in places {
        let bundle = Bundle::new().edit(|c| *c.pointer_mut(pointer).unwrap() = value);
        let created = survives(&runtime, &bundle, pointer);
        // runc passes a NUL in some places on to the kernel, which cuts the text there.
        assert!(!created || !runtime.is_ours(), "{pointer}");
    }
}

#[test]
fn odd_environment_entries_are_refused_or_passed_as_they_are() {
    let runtime = Runtime::new();
    for entry in ["NO_EQUALS_SIGN", "=empty", ""] {
        let bundle = Bundle::new().edit(|c| c["process"]["env"] = json!(["PATH=/bin", entry]));
        survives(&runtime, &bundle, entry);
    }
}

#[test]
fn a_version_of_another_major_number_is_refused() {
    require!(Need::Not(gantry_testkit::Peer::Runc, "does not look at it"));
    let runtime = Runtime::new();
    for version in ["2.0.0", "x", "", "0.9.0"] {
        let bundle = Bundle::new().edit(|c| c["ociVersion"] = json!(version));
        assert!(!survives(&runtime, &bundle, version), "{version}");
    }
    let bundle = Bundle::new().args(["true"]).edit(|c| c["ociVersion"] = json!("1.99.0"));
    runtime.run(&bundle).ok();
}

#[test]
fn duplicate_keys_take_the_last_and_never_mix() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["echo", "second"]);
    let mut text = bundle.config().to_string();
    let first = json!({ "args": ["echo", "first"], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
    text.insert_str(1, &format!("\"process\":{first},"));
    bundle.write_raw(text.as_bytes());
    let container = runtime.container(&bundle);
    let output = runtime.run_named(&bundle, container.id(), &[]).run();
    assert!(!output.status.success() || output.text() == "second", "{output}");
}

#[test]
fn random_bytes_for_a_configuration_are_survived() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    // A generator of its own with a fixed seed: the same bytes in each run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let original = bundle.config().to_string().into_bytes();
    for round in 0..40 {
        let mut text = original.clone();
        for _ in 0..=round % 5 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let place = usize::try_from(state >> 33).unwrap() % text.len();
            text[place] = u8::try_from((state >> 24) & 0xff).unwrap();
        }
        // The cgroup must stay the test's own.
        if !String::from_utf8_lossy(&text).contains(&bundle.cgroup()) {
            continue;
        }
        bundle.write_raw(&text);
        let container = runtime.container(&bundle);
        let output = container.create_command(&[]).limit(Duration::from_secs(30)).run();
        assert!(output.status.code().is_some(), "round {round}: {output}");
        assert!(!output.stderr.contains("panicked"), "round {round}: {output}");
    }
}
