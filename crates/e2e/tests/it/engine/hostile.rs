//! Clients that mean no good, and clients that leave: whatever they send, the daemon lives on and nothing of them stays.

use std::io::{Read, Write};

use gantry_e2e::{Docker, Gantryd, Raw, require_engine};
use gantry_testkit::{Namespace, skip_test};
use serde_json::{Value, json};

/// How many requests with bodies are changed at random.
const REQUESTS: usize = 400;
/// Every so many of the containers that are made are started, too.
const STARTED: u64 = 5;
/// Where the sequence of random numbers begins: failures can be repeated.
const SEED: u64 = 0x5eed_0008;
/// Reasons for which a server's error is right: what is asked for cannot be, and only the kernel knows.
const KNOWN: [&str; 0] = [];

/// Numbers that look random: xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % end.max(1)
    }
}

/// A valid container.
const CREATE: &str = r#"{"Image":"busybox","Cmd":["true"],"Entrypoint":[],"Env":["A=b"],"User":"0","WorkingDir":"/tmp","Tty":false,
    "Hostname":"h","Labels":{"a":"b"},"ExposedPorts":{"80/tcp":{}},"Volumes":{"/anon":{}},"StopSignal":"TERM","StopTimeout":1,
    "Healthcheck":{"Test":["CMD","true"],"Interval":1000000000,"Retries":1},
    "NetworkingConfig":{"EndpointsConfig":{"none":{}}}}"#;
/// What of the host it gets.
const HOST: &str = r#"{"Binds":["h-vol:/v"],"NetworkMode":"none","RestartPolicy":{"Name":"no","MaximumRetryCount":0},
    "LogConfig":{"Type":"json-file","Config":{"max-size":"1m","labels":"a","tag":"{{.Name}}"}},
    "Memory":67108864,"MemorySwap":-1,"NanoCpus":500000000,"PidsLimit":50,"ShmSize":1048576,"CapAdd":["NET_ADMIN"],
    "CapDrop":["ALL"],"SecurityOpt":["no-new-privileges"],"GroupAdd":["0"],"Tmpfs":{"/t":"size=1m"},
    "Sysctls":{"net.ipv4.ip_forward":"0"},"Ulimits":[{"Name":"nofile","Soft":9,"Hard":99}],
    "Devices":[{"PathOnHost":"/dev/null","PathInContainer":"/dev/n","CgroupPermissions":"r"}],
    "DeviceCgroupRules":["c 1:3 r"],"ExtraHosts":["a:1.2.3.4"],"Dns":["1.1.1.1"],"OomScoreAdj":100,"PortBindings":{},
    "Annotations":{"a":"b"},"ConsoleSize":[1,2],"Init":false,"MaskedPaths":["/proc/kcore"],
    "Mounts":[{"Type":"volume","Source":"h-vol","Target":"/w","VolumeOptions":{"NoCopy":true,"Labels":{"a":"b"}}},
        {"Type":"tmpfs","Target":"/u","TmpfsOptions":{"SizeBytes":4096,"Mode":511}}]}"#;

/// Valid requests, which reach most of what is parsed.
fn templates() -> Vec<(&'static str, &'static str, Value)> {
    let mut create: Value = serde_json::from_str(CREATE).unwrap();
    create["HostConfig"] = serde_json::from_str(HOST).unwrap();
    let filters = json!({"label": ["a=b"], "status": {"running": true}, "until": ["10m"]});
    vec![
        ("POST", "/v1.51/containers/create", create.clone()),
        ("POST", "/v1.40/containers/create?name=hostile", create),
        (
            "POST",
            "/volumes/create",
            json!({"Name": "h-vol2", "Driver": "local", "DriverOpts": {}, "Labels": {"a": "b"}}),
        ),
        (
            "POST",
            "/networks/create",
            json!({"Name": "h-net", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]}, "Options": {}}),
        ),
        (
            "POST",
            "/containers/h-runs/exec",
            json!({"Cmd": ["true"], "AttachStdout": true, "User": "0", "Env": ["A=b"], "ConsoleSize": [1, 2]}),
        ),
        (
            "POST",
            "/containers/h-runs/update",
            json!({"Memory": 67_108_864, "PidsLimit": 9, "RestartPolicy": {"Name": "no"}}),
        ),
        ("POST", "/auth", json!({"username": "u", "password": "p", "serveraddress": "127.0.0.1:1"})),
        ("POST", "/containers/prune", filters),
    ]
}

