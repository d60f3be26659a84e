use std::path::Path;

use super::*;
use crate::docker::AddressPool;

fn parse(text: &str) -> Result<DockerDaemon, Error> {
    DockerDaemon::parse(Path::new("/etc/docker/daemon.json"), text)
}

#[test]
fn nothing_is_dockerds_default() {
    for text in ["", " \n", "{}", "\u{feff}{}", r#"{"bip": null, "hosts": null}"#] {
        assert_eq!(parse(text).unwrap(), DockerDaemon::default(), "{text}");
    }
    let default = DockerDaemon::default();
    assert_eq!(default.containers.log_driver, "json-file");
    assert_eq!(
        (default.containers.default_runtime.as_str(), default.containers.shm_bytes),
        ("runc", 64 << 20)
    );
    assert!(default.network.icc && default.network.iptables && default.network.userland_proxy);
    assert_eq!((default.tls, default.shutdown_timeout_seconds), (None, 15));
}

#[test]
fn a_file_as_people_have_it_is_read() {
    let daemon = parse(
        r#"{
  "hosts": ["unix:///run/d.sock", "tcp://0.0.0.0:2376", "tcp://[::1]", "fd://"], "group": "docker",
  "tlsverify": true, "tlscacert": "/c/ca.pem", "tlscert": "/c/cert.pem", "tlskey": "/c/key.pem",
  "log-driver": "local", "log-opts": {"max-size": "10m"}, "debug": true, "log-level": "warn", "log-format": "json",
  "bip": "10.1.0.1/24", "fixed-cidr": "10.1.0.128/25", "mtu": 1450, "icc": false, "dns": ["1.1.1.1", "::1"],
  "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}, {"base": "fd00::/48", "size": 64}],
  "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1450"}},
  "runtimes": {"crun": {"path": "crun", "runtimeArgs": ["--debug"]},
               "kata": {"runtimeType": "io.containerd.kata.v2", "options": {"ConfigPath": "/k"}}},
  "default-runtime": "crun", "default-shm-size": "128M", "exec-opts": ["native.cgroupdriver=systemd"],
  "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 1000}},
  "features": {"containerd-snapshotter": true, "cdi": false}, "min-api-version": "1.40",
  "proxies": {"http-proxy": "http://u:secret@p:1", "no-proxy": "localhost"},
  "insecure-registries": ["10.0.0.0/8", "r:5000"], "registry-mirrors": ["https://m"], "max-concurrent-downloads": 9,
  "builder": {"gc": {"enabled": true, "defaultKeepStorage": "20GB",
      "policy": [{"keepStorage": "1.5GB", "filter": ["unused-for=48h"]}, {"all": true}]},
    "entitlements": {"network-host": true}},
  "userns-remap": "default", "bridge": "none", "labels": ["a=b"]
}"#,
    )
    .unwrap();
    let tcp = |host: &str, port| DoorAddress::Tcp { host: host.into(), port };
    let unix = DoorAddress::Unix("/run/d.sock".into());
    assert_eq!(daemon.hosts, [unix, tcp("0.0.0.0", Some(2376)), tcp("::1", None), DoorAddress::Inherited]);
    let tls = daemon.tls.as_ref().unwrap();
    assert_eq!((tls.verify, tls.key.as_deref()), (true, Some(Path::new("/c/key.pem"))));
    assert_eq!(daemon.hosts[2].port(Some(tls)), Some(2376));
    assert_eq!((daemon.log_level, daemon.log_json), (Some(Level::Debug), true));
    let network = &daemon.network;
    assert_eq!(network.bip.unwrap().to_string(), "10.1.0.1/24");
    assert_eq!((network.mtu, network.icc, network.dns.len()), (Some(1450), false, 2));
    assert_eq!(network.pools[1], AddressPool::parse("base=fd00::/48,size=64").unwrap());
    assert_eq!(network.bridge, Some(Bridge::Absent));
    let containers = &daemon.containers;
    assert!(
        matches!(&containers.runtimes["crun"], DaemonRuntime::Binary { args, .. } if args == &["--debug"])
    );
    assert!(
        matches!(&containers.runtimes["kata"], DaemonRuntime::Shim { options, .. } if options.len() == 1)
    );
    assert_eq!(containers.shm_bytes, 128 << 20);
    assert_eq!(containers.cgroup_driver, Some(CgroupDriver::Systemd));
    assert_eq!(containers.ulimits["nofile"], DaemonUlimit { soft: 1000, hard: 64_000 });
    assert_eq!((daemon.min_api_version, daemon.features["cdi"]), (Some((1, 40)), false));
    assert_eq!(daemon.registry.http_proxy.as_ref().unwrap().expose(), "http://u:secret@p:1");
    assert!(!format!("{daemon:?}").contains("secret@"));
    assert_eq!(daemon.builder_gc.reserved_bytes, Some(20 << 30));
    assert_eq!(daemon.builder_gc.policy[0].reserved_bytes, Some(3 << 29));
    assert!(daemon.builder_gc.policy[1].all && daemon.builder_entitlements["network-host"]);
    assert_eq!(daemon.ignored, []);
}

#[test]
fn what_has_no_counterpart_is_listed() {
    let text = "{\n\"pidfile\": \"/p\",\n\"raw-logs\": false,\n\"oom-score-adjust\": -500\n}";
    let ignored = parse(text).unwrap().ignored;
    let found: Vec<_> = ignored.iter().map(|ignored| (ignored.line, ignored.key.as_str())).collect();
    assert_eq!(found, [(4, "oom-score-adjust"), (2, "pidfile")]);
}

