//! spec: the configuration to begin with.

use std::fs;

use gantry_testkit::{Need, Peer, Runtime, User, require};
use serde_json::Value;

/// Takes out what differs between versions and hierarchies, and has no meaning for the comparison.
fn normalised(mut config: Value) -> Value {
    config["ociVersion"] = Value::Null;
    // Each runtime gives its own name.
    config["hostname"] = Value::Null;
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    // On v2 alone there is a cgroup namespace too.
    namespaces.retain(|entry| entry["type"] != "cgroup");
    config
}

#[test]
fn the_configuration_is_that_of_runc() {
    require!(Need::Runc(1, 2), Need::Not(Peer::Crun, "has one of its own"));
    let runtime = Runtime::new();
    let dir = runtime.scratch();
    runtime.bare().arg("spec").cwd(&dir).run().ok();
    let text = fs::read_to_string(dir.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(normalised(config), normalised(gantry_testkit::runc_spec()));
    assert!(text.starts_with("{\n\t\"ociVersion\""), "indented as runc does it: {text}");
}

#[test]
fn the_configuration_of_a_user_is_that_of_runc() {
    require!(Need::Runc(1, 2), Need::Not(Peer::Crun, "has one of its own"));
    let runtime = Runtime::new();
    let dir = runtime.scratch();
    runtime.bare().args(["spec", "--rootless"]).cwd(&dir).run().ok();
    let config: Value = serde_json::from_str(&fs::read_to_string(dir.join("config.json")).unwrap()).unwrap();
    assert_eq!(normalised(config), normalised(gantry_testkit::runc_spec_rootless()));
}

#[test]
fn the_configuration_of_a_user_maps_that_user() {
    let Some(user) = User::find() else {
        gantry_testkit::skip_test!("needs the user gantry-test");
    };
    let runtime = Runtime::rootless(&user);
    let dir = runtime.scratch();
    runtime.bare().args(["spec", "--rootless"]).cwd(&dir).run().ok();
    let config: Value = serde_json::from_str(&fs::read_to_string(dir.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["linux"]["uidMappings"][0]["hostID"], user.uid);
    assert_eq!(config["linux"]["gidMappings"][0]["hostID"], user.gid);
}

#[test]
fn the_configuration_goes_into_the_bundle() {
    let runtime = Runtime::new();
    let dir = runtime.scratch();
    runtime.bare().args(["spec", "--bundle"]).arg(&dir).run().ok();
    assert!(dir.join("config.json").exists());
}

#[test]
fn an_existing_configuration_is_kept() {
    let runtime = Runtime::new();
    let dir = runtime.scratch();
    fs::write(dir.join("config.json"), "mine").unwrap();
    runtime.bare().arg("spec").cwd(&dir).run().fails().says("exists");
    assert_eq!(fs::read_to_string(dir.join("config.json")).unwrap(), "mine");
}

#[test]
fn the_configuration_runs_as_it_is() {
    let runtime = Runtime::new();
    let bundle = gantry_testkit::Bundle::new();
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    runtime.bare().arg("spec").cwd(bundle.path()).run().ok();
    let text = fs::read_to_string(bundle.path().join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["process"]["terminal"] = Value::Bool(false);
    config["process"]["args"] = serde_json::json!(["echo", "it runs"]);
    config["linux"]["cgroupsPath"] = serde_json::json!(bundle.cgroup());
    bundle.write_raw(config.to_string().as_bytes());
    assert_eq!(runtime.run(&bundle).ok().text(), "it runs");
}
