use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Config, Durability, Endpoint, Error, Level, Loaded, LogFormat, SharingPolicy, Size};

fn parse(text: &str) -> Result<Loaded, Error> {
    Config::parse(Path::new("/etc/gantry/config.toml"), text)
}

fn config(text: &str) -> Config {
    let loaded = parse(text).unwrap();
    assert_eq!(loaded.ignored, []);
    loaded.config
}

/// Where an error is, and its text.
fn error(text: &str) -> (usize, String) {
    let error = parse(text).unwrap_err();
    let line = match &error {
        Error::Syntax { line, .. }
        | Error::Value { line, .. }
        | Error::Unknown { line, .. }
        | Error::Version { line, .. } => *line,
        other => panic!("{other}"),
    };
    (line, error.to_string())
}

#[test]
fn nothing_is_the_default() {
    assert_eq!(config(""), Config::default());
    assert_eq!(Config::default().ttrpc_address(), Path::new("/run/gantry/gantry.sock.ttrpc"));
}

#[test]
fn every_kind_of_value_is_read() {
    let config = config(
        r#"
root = "/srv/gantry"
durability = "full"
[grpc]
address = "/run/x.sock"
gid = 0x10
max_recv_message_size = "8MiB"
[debug]
level = "debug"
format = "json"
[metrics]
address = ":1338"
[registry]
config_path = "/a:/b"
[registry.timeouts]
stall = "1m30s"
[images]
shared_namespaces = ["default"]
[content]
sharing_policy = "isolated"
[gc]
pause_threshold = 0.1
[limits.registry]
manifest_bytes = 1_000
[proxy_plugins.stargz]
type = "snapshot"
address = "unix:///run/stargz.sock"
capabilities = ["rebase"]
[proxy_plugins.stargz.exports]
root = "/var/lib/stargz"
"#,
    );
    assert_eq!(config.store.root, Path::new("/srv/gantry"));
    assert_eq!(config.store.durability, Durability::Full);
    assert_eq!((config.grpc.gid, config.grpc.max_recv_message_size), (16, Size(8 << 20)));
    assert_eq!(config.ttrpc_address(), Path::new("/run/x.sock.ttrpc"));
    assert_eq!((config.debug.level, config.debug.format), (Level::Debug, LogFormat::Json));
    assert_eq!(config.metrics.address.unwrap().port(), 1338);
    assert_eq!(config.registry.config_path, [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert_eq!(config.registry_timeouts.stall, Duration::from_secs(90));
    assert_eq!(config.images.shared_namespaces, ["default"]);
    assert_eq!(config.content.sharing_policy, SharingPolicy::Isolated);
    assert!((config.gc.pause_threshold - 0.1).abs() < 1e-9);
    assert_eq!(config.registry_limits.manifest_bytes, Size(1000));
    let plugin = &config.proxy_plugins["stargz"];
    assert_eq!(plugin.address, Path::new("/run/stargz.sock"));
    assert_eq!(
        (plugin.capabilities.as_slice(), plugin.exports["root"].as_str()),
        (&["rebase".into()][..], "/var/lib/stargz")
    );
}

#[test]
fn what_is_dumped_is_read_as_it_was() {
    let mut changed = config(
        "[proxy_plugins.\"a b\"]\ntype = \"snapshot\"\naddress = \"/a\"\nplatform = \"linux/amd64\"\n[proxy_plugins.\"a b\".exports]\n\"x.y\" = \"\\u0001\\\"\"\n[gc]\nstartup_delay = \"1us\"\npause_threshold = 1",
    );
    changed.store.root = "/a\"b\\c".into();
    for original in [Config::default(), changed] {
        assert_eq!(config(&original.dump()), original, "{}", original.dump());
    }
}

#[test]
fn errors_say_where_and_what_is_allowed() {
    let check = |text: &str, line: usize, words: &[&str]| {
        let (found, message) = error(text);
        assert_eq!(found, line, "{message}");
        assert!(message.starts_with("/etc/gantry/config.toml:"), "{message}");
        for word in words {
            assert!(message.contains(word), "{word} in {message}");
        }
    };
    check("\n[debug]\nlevel = \"loud\"", 3, &["debug.level", "loud", "warn"]);
    check("[debug]\nlevel = 3", 2, &["debug.level", "warn"]);
    check("[grpc]\nadress = \"/a\"", 2, &["grpc.adress", "address"]);
    check("[grpc]\naddress = \"a\"", 2, &["absolute"]);
    check("[grpc]\nuid = -1", 2, &["grpc.uid", "-1"]);
    check("[grcp]\nuid = 1", 1, &["grcp", "grpc"]);
    check("rot = 1", 1, &["root"]);
    check("snapshotter = \"native\"", 1, &["snapshotter", "snapshots"]);
    check("mutation_threshold = 1", 1, &["gc.mutation_threshold"]);
    check("debug = 1", 1, &["a table"]);
    check("a = [1,\n2", 2, &[]);
    check("x\n= 1", 1, &[]);
    check("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_pat = \"/a\"", 2, &["config_path"]);
    check("[plugins.\"io.containerd.nri.v1.nri\"]\ndisable = true", 1, &[]);
    check("[gc]\npause_threshold = 2.0", 2, &["from 0 to 1"]);
    for url in
        ["localhost:4318", "ftp://a", "http://", "http://a:b", "http://a:1:2", "http://a b", "http://a?b"]
    {
        let message = "an URL such as \"http://127.0.0.1:4318\"";
        check(&format!("[tracing]\nendpoint = \"{url}\""), 2, &["tracing.endpoint", message]);
    }
    check("[proxy_plugins.a]\ntype = \"content\"\naddress = \"/a\"", 2, &["snapshot"]);
    check("[proxy_plugins.a]\ntype = \"snapshot\"", 1, &["address"]);
    check("[proxy_plugins.a]\ntyp = \"snapshot\"", 2, &["was type meant"]);
    check("version = 1", 1, &["2, 3 or 4"]);
    check("version = \"2\"", 1, &["2, 3 or 4"]);
    let long = format!("[grpc]\naddress = \"/{}\"", "a".repeat(120));
    check(&long, 2, &["at most 101 bytes"]);
}

#[test]
fn a_plugin_of_containerds_is_known_by_its_name_in_our_file() {
    let v2 = config("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/a\"");
    let v3 = config("[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = \"/a\"");
    let ours = config("[registry]\nconfig_path = \"/a\"");
    assert_eq!((&v2, &v3), (&ours, &ours));
}

#[test]
fn containerds_file_counts_where_it_has_a_counterpart_and_is_listed_otherwise() {
    let loaded = parse(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
temp = ""
oom_score = -999
disabled_plugins = []
required_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "/run/containerd/containerd.sock"
  tcp_address = ""
  max_recv_message_size = 0
[debug]
  level = "fatal"
  address = ""
[plugins]
  [plugins."io.containerd.gc.v1.scheduler"]
    mutation_threshold = 0
    startup_delay = "1s"
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.9"
    max_concurrent_downloads = 7
    [plugins."io.containerd.grpc.v1.cri".containerd]
      snapshotter = "native"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".registry]
      config_path = ""
  [plugins."io.containerd.nri.v1.nri"]
    disable = true
[proxy_plugins.stargz]
  type = "snapshot"
  address = "/run/stargz.sock"
[proxy_plugins.other]
  type = "content"
  address = "/run/other.sock"
[timeouts]
  "io.containerd.timeout.shim.cleanup" = "5s"
"#,
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.store.root, Path::new("/var/lib/containerd"));
    assert_eq!(config.grpc.address, Path::new("/run/containerd/containerd.sock"));
    assert_eq!(config.grpc.max_recv_message_size, Size(16 << 20));
    assert_eq!((config.debug.level, &config.debug.address), (Level::Error, &None));
    assert_eq!((config.gc.mutation_threshold, config.gc.startup_delay), (0, Duration::from_secs(1)));
    assert_eq!((config.pull.max_concurrent_downloads, config.snapshots.default.as_str()), (7, "native"));
    assert_eq!(config.registry.config_path, Config::default().registry.config_path);
    assert_eq!(config.proxy_plugins.keys().collect::<Vec<_>>(), ["stargz"]);
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    let expect = [
        (5, "oom_score".to_owned()),
        (7, "required_plugins".into()),
        (20, format!("{cri}.sandbox_image")),
        (24, format!("{cri}.containerd.runtimes")),
        (28, "plugins.\"io.containerd.nri.v1.nri\"".into()),
        (33, "proxy_plugins.other".into()),
        (36, "timeouts".into()),
    ];
    let mut found: Vec<_> =
        loaded.ignored.iter().map(|ignored| (ignored.line, ignored.key.clone())).collect();
    found.sort();
    assert_eq!(found, expect);
}

#[test]
fn tables_of_ours_in_a_file_of_containerds_are_listed_but_for_runtimes() {
    let loaded = parse(
        "version = 2\n[tasks]\nrestart_interval = '1s'\n[runtimes.a]\nbinary = 'b'\n[docker]\nbridge = 'c'",
    )
    .unwrap();
    assert_eq!(loaded.config.tasks, Config::default().tasks);
    assert_eq!(loaded.config.runtimes["a"].binary, "b");
    let ignored: Vec<_> = loaded.ignored.iter().map(|ignored| ignored.key.as_str()).collect();
    assert_eq!(ignored, ["tasks", "docker"]);
}

#[test]
fn the_url_of_a_collector_has_a_path() {
    let path = |url: &str| Endpoint::parse(url).unwrap().or_path("/v1/traces").as_str().to_owned();
    assert_eq!(path("http://a:4318"), "http://a:4318/v1/traces");
    assert_eq!(path("https://[::1]:4318/"), "https://[::1]:4318/v1/traces");
    assert_eq!(path("http://a/b/"), "http://a/b/");
}

#[test]
fn versions_3_and_4_are_read_by_their_own_tables() {
    let v3 = parse("version = 3\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'native'\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n[plugins.'io.containerd.metadata.v1.bolt']\ncontent_sharing_policy = 'isolated'").unwrap();
    assert_eq!(v3.config.snapshots.default, "native");
    assert_eq!(v3.config.registry.config_path.len(), 2);
    assert_eq!(v3.config.content.sharing_policy, SharingPolicy::Isolated);
    assert_eq!(v3.ignored, []);
    let v4 = parse("version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/run/c.sock'\n[plugins.'io.containerd.server.v1.ttrpc']\naddress = '/run/t.sock'").unwrap();
    assert_eq!(v4.config.grpc.address, Path::new("/run/c.sock"));
    assert_eq!(v4.config.ttrpc_address(), Path::new("/run/t.sock"));
}

#[test]
fn imports_override_in_order_and_each_is_read_once() {
    let dir = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    write("config.toml", "imports = [\"conf.d/*.toml\"]\nroot = \"/a\"\n[grpc]\nuid = 1\n");
    write("conf.d/10.toml", "root = \"/b\"\nstate = \"/c\"");
    write("conf.d/20.toml", "root = \"/d\"\nimports = [\"../config.toml\", \"none*\"]");
    write("conf.d/30.conf", "nonsense");
    let loaded = Config::load(&dir.path().join("config.toml")).unwrap();
    assert_eq!(loaded.config.store.root, Path::new("/d"));
    assert_eq!(loaded.config.store.state, Path::new("/c"));
    assert_eq!(loaded.config.grpc.uid, 1);
    let names: Vec<_> = loaded.files.iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(names[..3], ["config.toml", "10.toml", "20.toml"]);

    write("missing.toml", "imports = [\"absent.toml\"]");
    let error = Config::load(&dir.path().join("missing.toml")).unwrap_err();
    assert_eq!(error.kind(), gantry_types::ErrorKind::NotFound);
    write("wrong.toml", "imports = [\"conf.d/30.conf\"]");
    let error = Config::load(&dir.path().join("wrong.toml")).unwrap_err();
    assert!(error.to_string().contains("30.conf:1:"), "{error}");
}

#[test]
fn imports_without_end_are_refused() {
    let dir = TempDir::new().unwrap();
    for i in 0..70 {
        let text = format!("imports = [\"{}.toml\"]", i + 1);
        fs::write(dir.path().join(format!("{i}.toml")), text).unwrap();
    }
    let error = Config::load(&dir.path().join("0.toml")).unwrap_err();
    assert!(matches!(error, Error::Imports { .. }), "{error}");
}

#[test]
fn what_is_too_large_or_not_text_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("config.toml");
    fs::write(&path, vec![b'#'; 5 << 20]).unwrap();
    assert!(matches!(Config::load(&path), Err(Error::TooLarge { .. })));
    fs::write(&path, b"a = 1\nb = \"\xff\"").unwrap();
    assert!(matches!(Config::load(&path), Err(Error::Syntax { line: 2, .. })));
}

#[test]
fn documentation_is_that_of_the_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/gantryd-config.md");
    let expect = Config::reference();
    if std::env::var_os("GANTRY_UPDATE_DOCS").is_some() {
        fs::write(&path, &expect).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    let differs = found.lines().zip(expect.lines()).find(|(found, expect)| found != expect);
    assert!(
        found == expect,
        "run this test with GANTRY_UPDATE_DOCS=1; the first line that differs: {differs:?}"
    );
}
