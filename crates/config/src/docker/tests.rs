use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{DockerConfig, DockerCredential, Helper, Source};
use crate::Error;

fn parse(text: &str) -> Result<DockerConfig, Error> {
    DockerConfig::parse(Path::new("/root/.docker/config.json"), text)
}

fn found(text: &str, host: &str) -> Option<Source> {
    parse(text).unwrap().find(host)
}

/// The name and password that a file has.
fn user(text: &str, host: &str) -> Option<(String, String)> {
    match found(text, host)? {
        Source::Credential(DockerCredential::User { username, secret }) => {
            Some((username, secret.expose().into()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn passwords_are_found_by_host() {
    let text = r#"{"auths": {
        "r.example:5000": {"auth": "YW5uYTpodW50ZXIy"},
        "https://q.example/v1/": {"username": "bert", "password": "p:w"},
        "s.example": {"auth": "YW5uYTphOmIAAA=="},
        "t.example": {"auth": "YW5uYTpodW50ZXI"},
        "empty.example": {}
    }, "HttpHeaders": {"x": "y"}, "detachKeys": "ctrl-e"}"#;
    let pair = |name: &str, secret: &str| Some((name.to_owned(), secret.to_owned()));
    assert_eq!(user(text, "r.example:5000"), pair("anna", "hunter2"));
    assert_eq!(user(text, "q.example"), pair("bert", "p:w"));
    assert_eq!(user(text, "s.example"), pair("anna", "a:b"));
    assert_eq!(user(text, "t.example"), pair("anna", "hunter"));
    for absent in ["r.example", "example", "empty.example", ""] {
        assert_eq!(user(text, absent), None, "{absent}");
    }
}

#[test]
fn docker_hub_has_many_names() {
    for key in ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://registry-1.docker.io"]
    {
        let text = format!(r#"{{"auths": {{"{key}": {{"auth": "YW5uYTpodW50ZXIy"}}}}}}"#);
        for host in ["docker.io", "registry-1.docker.io", "index.docker.io"] {
            assert!(user(&text, host).is_some(), "{key} {host}");
        }
        assert!(user(&text, "r.example").is_none());
    }
}

#[test]
fn tokens_come_before_passwords() {
    let text = r#"{"auths": {
        "a": {"auth": "YW5uYTpodW50ZXIy", "identitytoken": "refresh"},
        "b": {"identitytoken": "refresh", "registrytoken": "bearer"}
    }}"#;
    let token = |host| match found(text, host) {
        Some(Source::Credential(DockerCredential::IdentityToken(token))) => {
            ("identity", token.expose().to_owned())
        }
        Some(Source::Credential(DockerCredential::RegistryToken(token))) => {
            ("registry", token.expose().to_owned())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(token("a"), ("identity", "refresh".into()));
    assert_eq!(token("b"), ("registry", "bearer".into()));
}

#[test]
fn helpers_come_before_the_file_and_the_particular_before_the_store() {
    let text = r#"{"credsStore": "store", "credHelpers": {"a": "helper", "docker.io": "hub"}, "auths": {"b": {"auth": "YW5uYTpodW50ZXIy"}}}"#;
    let helper = |host: &str| match found(text, host) {
        Some(Source::Helper { helper, otherwise }) => (helper.program().to_owned(), otherwise.is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!(helper("a"), ("docker-credential-helper".into(), false));
    assert_eq!(helper("b"), ("docker-credential-store".into(), true));
    assert_eq!(helper("registry-1.docker.io"), ("docker-credential-hub".into(), false));
}

#[test]
fn nothing_of_a_wrong_file_is_shown() {
    for text in [
        "{\n\"auths\": {\"r.example\": {\"auth\": \"s3cret\"}}}",
        "{\n\"auths\": {\"r.example\": {\"auth\": \"czNjcmV0\"}}}",
        "{\n\"auths\": {\"r.example\": \"s3cret\"}}",
        "{\n\"auths\": s3cret}",
    ] {
        let error = parse(text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("czNjcmV0"), "{shown}");
        assert!(shown.contains("/root/.docker/config.json:2: "), "{shown}");
    }
    let config = parse(r#"{"auths": {"a": {"auth": "YW5uYTpodW50ZXIy"}}}"#).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

/// A helper of the test's, named by its whole path: the tests share one environment.
struct Script {
    dir: TempDir,
}

impl Script {
    fn new(body: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("docker-credential-test");
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn get(&self, timeout: Duration) -> Result<Option<DockerCredential>, Error> {
        let path = env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.dir.path().display());
        Helper::new("test", "r.example").get_with(timeout, |command| {
            command.env("PATH", &path).env("DIR", self.dir.path());
        })
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_helper_is_asked_on_its_input_and_answers_in_json() {
    let script = Script::new(
        r#"test "$1" = get && read server && printf '{"ServerURL":"%s","Username":"anna","Secret":"for %s"}' "$server" "$server""#,
    );
    match script.get(PATIENCE).unwrap() {
        Some(DockerCredential::User { username, secret }) => {
            assert_eq!((username.as_str(), secret.expose()), ("anna", "for r.example"));
        }
        other => panic!("{other:?}"),
    }
    let script = Script::new(r#"cat >/dev/null; echo '{"Username":"<token>","Secret":"x"}'"#);
    assert!(matches!(script.get(PATIENCE), Ok(Some(DockerCredential::IdentityToken(_)))));
}

#[test]
fn a_helper_that_has_nothing_says_so() {
    let script = Script::new("cat >/dev/null; echo 'credentials not found in native keychain'; exit 1");
    assert_eq!(script.get(PATIENCE).unwrap(), None);
    let script = Script::new("echo '{}'");
    assert_eq!(script.get(PATIENCE).unwrap(), None);
}

#[test]
fn helpers_that_fail_are_errors_without_their_words() {
    for body in [
        "echo s3cret; exit 1",
        "echo s3cret",
        "kill -9 $$",
        "head -c 1000000 /dev/zero",
        "exec >&-; cat >/dev/null",
    ] {
        let error = Script::new(body).get(PATIENCE).unwrap_err();
        assert!(matches!(error, Error::Helper { .. }), "{body}: {error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    let error = Helper::new("no-such-helper", "r.example").get(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("docker-credential-no-such-helper"), "{error}");
    let error = Helper::new("../../bin/sh", "r.example").get(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("slash"), "{error}");
}

#[test]
fn a_helper_that_hangs_is_ended_with_what_it_started() {
    let script = Script::new("sleep 1000 & echo $! > \"$DIR/child\"; wait");
    let start = Instant::now();
    let error = script.get(Duration::from_millis(300)).unwrap_err();
    assert!(matches!(error, Error::Helper { .. }), "{error}");
    assert!(start.elapsed() < PATIENCE);
    let child = fs::read_to_string(script.dir.path().join("child")).unwrap();
    let end = Instant::now() + PATIENCE;
    let gone = |pid: &str| {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.is_empty() || state.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    };
    while !gone(child.trim()) {
        assert!(Instant::now() < end, "the child {child} lives on");
        std::thread::yield_now();
    }
}
