//! Hooks of all six kinds: when, where and with what they run, and what happens when they fail.

use std::fs;
use std::path::PathBuf;

use gantry_testkit::{Bundle, Need, Peer, Runtime, require, until_true};
use serde_json::{Value, json};

/// A hook that runs a script with the shell of the host.
fn hook(script: &str) -> Value {
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
}

fn log_of(bundle: &Bundle) -> PathBuf {
    bundle.path().join("log")
}

/// A bundle whose hooks write their names into the log, in the order in which they run.
fn logging() -> Bundle {
    // The hook that runs inside sees the container's root, and writes there.
    let bundle = Bundle::new().writable().sh("cat /log >/from-inside; echo program >>/log");
    let log = log_of(&bundle);
    bundle.write("log", "");
    let mut hooks = json!({});
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        hooks[kind] = hook(&format!("echo {kind} >>{}", log.display()));
    }
    hooks["startContainer"] = hook("echo startContainer >>/log");
    bundle.edit(|c| c["hooks"] = hooks)
}

#[test]
fn hooks_run_in_the_order_of_the_specification() {
    // Older ones run the poststart hooks at the end of create.
    require!(Need::Runc(1, 5));
    let runtime = Runtime::new();
    let bundle = logging();
    let log = || fs::read_to_string(log_of(&bundle)).unwrap_or_default();
    let container = runtime.created(&bundle);
    assert_eq!(log(), "prestart\ncreateRuntime\ncreateContainer\n");
    container.start().ok();
    container.wait_for("stopped");
    until_true("poststart", || log().contains("poststart"));
    assert_eq!(log(), "prestart\ncreateRuntime\ncreateContainer\npoststart\n");
    let inside = fs::read_to_string(bundle.rootfs().join("log")).unwrap();
    assert_eq!(inside, "startContainer\nprogram\n");
    container.delete().ok();
    assert_eq!(log(), "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n");
}

#[test]
fn run_runs_all_hooks_too() {
    let runtime = Runtime::new();
    let bundle = logging();
    runtime.run(&bundle).ok();
    let log = fs::read_to_string(log_of(&bundle)).unwrap();
    assert_eq!(log, "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n");
}

#[test]
fn several_hooks_of_a_kind_run_in_their_order() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let log = log_of(&bundle);
    let entry = |n: u32| hook(&format!("echo {n} >>{}", log.display()))[0].clone();
    let bundle = bundle.edit(|c| c["hooks"] = json!({ "createRuntime": [entry(1), entry(2), entry(3)] }));
    runtime.run(&bundle).ok();
    assert_eq!(fs::read_to_string(log_of(&bundle)).unwrap(), "1\n2\n3\n");
}

#[test]
fn hooks_get_the_state_on_standard_input() {
    // Older ones run the poststart hooks at the end of create.
    require!(Need::Runc(1, 5));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping().edit(|c| c["annotations"] = json!({ "key": "value" }));
    let dir = bundle.make_dir("states");
    let mut hooks = json!({});
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        hooks[kind] = hook(&format!("cat >{}/{kind}", dir.display()));
    }
    let bundle = bundle.edit(|c| c["hooks"] = hooks);
    let container = runtime.running(&bundle);
    let pid = container.pid();
    container.delete_force().ok();
    for (kind, status) in [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ] {
        let text = fs::read_to_string(dir.join(kind)).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let state: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{kind}: {error}: {text}"));
        assert_eq!(state["id"], container.id(), "{kind}");
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(state["bundle"], bundle.path().to_str().unwrap(), "{kind}");
        assert_eq!(state["annotations"]["key"], "value", "{kind}");
        assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{kind}");
        if kind != "poststop" && kind != "createContainer" {
            assert_eq!(state["pid"], pid, "{kind}");
        }
    }
}

