use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::{Capabilities, HostConfig, HostTree, Scheme};
use crate::Error;

struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn tree(&self) -> HostTree {
        HostTree::new(vec![self.0.path().into()])
    }

    fn hosts(&self, registry: &str) -> Vec<HostConfig> {
        self.tree().hosts(registry).unwrap().hosts.clone()
    }
}

fn urls(hosts: &[HostConfig]) -> Vec<String> {
    hosts.iter().map(|host| format!("{:?} {}{}", host.scheme, host.host, host.root)).collect()
}

/// The hosts of one file.
fn parsed(text: &str) -> Vec<HostConfig> {
    Tree::new().write("r.example/hosts.toml", text).hosts("r.example")
}

fn wrong(text: &str) -> String {
    let tree = Tree::new();
    tree.write("r.example/hosts.toml", text);
    tree.tree().hosts("r.example").unwrap_err().to_string()
}

#[test]
fn nothing_configured_is_the_registry_itself() {
    let tree = Tree::new();
    let check = |registry: &str, expect: &str, skip_verify: bool| {
        let hosts = tree.hosts(registry);
        assert_eq!(
            (urls(&hosts), hosts[0].skip_verify),
            (vec![expect.to_owned()], skip_verify),
            "{registry}"
        );
        assert_eq!(hosts[0].capabilities, Capabilities::ALL);
    };
    check("docker.io", "Https registry-1.docker.io/v2", false);
    check("r.example:5000", "Https r.example:5000/v2", false);
    check("localhost:5000", "HttpsThenHttp localhost:5000/v2", true);
    check("127.0.0.1:80", "Http 127.0.0.1:80/v2", false);
    check("[::1]:5000", "HttpsThenHttp [::1]:5000/v2", true);
    check("localhost", "Https localhost/v2", true);
    let nowhere = HostTree::new(vec!["/nonexistent/certs.d".into()]);
    assert_eq!(nowhere.hosts("a").unwrap().directory, None);
}

#[test]
fn hosts_keep_their_order_and_the_server_is_last() {
    let hosts = parsed(
        r#"
server = "https://upstream.example"
[host."https://z.example"]
  capabilities = ["pull", "Resolve"]
  [host."https://z.example".header]
    x-a = "1"
[host."http://a.example:5000/base/"]
[host."b.example"]
  capabilities = ["push"]
  override_path = true
[host."https://c.example/x/../y/v2"]
"#,
    );
    assert_eq!(
        urls(&hosts),
        [
            "Https z.example/v2",
            "Http a.example:5000/base/v2",
            "Https b.example",
            "Https c.example/y/v2",
            "Https upstream.example/v2"
        ]
    );
    assert_eq!(hosts[0].headers["x-a"], ["1"]);
    let only = |pull, resolve, push| Capabilities { pull, resolve, push, referrers: false };
    assert_eq!(hosts[0].capabilities, only(true, true, false));
    assert_eq!(hosts[1].capabilities, Capabilities::ALL);
    assert_eq!(hosts[2].capabilities, only(false, false, true));
}

#[test]
fn without_a_server_the_registry_itself_is_last() {
    let hosts = parsed("[host.\"https://m.example\"]\n");
    assert_eq!(urls(&hosts), ["Https m.example/v2", "Https r.example/v2"]);
    let hub = Tree::new();
    hub.write("docker.io/hosts.toml", "[host.\"https://m.example\"]");
    assert_eq!(urls(&hub.hosts("docker.io")), ["Https m.example/v2", "Https registry-1.docker.io/v2"]);
    let local = Tree::new();
    local.write("localhost:5000/hosts.toml", "skip_verify = false");
    let hosts = local.hosts("localhost:5000");
    assert_eq!((hosts[0].scheme, hosts[0].skip_verify), (Scheme::HttpsThenHttp, false));
}

