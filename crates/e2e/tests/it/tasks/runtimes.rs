//! Shims of others, shims that several containers share, and runtimes that are not there.

use std::path::Path;

use gantry_e2e::require_engine;
use gantry_testkit::until_true;

use super::remains::shims;
use super::{Case, DEBIAN, TRAP, loaded_with, ours, shared};
use crate::in_terminal;

/// The life of a task with whatever shim the case has.
pub(super) fn life(case: &Case<'_>) {
    let output =
        case.run(&["--rm"], &["sh", "-c", "read line; echo got $line; exit 7"]).stdin("it\n").run().exits(7);
    assert_eq!(output.text(), "got it");
    case.detached(&["sh", "-c", TRAP]);
    assert_eq!(case.status(), "RUNNING");
    case.runs_execs("e1");
    case.exec("e2", &[], &["sh", "-c", "exit 9"]).run().exits(9);
    let (shown, _) = in_terminal(case.exec("e3", &["--tty"], &["tty"]));
    assert!(shown.contains("/dev/pts/"), "{shown}");
    assert!(case.task(&["ps"]).run().ok().lines().len() >= 2);
    case.task(&["metrics"]).run().ok();
    case.task(&["pause"]).run().ok();
    assert_eq!(case.status(), "PAUSED");
    case.task(&["resume"]).run().ok();
    case.kill("SIGTERM");
    case.wait_for("STOPPED");
    case.remove(3);
}

/// The program of a case's shim.
fn program(case: &Case<'_>) -> String {
    let words = std::fs::read_to_string(format!("/proc/{}/cmdline", case.shim())).unwrap();
    words.split('\0').next().unwrap_or_default().to_owned()
}

#[test]
fn a_shim_is_named_by_its_path() {
    require_engine!("containerd-shim-runc-v2");
    let case = Case::of(shared(), "t-path", DEBIAN);
    life(&case);
    case.detached(&["sleep", "1000"]);
    assert_eq!(program(&case), DEBIAN);
    case.remove(137);
}

#[test]
fn a_shim_is_configured_for_a_name() {
    require_engine!("containerd-shim-runc-v2");
    ours!();
    let runtimes = format!("[runtimes.\"io.containerd.runc.v2\"]\npath = \"{DEBIAN}\"\n");
    let daemon = loaded_with("gt-task-named", &runtimes);
    let case = Case::of(&daemon, "t-named", "io.containerd.runc.v2");
    life(&case);
    case.detached(&["sleep", "1000"]);
    assert_eq!(program(&case), DEBIAN);
    case.remove(137);
    let other = Case::of(&daemon, "t-named2", "io.containerd.gantry.v2");
    other.detached(&["sleep", "1000"]);
    assert!(program(&other).contains("gantry"), "{}", program(&other));
    other.remove(137);
}

#[test]
fn the_default_name_is_that_of_our_shim() {
    require_engine!("ctr");
    ours!();
    for runtime in ["io.containerd.runc.v2", "io.containerd.gantry.v2"] {
        let case = Case::of(shared(), "t-default", runtime);
        life(&case);
        case.detached(&["sleep", "1000"]);
        assert!(program(&case).contains("gantry"), "{}", program(&case));
        case.remove(137);
    }
}

#[test]
fn a_runtime_that_is_not_there_is_named() {
    require_engine!("ctr");
    let case = Case::of(shared(), "t-noruntime", "io.containerd.nosuch.v1");
    case.run(&["--rm"], &["true"]).run().fails().says("nosuch");
    let case = Case::of(shared(), "t-noshim", "/no/such/shim");
    case.run(&["--rm"], &["true"]).run().fails().says("/no/such/shim");
    for id in ["t-noruntime", "t-noshim"] {
        let _ = shared().namespace(super::NAMESPACE).ctr(["containers", "rm", id]).run();
    }
}

fn pod(runtime: Option<&str>, names: [&str; 2], annotation: &str) {
    let case = |id: &str| match runtime {
        Some(runtime) => Case::of(shared(), id, runtime),
        None => Case::new(shared(), id),
    };
    let [one, two] = names.map(case);
    let options = ["--detach", "--annotation", annotation];
    one.run(&options, &["sleep", "1000"]).run().ok();
    two.run(&options, &["sleep", "1000"]).run().ok();
    let shim = one.shim();
    until_true("the second to have no shim", || shims(&two.id).is_empty());
    // The first of them goes, and the shim stays.
    one.remove(137);
    two.runs_execs("e");
    assert!(shims(&one.id).contains(&shim));
    let again = case(&one.id);
    again.run(&options, &["sleep", "1000"]).run().ok();
    again.remove(137);
    two.remove(137);
    until_true("the shim to go", || !Path::new(&format!("/proc/{shim}")).exists());
}

#[test]
fn containers_of_a_group_share_a_shim() {
    require_engine!("ctr");
    pod(None, ["t-pod1", "t-pod2"], "io.containerd.runc.v2.group=t-pod");
}

#[test]
fn containers_of_a_pod_share_a_shim() {
    require_engine!("ctr");
    pod(None, ["t-cri1", "t-cri2"], "io.kubernetes.cri.sandbox-id=t-cri");
}

#[test]
fn containers_of_a_group_share_a_shim_of_others() {
    require_engine!("containerd-shim-runc-v2");
    pod(Some(DEBIAN), ["t-dpod1", "t-dpod2"], "io.containerd.runc.v2.group=t-dpod");
}

#[test]
fn tasks_are_among_the_plugins() {
    require_engine!("ctr");
    let plugins = shared().ctr(["plugins", "ls"]).run().ok();
    for (kind, id) in [
        ("io.containerd.grpc.v1", "containers"),
        ("io.containerd.grpc.v1", "tasks"),
        ("io.containerd.grpc.v1", "events"),
        ("io.containerd.runtime.v2", "task"),
    ] {
        let found = plugins.lines().into_iter().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.first() == Some(&kind) && words.get(1) == Some(&id) && words.last() == Some(&"ok")
        });
        assert!(found, "{kind} {id}: {plugins}");
    }
}
