use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gantry_registry::{Client, Credential, Credentials, Error, Secret, Target};
use gantry_types::{Descriptor, ErrorKind};

use crate::server::{Reply, Seen, Server, With as _, body, status};
use crate::{Only, at, client, manifest, nobody, options, plain, source, user};

const BASIC: &str = "Basic YW5uYTpodW50ZXIy";

fn tag() -> Target {
    Target::Tag("latest".into())
}

fn good(bytes: &Bytes, descriptor: &Descriptor) -> Reply {
    body(200, bytes.clone())
        .with("content-type", &descriptor.media_type)
        .with("docker-content-digest", descriptor.digest.as_str())
}

/// A registry that wants `Bearer token`, and sends whoever has none to `realm`.
async fn bearer_registry(realm: String) -> Server {
    let (bytes, descriptor) = manifest(&[]);
    Server::new(move |seen: Seen| {
        if seen.header("authorization") == Some("Bearer token") {
            return good(&bytes, &descriptor);
        }
        let challenge =
            format!(r#"Bearer realm="{realm}/token",service="the service",scope="repository:team/app:pull""#);
        status(401).with("www-authenticate", challenge)
    })
    .await
}

fn token(text: &str) -> Reply {
    body(200, format!(r#"{{"token":"{text}","expires_in":300}}"#))
}

fn decoded(query: &str) -> Vec<String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            out.push(char::from(u8::from_str_radix(&rest[at + 1..at + 3], 16).unwrap()));
            rest = &rest[at + 3..];
        }
        out + rest
    };
    query.split('&').map(decode).collect()
}