#[test]
fn hooks_have_the_arguments_and_the_environment_of_the_configuration_alone() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let out = bundle.path().join("out");
    let script = format!("{{ echo \"$0 $1 $2\"; env; }} >{}", out.display());
    let hook = json!({
        "path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one", "two"], "env": ["ONLY=this", "EMPTY="],
    });
    let bundle = bundle.edit(|c| c["hooks"] = json!({ "prestart": [hook] }));
    runtime.run_command(&bundle, &[]).env("SECRET", "of the host").run().ok();
    let text = fs::read_to_string(&out).unwrap();
    assert_eq!(text.lines().next(), Some("zero one two"));
    assert!(text.contains("ONLY=this") && text.contains("EMPTY="), "{text}");
    assert!(!text.contains("SECRET") && !text.contains("PATH=/usr/local"), "{text}");
}

#[test]
fn prestart_hooks_run_in_the_namespaces_of_the_runtime_before_the_root_changes() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let out = bundle.path().join("out");
    // The container's namespaces exist, and the hook can enter them through the pid of the state: CNI does.
    let script = format!(
        "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); {{ readlink /proc/self/ns/net; readlink /proc/$pid/ns/net; }} >{}",
        out.display()
    );
    let bundle = bundle.edit(|c| c["hooks"] = json!({ "prestart": hook(&script) }));
    runtime.run(&bundle).ok();
    let text = fs::read_to_string(&out).unwrap();
    let links: Vec<&str> = text.lines().collect();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(links[0], own.to_str().unwrap());
    assert_ne!(links[0], links[1], "{text}");
}

#[test]
fn create_container_hooks_run_in_the_mount_namespace_before_the_root_changes() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let (rootfs, out) = (bundle.rootfs(), bundle.path().join("out"));
    let script = format!(
        "readlink /proc/self/ns/mnt >{0}; grep -c ' {1}/proc ' /proc/self/mountinfo >>{0}",
        out.display(),
        rootfs.display()
    );
    let bundle = bundle.edit(|c| c["hooks"] = json!({ "createContainer": hook(&script) }));
    runtime.run(&bundle).ok();
    let text = fs::read_to_string(&out).unwrap();
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_ne!(text.lines().next(), own.to_str(), "{text}");
    assert_eq!(text.lines().nth(1), Some("1"), "the container's mounts are there: {text}");
}

#[test]
fn start_container_hooks_run_inside() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().args(["cat", "/out"]);
    let script = "hostname >/out; readlink /proc/self/exe >>/out; pwd >>/out";
    let bundle = bundle.edit(|c| c["hooks"] = json!({ "startContainer": hook(script) }));
    let output = runtime.run(&bundle).ok();
    assert_eq!(output.lines()[..2], ["runc", "/bin/busybox"]);
}

#[test]
fn start_container_hook_without_an_environment_has_the_process_s_and_its_home() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().args(["cat", "/out"]);
    let bundle = bundle.edit(|c| {
        c["process"]["env"] = json!(["PATH=/bin", "ONE=two"]);
        c["hooks"] = json!({ "startContainer": [{
            "path": "/bin/sh",
            "args": ["sh", "-c", "echo \"$ONE ${HOME-none}\" >/out"],
        }] });
    });
    assert_eq!(runtime.run(&bundle).ok().lines(), ["two /root"]);
}

#[test]
fn a_prestart_hook_can_set_up_the_network() {
    require!(Need::Program("ip"), Need::Program("nsenter"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["ip", "addr", "show", "test0"]);
    let script = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); PATH=/usr/sbin:/sbin:/usr/bin:/bin; export PATH; \
        nsenter --net=/proc/$pid/ns/net ip link add test0 type veth peer name test1; \
        nsenter --net=/proc/$pid/ns/net ip addr add 10.1.2.3/24 dev test0";
    let bundle = bundle.edit(|c| c["hooks"] = json!({ "createRuntime": hook(script) }));
    assert!(runtime.run(&bundle).ok().stdout.contains("10.1.2.3/24"));
}

