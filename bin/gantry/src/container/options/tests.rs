use clap::{Args as _, FromArgMatches as _};
use serde_json::{Value, json};

use super::*;

fn body(words: &str) -> Result<Value> {
    let command = Options::augment_args(clap::Command::new("create").disable_help_flag(true));
    let matches = command.try_get_matches_from(["create"].into_iter().chain(words.split_whitespace()))?;
    let options = Options::from_arg_matches(&matches)?;
    let request = request(&options, "busybox", &[], Attachment::Attached, &[])?;
    Ok(serde_json::to_value(&request)?)
}

fn check(words: &str, place: &str, expected: Value) {
    let body = body(words).unwrap();
    assert_eq!(body.pointer(place), Some(&expected), "{words}");
}

#[test]
fn defaults_are_dockers() {
    check("", "/Env", Value::Null);
    check("", "/Volumes", json!({}));
    check("", "/HostConfig/NetworkMode", json!("default"));
    check("", "/HostConfig/MemorySwappiness", json!(-1));
    check("", "/HostConfig/RestartPolicy", json!({"Name": "no", "MaximumRetryCount": 0}));
    check("", "/AttachStdout", json!(true));
}

#[test]
fn flags_become_what_docker_sends() {
    check(
        "-p 127.0.0.1:8080:80",
        "/HostConfig/PortBindings/80~1tcp",
        json!([{"HostIp": "127.0.0.1", "HostPort": "8080"}]),
    );
    check("-p 8080:80 --expose 90", "/ExposedPorts", json!({"80/tcp": {}, "90/tcp": {}}));
    check("-v /a:/b:ro -v /anon", "/HostConfig/Binds", json!(["/a:/b:ro"]));
    check("-v /anon", "/Volumes", json!({"/anon": {}}));
    check("--cap-add net_admin --cap-add ALL", "/HostConfig/CapAdd", json!(["ALL", "CAP_NET_ADMIN"]));
    check("--network host", "/NetworkingConfig/EndpointsConfig", json!({}));
    check("--network n --network-alias a", "/NetworkingConfig/EndpointsConfig/n/Aliases", json!(["a"]));
    check("--cpus 1.5", "/HostConfig/NanoCpus", json!(1_500_000_000_i64));
    check("-m 1g --memory-swap -1", "/HostConfig/MemorySwap", json!(-1));
    check("--device /dev/null:/n:r", "/HostConfig/Devices/0/CgroupPermissions", json!("r"));
    check("--device v.x/c=a", "/HostConfig/DeviceRequests/0/Driver", json!("cdi"));
    check("--gpus all", "/HostConfig/DeviceRequests/0/Count", json!(-1));
    check("--health-cmd x --health-interval 5s", "/Healthcheck/Interval", json!(5_000_000_000_i64));
    check("--security-opt systempaths=unconfined", "/HostConfig/MaskedPaths", json!([]));
    check("--add-host h:1.2.3.4", "/HostConfig/ExtraHosts", json!(["h:1.2.3.4"]));
    check("--entrypoint x", "/Entrypoint", json!(["x"]));
    check("--ulimit nofile=1:2", "/HostConfig/Ulimits", json!([{"Name": "nofile", "Hard": 2, "Soft": 1}]));
}

#[test]
fn what_makes_no_sense_is_refused_before_the_engine_is_asked() {
    for words in [
        "-p a:b",
        "-v a:b:c:d",
        "--mount type=bind",
        "--cpus x",
        "--memory 1q",
        "--restart on-failure:x",
        "--rm --restart always",
        "--network host --network n",
        "--no-healthcheck --health-cmd x",
        "--add-host h",
        "--device dev",
        "--ulimit nofile",
        "--attach other",
        "--ulimit nofile=2:1",
        "--mac-address xx",
        "--env-file /does/not/exist",
        "--memory-swappiness 500",
        "--log-driver none --log-opt a=b",
        "--security-opt odd",
        "--env =x",
    ] {
        assert!(body(words).is_err(), "{words}");
    }
}