/// The places in a value, as pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                places(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

/// Values of every kind, small, large and odd.
fn odd(random: &mut Random) -> Value {
    let long = "x".repeat(70_000);
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let many: Vec<String> = (0..5000).map(|number| format!("v{number}")).collect();
    let all = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1.5),
        json!(1e300),
        json!(""),
        json!("x"),
        json!("/"),
        json!("../../etc"),
        json!("a\u{0}b"),
        json!("\u{202e}\u{fffd}"),
        json!("%s%n{{.ID}}$(id)"),
        json!(long),
        json!([]),
        json!({}),
        json!([null]),
        json!([[]]),
        json!({"": ""}),
        json!({"a": {"b": []}}),
        deep,
        json!(many),
    ];
    all[random.below(all.len())].clone()
}

/// Drops, retypes or enlarges something in a value.
fn mutate(value: &mut Value, random: &mut Random) {
    let mut found = Vec::new();
    places(value, "", &mut found);
    let place = &found[random.below(found.len())];
    let parent = place
        .rsplit_once('/')
        .map(|(parent, key)| (parent.to_owned(), key.replace("~1", "/").replace("~0", "~")));
    match (random.below(4), parent) {
        (0, Some((parent, key))) => match value.pointer_mut(&parent) {
            Some(Value::Object(map)) => drop(map.remove(&key)),
            Some(Value::Array(list)) => list.clear(),
            _ => {}
        },
        (1, Some((parent, key))) => {
            // The same once more, under another name.
            if let Some(Value::Object(map)) = value.pointer_mut(&parent) {
                let copy = map.get(&key).cloned().unwrap_or_default();
                map.insert(key.to_uppercase(), copy);
            }
        }
        _ => {
            if let Some(here) = value.pointer_mut(place) {
                *here = odd(random);
            }
        }
    }
}

struct Engine {
    daemon: Gantryd,
    docker: Docker,
    /// Its host's network, in which it alone writes rules.
    _host: Namespace,
}

impl Engine {
    fn start(name: &str) -> Option<Self> {
        let host = Namespace::new("network", &[]);
        let (daemon, docker) = Docker::engine_apart(&host, name);
        Some(Self { daemon: daemon?, docker, _host: host })
    }

    fn assert_unharmed(&self) {
        assert_eq!(self.docker.raw().request("GET", "/_ping", None).status, 200);
        let log = self.daemon.log();
        assert!(!log.contains("panicked"), "{log}");
    }

    /// Removes what a request has made.
    fn remove_all(&self) {
        let raw = self.docker.raw();
        for container in raw.request("GET", "/containers/json?all=1", None).json().as_array().unwrap() {
            let id = container["Id"].as_str().unwrap();
            let removed = raw.request("DELETE", &format!("/containers/{id}?force=1&v=1"), None);
            assert_eq!(removed.status, 204, "{removed:?}");
        }
        raw.request("POST", "/volumes/prune?filters=%7B%22all%22%3A%5B%22true%22%5D%7D", None);
        let volumes = raw.request("GET", "/volumes", None).json();
        assert_eq!(volumes["Volumes"], json!([]), "volumes are left");
    }
}