#[test]
fn a_mount_of_a_create_container_hook_is_seen_by_the_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["cat", "/mnt/file"]);
    let dir = bundle.make_dir("shared");
    fs::write(dir.join("file"), "mounted by the hook").unwrap();
    let script = format!("mount --bind {} {}/mnt", dir.display(), bundle.rootfs().display());
    let bundle = bundle.edit(|c| c["hooks"] = json!({ "createContainer": hook(&script) }));
    assert_eq!(runtime.run(&bundle).ok().text(), "mounted by the hook");
}

#[test]
fn failing_hooks_before_the_start_fail_the_creation_and_leave_nothing() {
    let runtime = Runtime::new();
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = Bundle::new();
        let stopped = bundle.path().join("poststop");
        let bundle = bundle.edit(|c| {
            c["hooks"] = json!({ kind: hook("echo the reason >&2; exit 9") });
            c["hooks"]["poststop"] = hook(&format!("echo ran >>{}", stopped.display()));
        });
        let output = runtime.container(&bundle).create();
        assert!(!output.status.success(), "{kind}");
        assert!(output.stderr.contains("hook") || output.stderr.contains("exit status"), "{kind}: {output}");
        assert!(runtime.leftovers().is_empty(), "{kind}");
        let text = fs::read_to_string(&stopped).unwrap_or_default();
        assert!(text == "ran\n" || text.is_empty(), "{kind}: {text}");
    }
}

#[test]
fn the_standard_error_of_a_failing_hook_is_reported() {
    let runtime = Runtime::new();
    let bundle =
        Bundle::new().edit(|c| c["hooks"] = json!({ "prestart": hook("echo because of this >&2; exit 9") }));
    let output = runtime.container(&bundle).create().fails();
    output.says("because of this").says("exit status 9");
}

#[test]
fn a_failing_start_container_hook_stops_the_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().sh("touch /ran; sleep 1000");
    let bundle = bundle.edit(|c| c["hooks"] = json!({ "startContainer": hook("exit 9") }));
    let container = runtime.created(&bundle);
    let _ = container.start();
    container.wait_for("stopped");
    assert!(!bundle.rootfs().join("ran").exists());
    container.delete().ok();
    runtime.run(&bundle).fails();
}

#[test]
fn a_failing_poststart_hook_stops_the_container() {
    // Older ones run the poststart hooks at the end of create.
    require!(Need::Runc(1, 5));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping().edit(|c| c["hooks"] = json!({ "poststart": hook("exit 9") }));
    let container = runtime.created(&bundle);
    container.start().fails();
    // The specification goes on where the container is destroyed; runc leaves that to a delete command.
    if !runtime.is_ours() && runtime.version().peer != Peer::Crun {
        container.wait_for("stopped");
        container.delete().ok();
    }
    runtime.run(&bundle).fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_failing_poststop_hook_does_not_keep_the_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let log = log_of(&bundle);
    let second = hook(&format!("echo second >>{}", log.display()))[0].clone();
    let bundle = bundle.edit(|c| {
        c["hooks"] = json!({ "poststop": [hook("exit 9")[0], second] });
    });
    let container = runtime.running(&bundle);
    container.wait_for("stopped");
    let _ = container.delete();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    let runtime = Runtime::new();
    let mut slow = hook("exec sleep 1000");
    slow[0]["timeout"] = json!(1);
    let bundle = Bundle::new().edit(|c| c["hooks"] = json!({ "prestart": slow }));
    let output = runtime.container(&bundle).create().fails();
    assert!(output.elapsed.as_secs() < 20, "{output}");
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_hook_within_its_time_limit_is_fine() {
    let runtime = Runtime::new();
    let mut quick = hook("true");
    quick[0]["timeout"] = json!(20);
    let bundle = Bundle::new().edit(|c| c["hooks"] = json!({ "prestart": quick }));
    runtime.run(&bundle).ok();
}

#[test]
fn a_time_limit_that_is_not_positive_is_refused() {
    require!(Need::Not(Peer::Runc, "takes 0 for no limit"), Need::Not(Peer::Crun, "takes 0 for no limit"));
    let runtime = Runtime::new();
    let mut hook = hook("true");
    hook[0]["timeout"] = json!(-1);
    let bundle = Bundle::new().edit(|c| c["hooks"] = json!({ "prestart": hook }));
    runtime.container(&bundle).create().fails();
}

#[test]
fn a_hook_that_does_not_exist_fails_the_creation() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().edit(|c| c["hooks"] = json!({ "prestart": [{ "path": "/no/such/hook" }] }));
    runtime.container(&bundle).create().fails().says("/no/such/hook");
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn a_relative_hook_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().edit(|c| c["hooks"] = json!({ "prestart": [{ "path": "bin/true" }] }));
    runtime.container(&bundle).create().fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn poststop_hooks_run_when_a_container_is_deleted_by_force() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let log = log_of(&bundle);
    let bundle =
        bundle.edit(|c| c["hooks"] = json!({ "poststop": hook(&format!("echo ran >{}", log.display())) }));
    let container = runtime.running(&bundle);
    container.delete_force().ok();
    assert_eq!(fs::read_to_string(log_of(&bundle)).unwrap(), "ran\n");
}

