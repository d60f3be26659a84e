use std::collections::BTreeMap;

use gantry_docker_api::ApiVersion;
use gantry_docker_api::container::ContainerCreateRequest;
use gantry_engine::{
    Command, Endpoint, Health, HealthStatus, ImageOf, LogOptions, Record, Settings, State, Status,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::from_api;

const OLD: ApiVersion = ApiVersion::new(1, 43);

fn settings() -> Settings {
    Settings {
        root: "/r".into(),
        state: "/s".into(),
        runtime: "runc".to_owned(),
        runtimes: BTreeMap::new(),
        log: LogOptions::default(),
        cgroup_parent: String::new(),
        runc_like: std::collections::BTreeSet::new(),
        systemd_cgroups: false,
        init: None,
        init_by_default: false,
        shm_size: 64 << 20,
        ulimits: Vec::new(),
        dns: Vec::new(),
        dns_search: Vec::new(),
        dns_options: Vec::new(),
        seccomp_profile: None,
        no_new_privileges: false,
        cgroupns_mode: String::new(),
        ipc_mode: String::new(),
        cdi_directories: Vec::new(),
        show_foreign: false,
        userns: gantry_engine::UsernsSettings::default(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn endpoint() -> Endpoint {
    let text = json!({
        "id": "c", "netns": "/run/n", "interface": "eth0", "host_interface": "veth0", "address": "172.17.0.2",
        "prefix_len": 16, "gateway": "172.17.0.1", "mac": "02:42:ac:11:00:02", "bridge": "b0",
        "ports": [{"host_ip": "0.0.0.0", "host_port": 8080, "container_port": 80, "protocol": "tcp"}],
    });
    serde_json::from_value(text).unwrap()
}

/// A container that runs, made by a request.
fn running(request: &str) -> Record {
    let request: ContainerCreateRequest = serde_json::from_str(request).unwrap();
    let options = from_api::container(request, ApiVersion::MAX).unwrap().options;
    Record {
        id: "a".repeat(64),
        name: "web".to_owned(),
        created: at(1000),
        image: ImageOf { reference: "busybox".to_owned(), ..ImageOf::default() },
        process: Command {
            cmd: vec!["sleep".to_owned(), "a b".to_owned()],
            exposed: vec!["80/tcp".to_owned(), "81/udp".to_owned()],
            hostname: "h".to_owned(),
            ..Command::default()
        },
        mounts: Vec::new(),
        state: State { status: Status::Running, pid: 7, started: Some(at(1001)), ..State::default() },
        endpoint: Some(endpoint()),
        userns: None,
        restart_count: 0,
        log_path: Some("/l".into()),
        labels: options.labels.clone(),
        options,
    }
}

fn told(record: &Record, version: ApiVersion) -> Value {
    let settings = settings();
    let beside = Beside {
        settings: &settings,
        engine: "e",
        app_armor_profile: String::new(),
        execs: Vec::new(),
        sizes: None,
        manifest: None,
    };
    serde_json::to_value(inspect(record, beside, version)).unwrap()
}

#[test]
fn what_was_asked_for_is_told_with_the_defaults_that_it_got() {
    let record = running(
        r#"{"Image":"busybox","Labels":{"k":"v"},"HostConfig":{"Memory":6291456,"Binds":["v1:/a"]}}"#,
    );
    let told = told(&record, ApiVersion::MAX);
    let host = &told["HostConfig"];
    assert_eq!(told["Path"], "sleep");
    assert_eq!(told["Args"], json!(["a b"]));
    assert_eq!(told["Config"]["Labels"], json!({"k": "v"}));
    assert_eq!(host["Binds"], json!(["v1:/a"]));
    assert_eq!(host["MemorySwap"], 12_582_912);
    assert_eq!(host["LogConfig"], json!({"Type": "json-file", "Config": {}}));
    assert_eq!(host["RestartPolicy"], json!({"Name": "no", "MaximumRetryCount": 0}));
    assert_eq!(
        (&host["NetworkMode"], &host["IpcMode"], &host["Runtime"]),
        (&json!("bridge"), &json!("private"), &json!("runc"))
    );
    assert_eq!(host["ShmSize"], 64 << 20);
    assert!(host["MaskedPaths"].as_array().is_some_and(|paths| paths.len() == 12));
    assert_eq!(told["ResolvConfPath"], format!("/r/containers/moby/{}/resolv.conf", record.id));
    assert_eq!(told["LogPath"], "/l");
}

#[test]
fn old_clients_get_what_they_look_for_and_new_ones_do_not() {
    let record = running(r#"{"Image":"busybox"}"#);
    let (old, new) = (told(&record, OLD), told(&record, ApiVersion::MAX));
    assert_eq!(old["NetworkSettings"]["IPAddress"], "172.17.0.2");
    assert_eq!(old["GraphDriver"], json!({"Data": null, "Name": "overlayfs"}));
    for key in ["IPAddress", "Bridge", "HairpinMode"] {
        assert!(new["NetworkSettings"].get(key).is_none(), "{key}");
    }
    assert!(new.get("GraphDriver").is_none() && new["Config"].get("MacAddress").is_none());
    assert_eq!(new["Storage"]["RootFS"]["Snapshot"]["Name"], "overlayfs");
    assert_eq!(new["NetworkSettings"]["Networks"]["bridge"]["IPAddress"], "172.17.0.2");
}

#[test]
fn ports_are_those_that_are_published_and_those_that_are_exposed() {
    let record = running(
        r#"{"Image":"busybox","HostConfig":{"PortBindings":{"80":[{"HostPort":"8080"}],"90/tcp":null}}}"#,
    );
    let told = told(&record, ApiVersion::MAX);
    assert_eq!(
        told["NetworkSettings"]["Ports"],
        json!({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/udp": null, "90/tcp": null})
    );
    let line = summary(&record, BesideSummary::default(), "e", ApiVersion::MAX, at(1003));
    let line = serde_json::to_value(line).unwrap();
    assert_eq!(
        line["Ports"],
        json!([{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}, {"PrivatePort": 81, "Type": "udp"}])
    );
    assert_eq!((&line["Command"], &line["Status"]), (&json!("sleep 'a b'"), &json!("Up 2 seconds")));
}

#[test]
fn states_are_told_in_dockers_words() {
    let mut record = running(r#"{"Image":"busybox"}"#);
    record.state.exit_code = 3;
    record.state.finished = Some(at(1060));
    let healthy = Some(Health { status: HealthStatus::Healthy, ..Health::default() });
    let starting = Some(Health::default());
    for (status, health, text, flags) in [
        (Status::Created, None, "Created", [false, false, false, false]),
        (Status::Running, None, "Up 2 minutes", [true, false, false, false]),
        (Status::Running, healthy, "Up 2 minutes (healthy)", [true, false, false, false]),
        (Status::Running, starting, "Up 2 minutes (health: starting)", [true, false, false, false]),
        (Status::Paused, None, "Up 2 minutes (Paused)", [true, true, false, false]),
        (Status::Restarting, None, "Restarting (3) About a minute ago", [true, false, true, false]),
        (Status::Removing, None, "Removal In Progress", [false, false, false, false]),
        (Status::Exited, None, "Exited (3) About a minute ago", [false, false, false, false]),
        (Status::Dead, None, "Dead", [false, false, false, true]),
    ] {
        record.state.status = status;
        record.state.health = health;
        let line = summary(&record, BesideSummary::default(), "e", ApiVersion::MAX, at(1122));
        assert_eq!(line.status, text);
        let state = &told(&record, ApiVersion::MAX)["State"];
        assert_eq!(state["Status"], status.as_str());
        assert_eq!(
            ["Running", "Paused", "Restarting", "Dead"].map(|key| state[key] == true),
            flags,
            "{text}"
        );
    }
}

#[test]
fn a_container_of_another_door_is_told_as_far_as_it_is_known() {
    let mut record = running(r#"{"Image":"busybox"}"#);
    record.options = gantry_engine::Options::default();
    record.endpoint = None;
    let told = told(&record, ApiVersion::MAX);
    assert_eq!(
        (&told["HostConfig"]["NetworkMode"], &told["Config"]["Image"]),
        (&json!("default"), &json!("busybox"))
    );
    assert_eq!(told["NetworkSettings"]["Ports"], json!({}));
    assert_eq!(told["ResolvConfPath"], "");
}

#[test]
fn networks_of_engines_differ() {
    assert_eq!(network_id("e", BRIDGE).len(), 64);
    assert_eq!(network_id("e", BRIDGE), network_id("e", BRIDGE));
    assert_ne!(network_id("e", BRIDGE), network_id("f", BRIDGE));
    assert_ne!(network_id("e", HOST), network_id("e", NONE));
}