#[test]
fn what_dockerd_takes_is_taken() {
    // `dockerd --validate` of 28.5 says of each that it is right.
    for text in [
        r#"{"hosts": [":2375"], "metrics-addr": ":9323", "max-concurrent-downloads": 0}"#,
        r#"{"host": "unix:///x", "http-proxy": "http://a", "shutdown-timeout": -1, "cdi-spec-dirs": []}"#,
        r#"{"bridge": "", "log-level": "warn", "insecure-registries": ["http://x"], "host-gateway-ip": "1.1.1.1"}"#,
    ] {
        parse(text).unwrap();
    }
    let daemon = parse(r#"{"hosts": [":2375"], "metrics-addr": ":9323", "host": "x"}"#).unwrap();
    assert_eq!(daemon.hosts[0].to_string(), "tcp://127.0.0.1:2375");
    assert_eq!(daemon.metrics_address.unwrap().port(), 9323);
    assert_eq!(daemon.ignored[0].key, "host");
}

#[test]
fn what_dockerd_does_not_know_is_an_error_in_its_words() {
    let error = parse(r#"{"zz": 1, "bips": "", "debug": true}"#).unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("the following directives don't match any configuration option: bips, zz"),
        "{text}"
    );
    assert_eq!(error.kind(), gantry_types::ErrorKind::InvalidArgument);
    assert!(matches!(parse(r#"{"proxies": {"ftp-proxy": "x"}}"#), Err(Error::Directives { .. })));
}

#[test]
fn values_that_their_keys_cannot_have_are_refused() {
    for (text, key, line) in [
        ("{\"debug\": 1}", "debug", 1),
        ("{\n\"hosts\": \"unix:///x\"}", "hosts", 2),
        ("{\"hosts\": [\"http://x\"]}", "hosts", 1),
        ("{\"hosts\": [\"tcp://x:0\"]}", "hosts", 1),
        ("{\"bip\": \"10.0.0.1\"}", "bip", 1),
        ("{\"bridge\": \"a/b\"}", "bridge", 1),
        ("{\"bridge\": \"sixteen-bytes-xx\"}", "bridge", 1),
        ("{\"mtu\": 10}", "mtu", 1),
        (
            "{\"default-address-pools\": [{\"base\": \"10.0.0.0/16\", \"size\": 8}]}",
            "default-address-pools",
            1,
        ),
        ("{\"default-address-pools\": [{\"base\": \"fd00::/8\", \"size\": 64}]}", "default-address-pools", 1),
        ("{\"runtimes\": {\"x\": {}}}", "x", 1),
        ("{\"runtimes\": {\"x\": {\"path\": \"a\", \"runtimeType\": \"b\"}}}", "x", 1),
        ("{\"runtimes\": {\"runc\": {\"path\": \"a\"}}}", "runtimes", 1),
        ("{\"default-shm-size\": \"64x\"}", "default-shm-size", 1),
        ("{\"log-opts\": {\"max-file\": 3}}", "max-file", 1),
        ("{\"exec-opts\": [\"a=b\"]}", "exec-opts", 1),
        ("{\"max-concurrent-downloads\": -1}", "max-concurrent-downloads", 1),
        ("{\"authorization-plugins\": [\"p\"]}", "authorization-plugins", 1),
    ] {
        match parse(text).unwrap_err() {
            Error::Value { key: found, line: at, .. } => {
                assert_eq!((found.as_str(), at), (key, line), "{text}")
            }
            other => panic!("{text}: {other}"),
        }
    }
    for text in ["[]", "{", "{\"a\": }"] {
        assert!(matches!(parse(text), Err(Error::Syntax { .. })), "{text}");
    }
}

#[test]
fn our_own_keys_go_before_it() {
    let theirs =
        r#"{"hosts": ["unix:///run/d.sock"], "group": "docker", "bridge": "br0", "bip": "10.0.0.1/24"}"#;
    let theirs = parse(theirs).unwrap();
    let ours = |text: &str| crate::Config::parse(Path::new("/c.toml"), text).unwrap().config.docker;
    let daemon = theirs.clone().under(&ours(""));
    let addresses: Vec<_> = daemon.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["unix:///run/gantry/docker.sock", "unix:///run/d.sock"]);
    assert_eq!(daemon.network.bridge, Some(Bridge::Named("br0".into())));
    assert_eq!((daemon.group.as_deref(), daemon.network.pools.len()), (Some("docker"), 7));

    let text = "[docker]\naddress = 'tcp://127.0.0.1:1'\ngid = 7\ntlsverify = true\nbridge = 'x0'\nbip = '10.2.0.1/16'\n\
                default_address_pools = ['base=10.9.0.0/16,size=24']";
    let daemon = theirs.under(&ours(text));
    assert_eq!(daemon.hosts.len(), 2);
    assert_eq!((daemon.group.as_deref(), daemon.tls.unwrap().verify), (Some("7"), true));
    assert_eq!(daemon.network.bip.unwrap().to_string(), "10.2.0.1/16");
    assert_eq!(daemon.network.pools[0].to_string(), "base=10.9.0.0/16,size=24");
    let default = DockerDaemon::default().under(&ours(""));
    assert_eq!(default.network.bridge, Some(Bridge::Named("gantry0".into())));
}