#[test]
fn poststop_hooks_run_after_the_container_is_gone() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let log = log_of(&bundle);
    let script = format!("ls -d {}/* 2>/dev/null | wc -l >{}", runtime.state_dir().display(), log.display());
    let bundle = bundle.edit(|c| c["hooks"] = json!({ "poststop": hook(&script) }));
    let container = runtime.running(&bundle);
    container.delete_force().ok();
    assert!(log_of(&bundle).exists());
}

#[test]
fn hooks_inherit_no_descriptors() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let out = bundle.path().join("out");
    // The descriptor of the directory that is listed counts as one.
    let script = format!("ls /proc/self/fd | wc -l >{}", out.display());
    let bundle = bundle.edit(|c| c["hooks"] = json!({ "createRuntime": hook(&script) }));
    let call = runtime.run_command(&bundle, &[]).redirected("9</etc/passwd 17</");
    call.run().ok();
    assert_eq!(fs::read_to_string(&out).unwrap().trim(), "4");
}

#[test]
fn hooks_that_read_nothing_do_not_break_the_runtime() {
    let runtime = Runtime::new();
    // The state is larger than a pipe's buffer: writing it must neither block nor kill the runtime.
    let long = "x".repeat(200_000);
    let bundle = Bundle::new().edit(|c| {
        c["hooks"] = json!({ "prestart": hook("exec </dev/null"), "poststop": hook("exec </dev/null") });
        c["annotations"] = json!({ "long": long });
    });
    runtime.run(&bundle).ok();
}

#[test]
fn hooks_without_an_environment_have_that_of_the_runtime() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let out = bundle.path().join("out");
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("echo $SEEN >{}", out.display())] });
    let bundle = bundle.edit(|c| c["hooks"] = json!({ "createRuntime": [hook] }));
    runtime.run_command(&bundle, &[]).env("SEEN", "yes").run().ok();
    assert_eq!(fs::read_to_string(&out).unwrap().trim(), "yes");
}

#[test]
fn annotations_name_files_for_the_output_of_hooks() {
    let runtime = Runtime::new();
    if !runtime.is_ours() && runtime.version().peer != Peer::Crun {
        return;
    }
    let bundle = Bundle::new();
    let (out, err) = (bundle.path().join("out"), bundle.path().join("err"));
    let bundle = bundle.edit(|c| {
        c["annotations"] = json!({ "run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err });
        c["hooks"] = json!({ "prestart": hook("echo one; echo two >&2") });
    });
    runtime.run(&bundle).ok();
    let text = |path: PathBuf| fs::read_to_string(path).unwrap();
    assert_eq!((text(out).trim(), text(err).trim()), ("one", "two"));
}
