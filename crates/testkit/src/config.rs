use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// What `runc spec` writes, as runc 1.3 does on cgroup v1.
pub fn runc_spec() -> Value {
    parse(include_str!("../fixtures/runc-spec.json"))
}

/// What `runc spec --rootless` writes for the user 0:0.
pub fn runc_spec_rootless() -> Value {
    parse(include_str!("../fixtures/runc-spec-rootless.json"))
}

/// What dockerd gives its runtime for `docker run` without flags: 14 capabilities, masked paths, device rules, and the
/// default seccomp profile if its fixture is there.
pub fn docker_default() -> Value {
    let mut config = parse(include_str!("../fixtures/docker-default.json"));
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/docker-default-seccomp.json");
    if let Ok(text) = fs::read_to_string(profile) {
        config["linux"]["seccomp"] = parse(&text);
    }
    config
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("fixtures are JSON")
}

/// A map of the container's ids `0..size` to the host's from `host`.
pub(crate) fn id_map(host: u32, size: u32) -> Value {
    json!([{ "containerID": 0, "hostID": host, "size": size }])
}
