//! A creation that fails or dies at any of its steps leaves nothing, or nothing that `delete --force` does not remove.
//!
//! Needs a binary built with the feature `failpoints`, as `cargo xtask test` builds it.

use gantry_testkit::{Bundle, Cgroups, Need, Runtime, mounts_below, require, skip_test, until_true};
use serde_json::json;

/// The steps of the parent, in their order.
const PARENT: [&str; 8] = ["state", "record", "cgroup", "clone", "attach", "ready", "written", "finish"];
/// More than the child has steps.
const CHILD: u32 = 60;

/// A configuration in which most steps have something to do.
fn bundle() -> Bundle {
    Bundle::docker().userns().sleeping().edit(|c| {
        c["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
        c["linux"]["resources"]["pids"] = json!({ "limit": 100 });
        c["hooks"] =
            json!({ "createContainer": [{ "path": "/bin/true" }], "prestart": [{ "path": "/bin/true" }] });
    })
}

fn names() -> Vec<String> {
    let parent = PARENT.iter().map(|step| format!("parent.{step}"));
    parent.chain((0..CHILD).map(|step| format!("child.{step}"))).collect()
}

/// Whether the binary has failpoints at all.
fn has_failpoints(runtime: &Runtime) -> bool {
    let bundle = bundle();
    let container = runtime.container(&bundle);
    !container.create_command(&[]).env("GANTRY_FAILPOINT", "parent.state").run().status.success()
}

fn nothing_is_left(runtime: &Runtime, bundle: &Bundle, name: &str) {
    assert!(runtime.leftovers().is_empty(), "{name}: {:?}", runtime.leftovers());
    let cgroups = Cgroups::detect();
    until_true(&format!("{name}: processes to go"), || cgroups.processes(bundle.cgroup_parent()).is_empty());
    assert_eq!(cgroups.below(bundle.cgroup_parent()), Vec::<std::path::PathBuf>::new(), "{name}");
    assert_eq!(mounts_below(bundle.path()), Vec::<String>::new(), "{name}");
}

#[test]
fn a_step_that_fails_leaves_nothing() {
    require!(Need::Ours);
    let runtime = Runtime::new();
    if !has_failpoints(&runtime) {
        skip_test!("the binary is built without failpoints");
    }
    let bundle = bundle();
    let mut hit = 0;
    for name in names() {
        let container = runtime.container(&bundle);
        let output = container.create_command(&[]).env("GANTRY_FAILPOINT", &name).run();
        if output.status.success() {
            // A step that this configuration does not have.
            container.delete_force().ok();
            continue;
        }
        hit += 1;
        assert!(!output.stderr.is_empty(), "{name} fails without a word");
        nothing_is_left(&runtime, &bundle, &name);
    }
    assert!(hit > PARENT.len() + 5, "only {hit} steps were hit");
}

#[test]
fn a_step_that_dies_leaves_nothing_that_delete_does_not_remove() {
    require!(Need::Ours);
    let runtime = Runtime::new();
    if !has_failpoints(&runtime) {
        skip_test!("the binary is built without failpoints");
    }
    let bundle = bundle();
    for name in names() {
        let container = runtime.container(&bundle);
        let output = container.create_command(&[]).env("GANTRY_FAILPOINT", format!("{name}:kill")).run();
        if name.starts_with("child.") && !output.status.success() {
            // The runtime lives, and cleans up itself.
            nothing_is_left(&runtime, &bundle, &name);
        }
        container.delete_force().ok();
        nothing_is_left(&runtime, &bundle, &name);
    }
}

#[test]
fn a_run_that_dies_leaves_nothing_that_delete_does_not_remove() {
    require!(Need::Ours);
    let runtime = Runtime::new();
    if !has_failpoints(&runtime) {
        skip_test!("the binary is built without failpoints");
    }
    let bundle = bundle().args(["true"]);
    for step in PARENT {
        let container = runtime.container(&bundle);
        let name = format!("parent.{step}:kill");
        runtime.run_named(&bundle, container.id(), &[]).env("GANTRY_FAILPOINT", &name).run().fails();
        container.delete_force().ok();
        nothing_is_left(&runtime, &bundle, &name);
    }
}
