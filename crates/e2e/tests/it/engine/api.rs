//! Requests and what dockerd 28.5 answers to them, in its own words. The reference is asked the same.

use gantry_e2e::{Raw, on_reference, require_engine};
use gantry_testkit::skip_test;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};

use super::{detached, remove, shared};

/// A method, a path, a body or nothing, a status, and words of the message.
type Row = (&'static str, &'static str, &'static str, u16, &'static str);

/// What there is not, what is none, and what has a wrong method.
const MISSING: &[Row] = &[
    ("GET", "/nope", "", 404, "page not found"),
    ("PUT", "/containers/json", "", 404, "page not found"),
    ("OPTIONS", "/containers/json", "", 200, ""),
    ("GET", "/containers/nope/json", "", 404, "No such container: nope"),
    ("POST", "/containers/nope/start", "", 404, "No such container: nope"),
    ("DELETE", "/containers/nope", "", 404, "No such container: nope"),
    ("POST", "/containers/nope/exec", r#"{"Cmd":["true"]}"#, 404, "No such container: nope"),
    ("GET", "/exec/nope/json", "", 404, "No such exec instance: nope"),
    ("GET", "/images/nope/json", "", 404, "No such image: nope:latest"),
    ("DELETE", "/images/nope", "", 404, "No such image: nope:latest"),
    ("GET", "/volumes/nope", "", 404, "get nope: no such volume"),
    ("GET", "/networks/nope", "", 404, "network nope not found"),
    ("POST", "/containers/nope/copy", "", 404, "page not found"),
];

/// Filters.
const FILTERS: &[Row] = &[
    ("GET", "/containers/json?filters=bad", "", 400, "invalid filter"),
    ("GET", "/containers/json?filters=%7B%22nope%22:%5B%22x%22%5D%7D", "", 400, "invalid filter 'nope'"),
    (
        "GET",
        "/containers/json?filters=%7B%22status%22:%5B%22bad%22%5D%7D",
        "",
        400,
        "invalid filter 'status=bad'",
    ),
    (
        "GET",
        "/containers/json?filters=%7B%22health%22:%5B%22bad%22%5D%7D",
        "",
        400,
        "invalid filter 'health=bad'",
    ),
    (
        "GET",
        "/containers/json?filters=%7B%22exited%22:%5B%22x%22%5D%7D",
        "",
        400,
        "invalid filter 'exited=x'",
    ),
    ("GET", "/containers/json?filters=%7B%22health%22:%5B%22none%22%5D%7D", "", 200, ""),
    ("GET", "/images/json?filters=%7B%22nope%22:%5B%22x%22%5D%7D", "", 400, "invalid filter 'nope'"),
    ("GET", "/volumes?filters=%7B%22nope%22:%5B%22x%22%5D%7D", "", 400, "invalid filter 'nope'"),
];

/// Bodies of containers that are refused when they are made.
const CREATES: &[Row] = &[
    ("POST", "/containers/create", "{bad", 400, "invalid JSON"),
    ("POST", "/containers/create", "{}{}", 400, "unexpected content after JSON"),
    ("POST", "/containers/create", "{}", 400, "config cannot be empty in order to create a container"),
    ("POST", "/containers/create", r#"{"Image":"nope"}"#, 404, "No such image: nope:latest"),
    ("POST", "/containers/create?name=-a", r#"{"Image":"busybox"}"#, 400, "Invalid container name (-a)"),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","Env":["=x"]}"#,
        400,
        "invalid environment variable: =x",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","WorkingDir":"rel"}"#,
        400,
        "needs to be an absolute path",
    ),
    ("POST", "/containers/create", r#"{"Image":"busybox","StopSignal":"NOPE"}"#, 400, "invalid signal: NOPE"),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","Healthcheck":{"Interval":1}}"#,
        400,
        "cannot be less than 1ms",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Memory":1}}"#,
        400,
        "Minimum memory limit allowed is 6MB",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"CapAdd":["X"]}}"#,
        400,
        "invalid CapAdd: unknown capability: \"CAP_X\"",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Privileged":true,"CapDrop":["x"]}}"#,
        400,
        "invalid CapDrop: unknown capability: \"CAP_X\"",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Links":[""]}}"#,
        400,
        "empty string specified for links",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Links":["nope"]}}"#,
        400,
        "could not get container for nope",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"RestartPolicy":{"Name":"x"}}}"#,
        400,
        "unknown policy 'x'",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"RestartPolicy":{"Name":"always"},"AutoRemove":true}}"#,
        400,
        "can't create 'AutoRemove' container with restart policy",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Binds":["/tmp:/b:bad"]}}"#,
        400,
        "invalid mode: bad",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Binds":["/tmp:/b","/tmp:/b"]}}"#,
        400,
        "Duplicate mount point: /b",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Mounts":[{}]}}"#,
        400,
        "field Target must not be empty",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"x","Target":"/x"}]}}"#,
        400,
        "mount type unknown",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"bind","Source":"/no-such","Target":"/x"}]}}"#,
        400,
        "bind source path does not exist: /no-such",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"volume","Source":"v1","Target":"/x","VolumeOptions":{"Subpath":"/x"}}]}}"#,
        400,
        "subpath must be a relative path within the volume",
    ),
    (
        "POST",
        "/v1.44/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"volume","Source":"v1","Target":"/x","VolumeOptions":{"Subpath":"x"}}]}}"#,
        400,
        "VolumeOptions.Subpath needs API v1.45 or newer",
    ),
    (
        "POST",
        "/v1.43/containers/create",
        r#"{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"bind","Source":"/","Target":"/x","ReadOnly":true,"BindOptions":{"ReadOnlyForceRecursive":true}}]}}"#,
        400,
        "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"LogConfig":{"Type":"json-file","Config":{"x":"y"}}}}"#,
        400,
        "unknown log opt 'x' for json-file log driver",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"LogConfig":{"Config":{"x":"y"}}}}"#,
        400,
        "unknown log opt 'x' for json-file log driver",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"LogConfig":{"Type":"local","Config":{"labels":"x"}}}}"#,
        400,
        "unknown log opt 'labels' for log driver local",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"LogConfig":{"Config":{"mode":"x"}}}}"#,
        400,
        "logging mode not supported: x",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"LogConfig":{"Config":{"max-buffer-size":"1m"}}}}"#,
        400,
        "max-buffer-size option is only supported with 'mode=non-blocking'",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"NetworkMode":"container:"}}"#,
        400,
        "invalid container format container:<name|id>",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"PidMode":"x"}}"#,
        400,
        "invalid PID mode: x",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"ShmSize":-1}}"#,
        400,
        "SHM size can not be less than 0",
    ),
    (
        "POST",
        "/containers/create",
        r#"{"Image":"busybox","HostConfig":{"OomScoreAdj":2000}}"#,
        400,
        "range for oom score adj is [-1000, 1000]",
    ),
];

