//! Device nodes and the device cgroup.

use gantry_testkit::{Bundle, Need, Report, Runtime, require};
use serde_json::{Value, json};

fn report(bundle: &Bundle) -> Report {
    let runtime = Runtime::new();
    Report::parse(&runtime.run(bundle).ok().stdout)
}

#[test]
fn the_default_devices_and_links_are_there() {
    let nodes = [
        ("/dev/null", 1, 3),
        ("/dev/zero", 1, 5),
        ("/dev/full", 1, 7),
        ("/dev/random", 1, 8),
        ("/dev/urandom", 1, 9),
        ("/dev/tty", 5, 0),
    ];
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ];
    let mut args = Vec::new();
    for path in nodes.iter().map(|node| node.0).chain(links.iter().map(|link| link.0)) {
        args.extend(["--device", path]);
    }
    let report = report(&Bundle::new().probe(&args));
    for (path, major, minor) in nodes {
        let device = &report.0["devices"][path];
        assert_eq!((&device["major"], &device["minor"]), (&json!(major), &json!(minor)), "{path}");
        assert_eq!((&device["type"], &device["mode"]), (&json!("c"), &json!("666")), "{path}");
    }
    for (path, target) in links {
        assert_eq!(report.0["devices"][path]["link"], target, "{path}");
    }
}

#[test]
fn the_default_devices_work() {
    let runtime = Runtime::new();
    let script = "echo x >/dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c && \
        { echo x >/dev/full; } 2>&1 | grep -c 'No space'; cat </dev/null";
    let output = runtime.run(&Bundle::new().sh(script)).ok();
    assert_eq!(output.lines(), ["4", "4", "1"]);
}

fn device(path: &str, kind: &str, major: u32, minor: u32) -> Value {
    json!({ "path": path, "type": kind, "major": major, "minor": minor, "fileMode": 0o640, "uid": 7, "gid": 8 })
}

/// A bundle with the kernel's log as a device: every kernel has it, and no default rule allows it.
fn with_kmsg(script: &str, rules: Value) -> Bundle {
    Bundle::new().capabilities(&["CAP_SYSLOG", "CAP_DAC_OVERRIDE"]).sh(script).edit(|c| {
        c["linux"]["devices"] = json!([device("/dev/kmsg", "c", 1, 11)]);
        c["linux"]["resources"]["devices"] = rules;
    })
}

#[test]
fn devices_of_the_configuration_are_made() {
    let bundle = Bundle::new()
        .probe(&["--device", "/dev/kmsg", "--device", "/dev/deep/in/here", "--device", "/dev/fifo"])
        .edit(|c| {
            c["linux"]["devices"] = json!([
                device("/dev/kmsg", "c", 1, 11),
                device("/dev/deep/in/here", "b", 7, 200),
                { "path": "/dev/fifo", "type": "p", "fileMode": 0o600, "uid": 0, "gid": 0 },
            ]);
        });
    let report = report(&bundle);
    for (path, kind, major, minor) in [("/dev/kmsg", "c", 1, 11), ("/dev/deep/in/here", "b", 7, 200)] {
        let device = &report.0["devices"][path];
        assert_eq!(device["type"], kind);
        assert_eq!((&device["major"], &device["minor"]), (&json!(major), &json!(minor)));
        assert_eq!((&device["mode"], &device["uid"], &device["gid"]), (&json!("640"), &json!(7), &json!(8)));
    }
    assert_eq!(report.0["devices"]["/dev/fifo"]["type"], "p");
}

#[test]
fn a_device_in_place_of_a_default_one_is_taken() {
    let bundle = Bundle::new().probe(&["--device", "/dev/null"]);
    let bundle = bundle.edit(|c| {
        c["linux"]["devices"] = json!([device("/dev/null", "c", 1, 3)]);
        c["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
        ]);
    });
    assert_eq!(report(&bundle).0["devices"]["/dev/null"]["uid"], 7);
}

#[test]
fn devices_are_bound_in_a_user_namespace() {
    let bundle = Bundle::new().userns().probe(&["--device", "/dev/null", "--device", "/dev/full"]);
    let report = report(&bundle);
    assert_eq!(report.0["devices"]["/dev/null"]["writable"], "yes");
    assert_eq!(report.mount("/dev/null").kind, "devtmpfs");
}

#[test]
fn devices_that_no_rule_allows_are_denied() {
    let runtime = Runtime::new();
    let bundle = with_kmsg("cat /dev/kmsg >/dev/null", json!([{ "allow": false, "access": "rwm" }]));
    runtime.run(&bundle).fails().says("operation not permitted");
}