#[test]
fn every_key_is_read() {
    let tree = Tree::new();
    tree.write("r.example/ca.crt", "CA").write("r.example/sub/b.pem", "B").write("r.example/key", "KEY");
    tree.write("r.example/both.pem", "BOTH");
    let absolute = tree.0.path().join("r.example/ca.crt");
    let text = format!(
        r#"
ca = ["{}", "sub/b.pem"]
client = [["ca.crt", "key"], ["both.pem", ""], "sub/b.pem"]
skip_verify = true
dial_timeout = "1.5s"
[header]
  X-One = "a"
  X-Two = ["b", "c"]
"#,
        absolute.display()
    );
    tree.write("r.example/hosts.toml", &text);
    let host = &tree.hosts("r.example")[0];
    assert_eq!(host.ca, [b"CA".to_vec(), b"B".to_vec()]);
    let pairs: Vec<_> =
        host.client.iter().map(|pair| (pair.certificate.as_slice(), pair.key.as_slice())).collect();
    assert_eq!(pairs, [(&b"CA"[..], &b"KEY"[..]), (b"BOTH", b"BOTH"), (b"B", b"B")]);
    assert!(host.skip_verify);
    assert_eq!(host.dial_timeout, Some(Duration::from_millis(1500)));
    assert_eq!(host.headers["X-Two"], ["b", "c"]);
    assert!(!format!("{host:?}").contains("75, 69, 89"), "keys are not shown");
    let single = Tree::new();
    single.write("r.example/hosts.toml", "ca = \"x\"\nclient = \"x\"").write("r.example/x", "X");
    assert_eq!((single.hosts("r.example")[0].ca.len(), single.hosts("r.example")[0].client.len()), (1, 1));
}

#[test]
fn plain_http_with_certificates_is_tried_with_tls_first() {
    let scheme = |text: &str| parsed(text)[0].scheme;
    assert_eq!(scheme("server = \"http://a:5000\""), Scheme::Http);
    assert_eq!(scheme("server = \"http://a:5000\"\nskip_verify = true"), Scheme::HttpsThenHttp);
    assert_eq!(scheme("server = \"http://a:80\"\nskip_verify = true"), Scheme::Http);
    assert_eq!(scheme("[host.\"http://a\"]\nskip_verify = false"), Scheme::HttpsThenHttp);
}

#[test]
fn directories_are_looked_for_from_the_most_particular_on() {
    let tree = Tree::new();
    tree.write("_default/hosts.toml", "server = \"https://default\"");
    let server = |registry: &str| tree.hosts(registry)[0].host.clone();
    assert_eq!(server("r.example:5000"), "default");
    tree.write("r.example:5000/hosts.toml", "server = \"https://colon\"");
    assert_eq!(server("r.example:5000"), "colon");
    tree.write("r.example_5000_/hosts.toml", "server = \"https://underscore\"");
    assert_eq!(server("r.example:5000"), "underscore");
    assert_eq!(server("r.example"), "default");
    for hostile in ["..", "../x", "/etc", ".hidden", "a/../../b"] {
        assert_eq!(server(hostile), "default", "{hostile}");
    }
}

#[test]
fn the_first_root_with_a_directory_counts() {
    let (first, second) = (Tree::new(), Tree::new());
    second.write("r.example/hosts.toml", "server = \"https://second\"");
    let tree = HostTree::new(vec![first.0.path().into(), second.0.path().into()]);
    assert_eq!(tree.hosts("r.example").unwrap().hosts[0].host, "second");
    first.write("r.example/hosts.toml", "server = \"https://first\"");
    assert_eq!(tree.hosts("r.example").unwrap().hosts[0].host, "first");
}

#[test]
fn dockers_certificates_are_taken_where_there_is_no_hosts_toml() {
    let tree = Tree::new();
    tree.write("r.example:5000/ca.crt", "CA").write("r.example:5000/client.cert", "CERT");
    tree.write("r.example:5000/client.key", "KEY").write("r.example:5000/alone.cert", "BOTH");
    tree.write("r.example:5000/readme", "");
    let hosts = tree.hosts("r.example:5000");
    assert_eq!(urls(&hosts), ["Https r.example:5000/v2"]);
    assert_eq!(hosts[0].ca, [b"CA".to_vec()]);
    let pairs: Vec<_> = hosts[0].client.iter().map(|pair| (&pair.certificate[..], &pair.key[..])).collect();
    assert_eq!(pairs, [(&b"BOTH"[..], &b"BOTH"[..]), (b"CERT", b"KEY")]);
    tree.write("r.example:5000/hosts.toml", "");
    assert_eq!(tree.hosts("r.example:5000")[0].ca.len(), 1);
}