/// A container that was made and not started.
const CREATED: &[Row] = &[
    ("POST", "/containers/a-idle/pause", "", 409, "is not running"),
    ("POST", "/containers/a-idle/unpause", "", 409, "is not paused"),
    ("POST", "/containers/a-idle/kill", "", 409, "is not running"),
    ("POST", "/containers/a-idle/stop", "", 304, ""),
    ("POST", "/containers/a-idle/stop?signal=NOPE", "", 304, ""),
    ("POST", "/containers/a-idle/exec", r#"{"Cmd":["true"]}"#, 409, "is not running"),
    ("GET", "/containers/a-idle/top", "", 409, "is not running"),
    ("GET", "/containers/a-idle/logs", "", 400, "you must choose at least one stream"),
    (
        "POST",
        "/containers/a-idle/rename?name=a-idle",
        "",
        400,
        "Renaming a container with the same name as its current name",
    ),
    ("POST", "/containers/a-idle/rename?name=a-table", "", 409, "is already in use by container"),
    ("POST", "/containers/a-idle/wait?condition=x", "", 400, "invalid condition: \"x\""),
    ("HEAD", "/containers/a-idle/archive?path=/nope", "", 404, ""),
    (
        "GET",
        "/containers/a-idle/archive?path=/nope",
        "",
        404,
        "Could not find the file /nope in container a-idle",
    ),
];

/// A container that runs.
const RUNNING: &[Row] = &[
    ("POST", "/containers/a-table/start", "", 304, ""),
    ("POST", "/containers/a-table/unpause", "", 409, "is not paused"),
    (
        "DELETE",
        "/containers/a-table",
        "",
        409,
        "container is running: stop the container before removing or force remove",
    ),
    ("POST", "/containers/a-table/kill?signal=NOPE", "", 400, "invalid signal: NOPE"),
    (
        "POST",
        "/containers/a-table/stop?signal=NOPE",
        "",
        400,
        "cannot stop container: a-table: invalid signal: NOPE",
    ),
    ("POST", "/containers/a-table/exec", r#"{"Cmd":[]}"#, 400, "No exec command specified"),
    (
        "POST",
        "/containers/a-table/exec",
        r#"{"Cmd":["true"],"DetachKeys":"bad"}"#,
        400,
        "Invalid escape keys (bad) provided",
    ),
    (
        "POST",
        "/containers/a-table/exec",
        r#"{"Cmd":["true"],"User":"nobody-here"}"#,
        400,
        "unable to find user nobody-here: no matching entries in passwd file",
    ),
    ("POST", "/containers/a-table/update", r#"{"Memory":1}"#, 400, "Minimum memory limit allowed is 6MB"),
    ("POST", "/v1.51/containers/a-table/update", r#"{"KernelMemory":1}"#, 200, ""),
    ("POST", "/containers/a-table/update", r#"{"RestartPolicy":{"Name":"x"}}"#, 400, "unknown policy 'x'"),
    ("POST", "/containers/a-table/resize?h=x&w=1", "", 400, "invalid resize height \"x\": invalid syntax"),
    ("POST", "/containers/a-table/pause", "", 204, ""),
    ("POST", "/containers/a-table/pause", "", 409, "is already paused"),
    (
        "POST",
        "/containers/a-table/exec",
        r#"{"Cmd":["true"]}"#,
        409,
        "is paused, unpause the container before exec",
    ),
    ("POST", "/containers/a-table/start", "", 409, "cannot start a paused container, try unpause instead"),
    ("POST", "/containers/a-table/unpause", "", 204, ""),
];

/// Volumes, images, and the rest.
const OTHERS: &[Row] = &[
    ("POST", "/volumes/create", r#"{"Name":"a"}"#, 400, "volume name is too short"),
    (
        "POST",
        "/volumes/create",
        r#"{"Name":"b!d"}"#,
        400,
        "includes invalid characters for a local volume name",
    ),
    (
        "POST",
        "/volumes/create",
        r#"{"Name":"xy","DriverOpts":{"x":"y"}}"#,
        400,
        "create xy: invalid option: \"x\"",
    ),
    (
        "POST",
        "/volumes/create",
        r#"{"Name":"xz","DriverOpts":{"type":"tmpfs"}}"#,
        400,
        "create xz: missing required option: \"device\"",
    ),
    (
        "POST",
        "/volumes/create",
        r#"{"Name":"xs","DriverOpts":{"size":"1m"}}"#,
        400,
        "create xs: quota size requested but no quota support",
    ),
    (
        "PUT",
        "/volumes/nope?version=1",
        "",
        503,
        "volume update only valid for cluster volumes, but swarm is unavailable",
    ),
    ("POST", "/images/busybox/tag?repo=BAD", "", 400, "repository name (library/BAD) must be lowercase"),
    ("POST", "/commit?container=nope", "", 404, "No such container: nope"),
    ("GET", "/swarm", "", 503, "This node is not a swarm manager"),
    ("GET", "/events?since=x", "", 400, "parsing \"x\": invalid syntax"),
];

fn ask(raw: &Raw, rows: &[Row]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (method, path, body, status, words) in rows {
        let path = if path.starts_with("/v1.") { (*path).to_owned() } else { format!("/v1.51{path}") };
        let body = (!body.is_empty()).then_some(body.as_bytes());
        let answer = raw.send(&Raw::bytes(method, &path, body)).unwrap().unwrap();
        // Its faults where its clients have some: `docs/conformance.md`.
        let is_fault = on_reference() && answer.status == 500 && matches!(status, 400 | 409);
        if answer.status != *status && !is_fault || !answer.message().contains(words) {
            let body = String::from_utf8_lossy(body.unwrap_or_default()).into_owned();
            wrong.push(format!(
                "{method} {path} {body}: {} {}\n    not {status} {words}",
                answer.status,
                answer.message()
            ));
        }
    }
    wrong
}

#[test]
fn requests_are_answered_as_by_dockerd() {
    require_engine!("dockerd");
    let docker = shared();
    let raw = docker.raw();
    if raw.request("GET", "/v1.51/_ping", None).status != 200 {
        skip_test!("the reference is an older dockerd");
    }
    docker.docker(["create", "--name", "a-idle", "busybox", "true"]).run().ok();
    detached(docker, "a-table", &[], &["sleep", "1000"]);
    let mut wrong = Vec::new();
    for rows in [MISSING, FILTERS, CREATES, CREATED, RUNNING, OTHERS] {
        wrong.extend(ask(&raw, rows));
    }
    remove(docker, "a-table");
    remove(docker, "a-idle");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Makes a container, says what the engine shows of it, and removes it.
fn shown(raw: &Raw, version: &str, body: &Value) -> Value {
    let made = raw.request("POST", &format!("/v{version}/containers/create"), Some(body));
    assert_eq!(made.status, 201, "{body}: {}", made.message());
    let id = made.json()["Id"].as_str().unwrap().to_owned();
    let shown = raw.request("GET", &format!("/v{version}/containers/{id}/json"), None).json();
    assert_eq!(raw.request("DELETE", &format!("/containers/{id}?force=1&v=1"), None).status, 204);
    shown
}

#[test]
fn what_was_asked_for_is_shown_as_dockerd_understood_it() {
    require_engine!("dockerd");
    let docker = shared();
    let raw = docker.raw();
    if raw.request("GET", "/v1.51/_ping", None).status != 200 {
        skip_test!("the reference is an older dockerd");
    }
    docker.docker(["create", "--name", "a-other", "busybox", "true"]).run().ok();
    let other = docker.inspect("a-other", "{{.Id}}");
    let check = |version: &str, body: &str, pointer: &str, expect: Value| {
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(shown(&raw, version, &body).pointer(pointer), Some(&expect), "{version} {body} {pointer}");
    };
    check("1.51", r#"{"Image":"busybox","WorkingDir":"/a/../b/"}"#, "/Config/WorkingDir", json!("/b"));
    check(
        "1.51",
        r#"{"Image":"busybox","HostConfig":{"PidsLimit":-5}}"#,
        "/HostConfig/PidsLimit",
        Value::Null,
    );
    check("1.51", r#"{"Image":"busybox"}"#, "/HostConfig/LogConfig/Type", json!("json-file"));
    let mode = r#"{"Image":"busybox","HostConfig":{"NetworkMode":"container:a-other"}}"#;
    check("1.51", mode, "/HostConfig/NetworkMode", json!(format!("container:{other}")));
    let log = r#"{"Image":"busybox","HostConfig":{"LogConfig":{"Config":{"max-file":"2"}}}}"#;
    check("1.51", log, "/HostConfig/LogConfig", json!({"Type": "json-file", "Config": {"max-file": "2"}}));
    let mac = "02:42:ac:11:00:09";
    let wide = format!(r#"{{"Image":"busybox","MacAddress":"{mac}"}}"#);
    check("1.51", &wide, "/Config/MacAddress", json!(mac));
    check("1.51", &wide, "/NetworkSettings/Networks/bridge/MacAddress", json!(mac));
    let bind = r#"{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"bind","Source":"/etc","Target":"/x","ReadOnly":true,
        "BindOptions":{"ReadOnlyForceRecursive":true,"Propagation":"rprivate"}}]}}"#;
    check("1.51", bind, "/Mounts/0/Mode", json!(""));
    check("1.51", bind, "/Mounts/0/RW", json!(false));
    remove(docker, "a-other");
}

/// Runs a container to its end, and returns what it wrote.
fn output(raw: &Raw, version: &str, body: &Value) -> String {
    let made = raw.request("POST", &format!("/v{version}/containers/create"), Some(body));
    assert_eq!(made.status, 201, "{body}: {}", made.message());
    let path = format!("/containers/{}", made.json()["Id"].as_str().unwrap());
    let started = raw.request("POST", &format!("{path}/start"), None);
    assert_eq!(started.status, 204, "{body}: {}", started.message());
    raw.request("POST", &format!("{path}/wait"), None);
    // A terminal's log has no frames.
    let log = raw.request("GET", &format!("{path}/logs?stdout=1"), None);
    assert_eq!(raw.request("DELETE", &format!("{path}?force=1"), None).status, 204);
    String::from_utf8_lossy(&log.body).replace("\r\n", " ").trim().to_owned()
}

#[test]
fn what_is_mounted_below_a_read_only_mount_is_as_the_version_has_it() {
    require_engine!("dockerd");
    let docker = shared();
    let raw = docker.raw();
    if raw.request("GET", "/v1.51/_ping", None).status != 200 {
        skip_test!("the reference is an older dockerd");
    }
    // Not below the root of the reference, whose mounts have to be slaves.
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let below = dir.path().join("below");
    std::fs::create_dir(&below).unwrap();
    mount("below", &below, "tmpfs", MountFlags::empty(), None).unwrap();
    let source = dir.path().display().to_string();
    let check = |version: &str, mut mount: Value, expect: &str| {
        mount["Type"] = "bind".into();
        mount["Source"] = source.as_str().into();
        mount["Target"] = "/x".into();
        mount["ReadOnly"] = true.into();
        let touch =
            "touch /x/a 2>/dev/null && echo top; touch /x/below/a 2>/dev/null && echo below; echo end";
        let host = json!({"NetworkMode": "none", "Mounts": [mount]});
        let body = json!({"Image": "busybox", "Cmd": ["sh", "-c", touch], "Tty": true, "HostConfig": host});
        assert_eq!(output(&raw, version, &body), expect, "{version} {mount}");
    };
    check("1.43", json!({}), "below end");
    check("1.44", json!({}), "end");
    check("1.44", json!({"BindOptions": {"ReadOnlyNonRecursive": true}}), "below end");
    check("1.44", json!({"BindOptions": {"ReadOnlyForceRecursive": true, "Propagation": "rprivate"}}), "end");
    unmount(&below, UnmountFlags::DETACH).unwrap();
}

#[test]
fn the_engines_files_are_in_a_container_and_in_no_image() {
    require_engine!("dockerd");
    let docker = shared();
    let look =
        "readlink /etc/mtab; cat /.dockerenv; cut -d' ' -f2 /etc/mtab | head -1; ls -ld /etc | cut -c1-10";
    docker.docker(["run", "--network", "none", "--name", "a-init", "busybox", "sh", "-c", look]).run().ok();
    assert_eq!(docker.docker(["logs", "a-init"]).run().ok().text(), "/proc/mounts\n/\ndrwxr-xr-x");
    assert_eq!(docker.docker(["diff", "a-init"]).run().ok().text(), "");
    docker.docker(["commit", "a-init", "a-image"]).run().ok();
    let layers = "{{len .RootFS.Layers}}";
    let count = |image: &str| {
        docker.docker(["image", "inspect", "--format", layers, image]).run().ok().text().to_owned()
    };
    assert!(["1", "2"].contains(&count("a-image").as_str()));
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("image.tar");
    docker.docker(["save", "--output"]).arg(&archive).arg("a-image").run().ok();
    let listed = std::process::Command::new("sh")
        .args([
            "-c",
            "cd \"$1\" && tar xf image.tar && for f in $(find . -type f); do tar tf $f 2>/dev/null; done",
            "sh",
        ])
        .arg(dir.path())
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.contains("bin/") && !listed.contains("mtab") && !listed.contains("dockerenv"), "{listed}");
    remove(docker, "a-init");
    docker.docker(["rmi", "a-image"]).run().ok();
}

#[test]
fn lines_carry_the_labels_and_variables_that_were_asked_for() {
    require_engine!("dockerd");
    let docker = shared();
    let options = [
        "--log-opt",
        "labels=one",
        "--log-opt",
        "labels-regex=^tw",
        "--log-opt",
        "env=A",
        "--log-opt",
        "env-regex=_X$",
        "--log-opt",
        "tag={{.Name}}",
        "--label",
        "one=1",
        "--label",
        "two=2",
        "--label",
        "none=3",
        "--env",
        "A=4",
        "--env",
        "B_X=5",
        "--env",
        "C=6",
    ];
    let call = docker.docker(["run", "--network", "none", "--name", "a-attrs"]);
    call.args(options).args(["busybox", "echo", "line"]).run().ok();
    let shown = docker.docker(["logs", "--details", "a-attrs"]).run().ok();
    assert_eq!(shown.text(), "A=4,B_X=5,one=1,tag=a-attrs,two=2 line");
    remove(docker, "a-attrs");
}

#[test]
fn a_container_whose_image_lost_its_name_is_listed_by_its_id() {
    require_engine!("dockerd");
    let docker = shared();
    docker.docker(["tag", "busybox", "a-lost:1"]).run().ok();
    docker.docker(["create", "--name", "a-loser", "a-lost:1", "true"]).run().ok();
    let image = || {
        docker
            .docker(["ps", "--all", "--filter", "name=a-loser", "--format", "{{.Image}}"])
            .run()
            .ok()
            .text()
            .to_owned()
    };
    assert_eq!(image(), "a-lost:1");
    docker.docker(["rmi", "--force", "a-lost:1"]).run().ok();
    assert!(!image().contains("a-lost") && image().len() == 12, "{}", image());
    remove(docker, "a-loser");
}