#[test]
fn devices_that_a_rule_allows_are_usable_as_far_as_it_says() {
    let runtime = Runtime::new();
    let script = "head -c 0 /dev/kmsg && echo read; { echo >/dev/kmsg; } 2>&1 | tail -1";
    let rules = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" },
    ]);
    let output = runtime.run(&with_kmsg(script, rules)).ok();
    assert!(output.stdout.contains("read") && output.stdout.contains("not permitted"), "{output}");
}

#[test]
fn the_last_rule_that_matches_counts() {
    let runtime = Runtime::new();
    let rule = |allow: bool| json!({ "allow": allow, "type": "c", "major": 1, "minor": 11, "access": "rwm" });
    let none = json!({ "allow": false, "access": "rwm" });
    let run = |rules: Value| runtime.run(&with_kmsg("head -c 0 /dev/kmsg", rules));
    run(json!([none, rule(true)])).ok();
    run(json!([none, rule(true), rule(false)])).fails();
    run(json!([{ "allow": true, "access": "rwm" }])).ok();
    run(json!([{ "allow": true, "access": "rwm" }, none])).fails();
}

#[test]
fn wildcards_allow_every_minor() {
    let runtime = Runtime::new();
    let rules = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "access": "rw" },
    ]);
    runtime.run(&with_kmsg("head -c 0 /dev/kmsg", rules)).ok();
}

#[test]
fn new_nodes_may_be_made_and_not_opened() {
    let runtime = Runtime::new();
    let script = "mknod /dev/sda b 8 0 && mknod /dev/x c 1 11 && echo made; cat /dev/x; cat /dev/sda";
    let output = runtime.run(&Bundle::docker().sh(script));
    assert_eq!(output.text(), "made", "{output}");
    assert_eq!(output.stderr.matches("not permitted").count(), 2, "{output}");
}

#[test]
fn exec_is_under_the_rules_too() {
    let runtime = Runtime::new();
    let bundle = with_kmsg("sleep 1000", json!([{ "allow": false, "access": "rwm" }]));
    let container = runtime.running(&bundle);
    container.exec(&[], ["sh", "-c", "cat /dev/kmsg"]).fails().says("not permitted");
}

#[test]
fn the_terminal_works_under_a_rule_that_denies_everything() {
    let runtime = Runtime::new();
    let bundle =
        Bundle::new().sh("echo through >/dev/console").edit(|c| c["process"]["terminal"] = json!(true));
    let receiver = gantry_testkit::Receiver::listen(runtime.scratch().join("console"));
    let container = runtime.container(&bundle);
    container.create_command(&["--console-socket", receiver.path()]).run().ok();
    let mut terminal = gantry_testkit::Terminal::new(receiver.receive().fds.remove(0));
    container.start().ok();
    assert!(terminal.read_to_end().contains("through"));
}

#[test]
fn impossible_devices_are_refused() {
    let runtime = Runtime::new();
    let impossible = [
        json!([{ "path": "/dev/x", "type": "q", "major": 1, "minor": 1 }]),
        json!([{ "type": "c", "major": "x", "minor": 3, "path": "/dev/x" }]),
    ];
    for devices in impossible {
        let bundle = Bundle::new().edit(|c| c["linux"]["devices"] = devices.clone());
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{devices}");
    }
    let rule = json!([{ "allow": true, "type": "q", "access": "rwm" }]);
    let bundle = Bundle::new().edit(|c| c["linux"]["resources"]["devices"] = rule);
    runtime.container(&bundle).create().fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn the_rules_can_be_read_back_on_v1() {
    require!(Need::CgroupV1, Need::Controller("devices"));
    let runtime = Runtime::new();
    let bundle = Bundle::docker().sleeping();
    let _container = runtime.running(&bundle);
    let list = gantry_testkit::Cgroups::detect().read("devices", &bundle.cgroup(), "devices.list");
    let mut lines: Vec<&str> = list.lines().collect();
    lines.sort_unstable();
    // The list of runc: dockerd relies on it for terminals and VPN software.
    let rules = [
        "b *:* m",
        "c *:* m",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 5:1 rwm",
        "c 5:2 rwm",
        "c 136:* rwm",
        "c 10:200 rwm",
    ];
    for rule in rules {
        assert!(lines.contains(&rule), "{rule}: {lines:?}");
    }
    assert_eq!(lines.len(), rules.len(), "{lines:?}");
}