#[tokio::test]
async fn basic_is_shown_when_it_is_asked_for_and_at_once_from_then_on() {
    let (bytes, descriptor) = manifest(&[]);
    let server = Server::new(move |seen: Seen| match seen.header("authorization") {
        Some(BASIC) => good(&bytes, &descriptor),
        _ => status(401).with("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let client = client();
    let repository = at(&client, vec![plain(server.host())], user(&server.host()));
    repository.resolve(&tag()).await.unwrap();
    assert_eq!(server.seen().len(), 2);
    assert_eq!(server.seen()[0].header("authorization"), None);
    let other = at(&client, vec![plain(server.host())], user(&server.host()));
    other.resolve(&tag()).await.unwrap();
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn without_a_credential_basic_is_an_error_in_one_request() {
    let server = Server::new(|_| status(401).with("www-authenticate", "Basic realm=\"x\"")).await;
    let error = at(&client(), vec![plain(server.host())], nobody()).resolve(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    // What dockerd looks for.
    assert!(error.to_string().contains("no basic auth credentials"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_twice() {
    let server = Server::new(|_| status(401).with("www-authenticate", "Basic realm=\"x\"")).await;
    let repository = at(&client(), vec![plain(server.host())], user(&server.host()));
    let error = repository.resolve(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_token_is_asked_for_as_the_user_and_remembered() {
    let tokens = Server::new(|_| token("token")).await;
    let registry = bearer_registry(format!("http://{}", tokens.host())).await;
    let client = client();
    let repository = at(&client, vec![plain(registry.host())], user(&registry.host()));
    repository.resolve(&tag()).await.unwrap();
    let asked = &tokens.seen()[0];
    assert_eq!((asked.line().as_str(), asked.header("authorization")), ("GET /token", Some(BASIC)));
    let query = decoded(&asked.query);
    assert_eq!(query, ["service=the service", "scope=repository:team/app:pull", "account=anna"]);
    // Another operation of the same user: one request, and no token.
    let again = at(&client, vec![plain(registry.host())], user(&registry.host()));
    again.resolve(&tag()).await.unwrap();
    assert_eq!((registry.seen().len(), tokens.seen().len()), (3, 1));
}

#[tokio::test]
async fn tokens_are_not_shared_with_those_who_have_not_shown_the_credential() {
    let tokens = Server::new(|seen: Seen| match seen.header("authorization") {
        Some(BASIC) => token("token"),
        _ => token("nothing"),
    })
    .await;
    let registry = bearer_registry(format!("http://{}", tokens.host())).await;
    let client = client();
    let hosts = || vec![plain(registry.host())];
    at(&client, hosts(), user(&registry.host())).resolve(&tag()).await.unwrap();
    let error = at(&client, hosts(), nobody()).resolve(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    let wrong = Credential::User { username: "anna".into(), secret: Secret::new("wrong") };
    let error =
        at(&client, hosts(), Arc::new(Only(registry.host(), wrong))).resolve(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn many_who_need_the_same_token_ask_for_it_once() {
    let tokens = Server::slow(|_| async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        token("token")
    })
    .await;
    let registry = bearer_registry(format!("http://{}", tokens.host())).await;
    let client = client();
    let repository = at(&client, vec![plain(registry.host())], user(&registry.host()));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let repository = repository.clone();
            tokio::spawn(async move { repository.resolve(&tag()).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(tokens.seen().len(), 1);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let tokens =
        Server::new(move |_| token(&format!("token{}", counter.fetch_add(1, Ordering::SeqCst)))).await;
    let realm = format!("http://{}", tokens.host());
    let (bytes, descriptor) = manifest(&[]);
    let wanted = Arc::new(std::sync::Mutex::new("Bearer token0".to_owned()));
    let wants = Arc::clone(&wanted);
    let registry = Server::new(move |seen: Seen| {
        if seen.header("authorization") == Some(wants.lock().unwrap().as_str()) {
            return good(&bytes, &descriptor);
        }
        status(401).with("www-authenticate", format!("Bearer realm=\"{realm}\",error=\"invalid_token\""))
    })
    .await;
    let repository = at(&client(), vec![plain(registry.host())], nobody());
    repository.resolve(&tag()).await.unwrap();
    *wanted.lock().unwrap() = "Bearer token1".into();
    repository.resolve(&tag()).await.unwrap();
    assert_eq!(tokens.seen().len(), 2);
    *wanted.lock().unwrap() = "nobody's".into();
    let error = repository.resolve(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(tokens.seen().len() < 7);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_oauth2() {
    let tokens = Server::new(|seen: Seen| match seen.method.as_str() {
        "POST" => body(200, r#"{"access_token":"token","expires_in":60}"#),
        _ => status(500),
    })
    .await;
    let registry = bearer_registry(format!("http://{}", tokens.host())).await;
    let credential = Credential::IdentityToken(Secret::new("re+fresh"));
    let credentials = Arc::new(Only(registry.host(), credential));
    at(&client(), vec![plain(registry.host())], credentials).resolve(&tag()).await.unwrap();
    let asked = &tokens.seen()[0];
    let form = decoded(std::str::from_utf8(&asked.body).unwrap());
    let expect = [
        "grant_type=refresh_token",
        "refresh_token=re+fresh",
        "service=the service",
        "client_id=gantry",
        "scope=repository:team/app:pull",
    ];
    assert_eq!(form, expect);
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn a_token_server_that_knows_only_oauth2_gets_the_password_there() {
    let tokens = Server::new(|seen: Seen| match seen.method.as_str() {
        "POST" => token("token"),
        _ => status(405),
    })
    .await;
    let registry = bearer_registry(format!("http://{}", tokens.host())).await;
    at(&client(), vec![plain(registry.host())], user(&registry.host())).resolve(&tag()).await.unwrap();
    let form = decoded(std::str::from_utf8(&tokens.seen()[1].body).unwrap());
    assert_eq!(form[..3], ["grant_type=password", "username=anna", "password=hunter2"]);
}

#[tokio::test]
async fn registry_tokens_and_headers_are_sent_as_they_are() {
    let registry = bearer_registry("http://127.0.0.1:1".into()).await;
    for credential in
        [Credential::RegistryToken(Secret::new("token")), Credential::Header(Secret::new("Bearer token"))]
    {
        let credentials: Arc<dyn Credentials> = Arc::new(Only(registry.host(), credential));
        at(&client(), vec![plain(registry.host())], credentials).resolve(&tag()).await.unwrap();
    }
}

#[tokio::test]
async fn a_header_is_shown_even_to_those_who_do_not_say_what_they_want() {
    let (bytes, descriptor) = manifest(&[]);
    let server = Server::new(move |seen: Seen| match seen.header("authorization") {
        Some("Custom x") => good(&bytes, &descriptor),
        _ => status(401),
    })
    .await;
    let credentials = Arc::new(Only(server.host(), Credential::Header(Secret::new("Custom x"))));
    let repository = at(&client(), vec![plain(server.host())], credentials);
    repository.resolve(&tag()).await.unwrap();
    repository.resolve(&tag()).await.unwrap();
    assert_eq!(server.seen().len(), 3);
}

/// Looking for a credential may start a program.
#[tokio::test]
async fn credentials_are_looked_for_once_and_only_when_they_are_asked_for() {
    struct Counting(AtomicUsize);
    impl Credentials for Counting {
        fn get<'a>(
            &'a self,
            _host: &'a str,
        ) -> gantry_registry::BoxFuture<'a, Result<Option<Credential>, Error>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let credential = Credential::User { username: "anna".into(), secret: Secret::new("hunter2") };
            Box::pin(std::future::ready(Ok(Some(credential))))
        }
    }
    let counting = Arc::new(Counting(AtomicUsize::new(0)));
    let (bytes, descriptor) = manifest(&[]);
    let (sent, expect) = (bytes.clone(), descriptor.clone());
    let open = Server::new(move |_| good(&sent, &expect)).await;
    let repository = at(&client(), vec![plain(open.host())], Arc::clone(&counting) as Arc<dyn Credentials>);
    repository.resolve(&tag()).await.unwrap();
    assert_eq!(counting.0.load(Ordering::SeqCst), 0);
    let closed = Server::new(move |seen: Seen| match seen.header("authorization") {
        Some(BASIC) => good(&bytes, &descriptor),
        _ => status(401).with("www-authenticate", "Basic realm=x"),
    })
    .await;
    let repository = at(&client(), vec![plain(closed.host())], Arc::clone(&counting) as Arc<dyn Credentials>);
    repository.resolve(&tag()).await.unwrap();
    repository.resolve(&tag()).await.unwrap();
    assert_eq!(counting.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_push_asks_for_more_and_a_mount_for_what_it_mounts_from() {
    let tokens = Server::new(|_| token("token")).await;
    let realm = format!("http://{}", tokens.host());
    let registry = Server::new(move |seen: Seen| {
        if seen.header("authorization").is_none() {
            return status(401).with("www-authenticate", format!("Bearer realm=\"{realm}\",service=s"));
        }
        status(if seen.method == "POST" { 201 } else { 404 })
    })
    .await;
    let repository = at(&client(), vec![plain(registry.host())], user(&registry.host()));
    let bytes = Bytes::from_static(b"x");
    repository.push_blob(&crate::blob(&bytes), &source(&bytes), &["base/debian".into()]).await.unwrap();
    let scopes: Vec<Vec<String>> = tokens
        .seen()
        .iter()
        .map(|seen| decoded(&seen.query).into_iter().filter(|part| part.starts_with("scope=")).collect())
        .collect();
    assert_eq!(scopes[0], ["scope=repository:team/app:pull,push"]);
    assert_eq!(scopes[1], ["scope=repository:base/debian:pull", "scope=repository:team/app:pull,push"]);
}

#[tokio::test]
async fn a_registry_without_its_credentials_is_not_asked_with_anothers() {
    let registry = bearer_registry("http://127.0.0.1:1".into()).await;
    let repository = at(&client(), vec![plain(registry.host())], user("elsewhere.example"));
    let error = repository.resolve(&tag()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(registry.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn token_servers_that_misbehave_are_errors_that_show_no_secret() {
    let check = |reply: fn() -> Reply, words: &'static str| async move {
        let tokens = Server::new(move |_| reply()).await;
        let registry = bearer_registry(format!("http://{}", tokens.host())).await;
        let repository = at(&client(), vec![plain(registry.host())], user(&registry.host()));
        let error = repository.resolve(&tag()).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(words), "{words}: {text}");
        for secret in ["hunter2", "YW5uYTpodW50ZXIy", "s3cret"] {
            assert!(!text.contains(secret), "{text}");
        }
    };
    check(|| body(200, "{\"token\":\"\"}"), "no token").await;
    check(|| body(200, "s3cret"), "JSON").await;
    check(|| body(200, "{\"token\":\"s3cret\\nX: y\"}"), "cannot be sent").await;
    check(|| body(200, vec![b' '; 8 << 20]), "more than").await;
    check(|| body(401, r#"{"details":"incorrect username or password"}"#), "incorrect username or password")
        .await;
    check(|| status(404), "refuses").await;
    check(|| status(302).with("location", "/token"), "redirects").await;
}

#[tokio::test]
async fn a_realm_that_is_no_place_for_a_password_is_not_gone_to() {
    for realm in ["ftp://x", "x", "http://anna:x@127.0.0.1:1", "file:///etc/passwd"] {
        let registry =
            Server::new(move |_| status(401).with("www-authenticate", format!("Bearer realm=\"{realm}\"")))
                .await;
        let repository = at(&client(), vec![plain(registry.host())], user(&registry.host()));
        let error = repository.resolve(&tag()).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{realm}: {error}");
    }
}

#[tokio::test]
async fn odd_challenges_are_refusals() {
    for challenge in ["", "Negotiate", "Bearer", "Bearer realm=\"", "basic-realm", "Digest realm=\"x\""] {
        let registry = Server::new(move |_| status(401).with("www-authenticate", challenge)).await;
        let repository = at(&client(), vec![plain(registry.host())], user(&registry.host()));
        let error = repository.resolve(&tag()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{challenge}: {error}");
        assert_eq!(registry.seen().len(), 1, "{challenge}");
    }
}

#[tokio::test]
async fn remembered_tokens_are_bounded() {
    let tokens = Server::new(|_| token("token")).await;
    let registry = bearer_registry(format!("http://{}", tokens.host())).await;
    let mut options = options();
    options.limits.tokens = 2;
    let client = Client::new(options).unwrap();
    for name in ["a", "b", "c", "d", "a"] {
        let credential = Credential::User { username: name.into(), secret: Secret::new("x") };
        let credentials = Arc::new(Only(registry.host(), credential));
        at(&client, vec![plain(registry.host())], credentials).resolve(&tag()).await.unwrap();
    }
    assert_eq!(tokens.seen().len(), 5);
    assert_eq!(STANDARD.encode("anna:hunter2"), BASIC[6..]);
}