#[test]
fn requests_that_are_changed_at_random_do_no_harm() {
    require_engine!("dockerd");
    let Some(engine) = Engine::start("gt-engh") else { skip_test!("of the daemon under test") };
    let (raw, mut random) = (engine.docker.raw(), Random(SEED));
    super::detached(&engine.docker, "h-runs", &[], &["sleep", "1000"]);
    let before = engine.daemon.descriptors();
    let templates = templates();
    for number in 0..REQUESTS {
        let (method, path, mut body) = templates[random.below(templates.len())].clone();
        for _ in 0..=random.below(3) {
            mutate(&mut body, &mut random);
        }
        let answer = raw.request(method, path, Some(&body));
        let message = answer.message();
        let told = || format!("request {number}: {method} {path} {body:.2000}: {} {message}", answer.status);
        assert!((200..=504).contains(&answer.status), "{}", told());
        let is_known = KNOWN.iter().any(|words| message.contains(words));
        assert!(answer.status != 500 || is_known, "{}", told());
        assert!(answer.status < 400 || !message.is_empty(), "{}", told());
        let made =
            answer.json()["Id"].as_str().map(str::to_owned).filter(|_| path.contains("/containers/create"));
        if let Some(id) = made {
            if random.next().is_multiple_of(STARTED) {
                let started = raw.request("POST", &format!("/containers/{id}/start"), None);
                let is_known = KNOWN.iter().any(|words| started.message().contains(words));
                assert!(
                    started.status != 500 || is_known,
                    "start of {}: {started:?} {}",
                    told(),
                    started.message()
                );
            }
            let removed = raw.request("DELETE", &format!("/containers/{id}?force=1&v=1"), None);
            assert_eq!(removed.status, 204, "{}: {removed:?}", told());
        }
    }
    engine.assert_unharmed();
    engine.daemon.settles("descriptors to be closed", || engine.daemon.descriptors() <= before);
    engine.remove_all();
}

#[test]
fn a_client_that_leaves_at_any_byte_leaves_nothing() {
    require_engine!("dockerd");
    let Some(engine) = Engine::start("gt-engl") else { skip_test!("of the daemon under test") };
    let raw = engine.docker.raw();
    let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", "AutoRemove": false}}).to_string();
    let requests = [
        Raw::bytes("GET", "/v1.51/containers/json?all=1", None),
        Raw::bytes("POST", "/v1.51/containers/create?name=leaver", Some(body.as_bytes())),
        b"POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n".to_vec(),
        b"POST /containers/none/attach?stream=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
    ];
    let before = engine.daemon.descriptors();
    for request in &requests {
        for end in 0..=request.len() {
            let mut stream = raw.connect().unwrap();
            stream.write_all(&request[..end]).unwrap();
            drop(stream);
        }
    }
    // One that is slow: a byte at a time, and it is served all the same.
    let mut stream = raw.connect().unwrap();
    for byte in &requests[0] {
        stream.write_all(std::slice::from_ref(byte)).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    engine.assert_unharmed();
    engine.daemon.settles("connections to be closed", || engine.daemon.descriptors() <= before);
    // Only the whole request may have made something.
    engine.remove_all();
}

#[test]
fn heads_and_bodies_have_limits() {
    require_engine!("dockerd");
    let Some(engine) = Engine::start("gt-engb") else { skip_test!("of the daemon under test") };
    let raw = engine.docker.raw();
    let before = engine.daemon.descriptors();
    let status = |bytes: &[u8]| raw.send(bytes).unwrap().map(|answer| answer.status);
    let long = "x".repeat(2 << 20);
    let path = format!("/containers/json?{long}");
    assert!(matches!(status(&Raw::bytes("GET", &path, None)), Some(400..=431) | None));
    let header = format!("GET /_ping HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n");
    assert!(matches!(status(header.as_bytes()), Some(400..=431) | None));
    let many = format!("GET /_ping HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(5000));
    assert!(matches!(status(many.as_bytes()), Some(400..=431) | None));
    let body = format!("{{\"Image\":\"busybox\",\"Cmd\":[\"{}\"]}}", "x".repeat(40 << 20));
    assert_eq!(status(&Raw::bytes("POST", "/containers/create", Some(body.as_bytes()))), Some(413));
    let deep = "[".repeat(1 << 20);
    assert_eq!(status(&Raw::bytes("POST", "/containers/create", Some(deep.as_bytes()))), Some(400));
    for wrong in [
        &b"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"[..],
        b"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n",
        b"GET /_ping HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
    ] {
        let status = status(wrong);
        assert!(matches!(status, None | Some(400..=505)), "{}: {status:?}", String::from_utf8_lossy(wrong));
    }
    engine.assert_unharmed();
    engine.daemon.settles("connections to be closed", || engine.daemon.descriptors() <= before);
}