#[test]
fn changes_are_seen_by_the_next_lookup() {
    let tree = Tree::new();
    let lookup = tree.tree();
    let first = || lookup.hosts("r.example").unwrap().hosts[0].clone();
    assert_eq!(first().host, "r.example");
    tree.write("_default/hosts.toml", "server = \"https://a\"");
    assert_eq!(first().host, "a");
    tree.write("r.example/hosts.toml", "server = \"https://b\"\nca = \"ca.pem\"")
        .write("r.example/ca.pem", "1");
    assert_eq!((first().host.as_str(), first().ca), ("b", vec![b"1".to_vec()]));
    for round in 0..20 {
        tree.write("r.example/ca.pem", &format!("{}", round % 10));
        assert_eq!(first().ca, vec![format!("{}", round % 10).into_bytes()], "{round}");
    }
    fs::remove_dir_all(tree.0.path().join("r.example")).unwrap();
    assert_eq!(first().host, "a");
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    let tree = Tree::new();
    tree.write("r.example/hosts.toml", "server = \"https://a\"");
    let lookup = tree.tree();
    let old = fs::File::open(tree.0.path().join("r.example/hosts.toml")).unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(60);
    old.set_modified(long_ago).unwrap();
    fs::File::open(tree.0.path().join("r.example")).unwrap().set_modified(long_ago).unwrap();
    let first = lookup.hosts("r.example").unwrap();
    let second = lookup.hosts("r.example").unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));
}

#[test]
fn errors_name_the_file_the_line_and_what_is_allowed() {
    let check = |text: &str, line: usize, word: &str| {
        let message = wrong(text);
        assert!(message.contains(&format!("r.example/hosts.toml:{line}: ")), "{message}");
        assert!(message.contains(word), "{word}: {message}");
    };
    check("\ncapabilities = [\"pul\"]", 2, "\"pull\"");
    check("server = \"ftp://x\"", 1, "URL");
    check("[host.\"https://a b\"]", 1, "URL");
    check("[host.\"https://user:pw@a\"]", 1, "URL");
    check("host = 1", 1, "a table");
    check("\n\n[host.\"https://a\"]\nskip_verify = \"yes\"", 4, "true or false");
    check("[host.\"https://a\"]\ndial_timeout = \"soon\"", 2, "1m30s");
    check("client = [[\"a\", \"b\", \"c\"]]", 1, "pairs");
    check("[header]\n\"a b\" = \"x\"", 1, "headers");
    check("[header]\na = \"x\\r\\nY: z\"", 1, "headers");
    check("server = [", 1, "");
}

#[test]
fn unknown_keys_are_ignored_and_told() {
    let tree = Tree::new();
    tree.write("r.example/hosts.toml", "servr = \"x\"\n[host.\"https://a\"]\ncapability = [\"pull\"]");
    let found = tree.tree().hosts("r.example").unwrap();
    let ignored: Vec<_> = found.ignored.iter().map(|key| (key.line, key.key.as_str())).collect();
    assert_eq!(ignored, [(1, "servr"), (3, "host.\"https://a\".capability")]);
}

#[test]
fn files_that_are_not_there_or_too_large_are_errors() {
    let message = wrong("ca = \"absent.pem\"");
    assert!(message.contains("absent.pem"), "{message}");
    let tree = Tree::new();
    tree.write("r.example/hosts.toml", "ca = \"zero\"");
    symlink("/dev/zero", tree.0.path().join("r.example/zero")).unwrap();
    assert!(matches!(tree.tree().hosts("r.example"), Err(Error::TooLarge { .. })));
    let many: String = (0..100).map(|i| format!("[host.\"https://h{i}\"]\n")).collect();
    assert!(wrong(&many).contains("at most 64 hosts"));
    let _: &Path = tree.0.path();
}
