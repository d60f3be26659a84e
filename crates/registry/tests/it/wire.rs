//! TLS, HTTP/2, proxies, and what every request carries.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gantry_registry::{Client, DefaultHosts, Error, Host, Proxies, Roots, Scheme, Target};
use gantry_types::{Descriptor, ErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::certificates::Authority;
use crate::server::{Reply, Seen, Server, With as _, body};
use crate::{all, at, blob, client, manifest, nobody, noise, options, plain, reference};

fn tag() -> Target {
    Target::Tag("latest".into())
}

fn good(bytes: &Bytes, descriptor: &Descriptor) -> Reply {
    body(200, bytes.clone())
        .with("content-type", &descriptor.media_type)
        .with("docker-content-digest", descriptor.digest.as_str())
}

fn registry() -> impl Fn(Seen) -> Reply + Send + Sync + 'static {
    let (bytes, descriptor) = manifest(&[]);
    move |_| good(&bytes, &descriptor)
}

fn tls(server: &Server, authority: &Authority) -> Host {
    Host { ca: vec![authority.ca()], ..Host::new(Scheme::Https, server.host()) }
}

#[tokio::test]
async fn certificates_are_verified_against_the_configured_authority() {
    let authority = Authority::new();
    let server = Server::tls(authority.server(&["http/1.1"], false), registry()).await;
    at(&client(), vec![tls(&server, &authority)], nobody()).resolve(&tag()).await.unwrap();

    let unknown = Host::new(Scheme::Https, server.host());
    let error = at(&client(), vec![unknown.clone()], nobody()).resolve(&tag()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    let strangers = Host { ca: vec![Authority::new().ca()], ..unknown.clone() };
    assert!(at(&client(), vec![strangers], nobody()).resolve(&tag()).await.is_err());
    let anybody = Host { skip_verify: true, ..unknown.clone() };
    at(&client(), vec![anybody], nobody()).resolve(&tag()).await.unwrap();

    let mut options = options();
    options.roots = Roots::Pem(authority.ca());
    at(&Client::new(options).unwrap(), vec![unknown], nobody()).resolve(&tag()).await.unwrap();
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_it_is_wanted_and_nowhere_else() {
    let authority = Authority::new();
    let server = Server::tls(authority.server(&["http/1.1"], true), registry()).await;
    let without = tls(&server, &authority);
    assert!(at(&client(), vec![without.clone()], nobody()).resolve(&tag()).await.is_err());
    let with = Host { client: vec![authority.client("anna")], ..without.clone() };
    let client = client();
    at(&client, vec![with.clone()], nobody()).resolve(&tag()).await.unwrap();
    // A connection that was made with the certificate is not used by those without.
    assert!(at(&client, vec![without], nobody()).resolve(&tag()).await.is_err());

    // Not even where the host sends us.
    let location = format!("https://{}/x", server.other_name());
    let redirecting = Server::tls(authority.server(&["http/1.1"], true), move |_| {
        crate::server::status(307).with("location", &location)
    })
    .await;
    let with = Host { host: redirecting.host(), ..with };
    let before = server.seen().len();
    assert!(at(&client, vec![with], nobody()).resolve(&tag()).await.is_err());
    assert_eq!((redirecting.seen().len(), server.seen().len()), (1, before));
}

#[tokio::test]
async fn unusable_certificates_are_errors_of_the_configuration() {
    let authority = Authority::new();
    let host = Host::new(Scheme::Https, "127.0.0.1:1");
    let mut mixed = authority.client("anna");
    mixed.key = authority.client("bert").key;
    let mut broken = authority.client("anna");
    broken.key = "no key".to_owned().into();
    let hosts = [
        Host { ca: vec![b"no certificate".to_vec()], ..host.clone() },
        Host { client: vec![mixed], ..host.clone() },
        Host { client: vec![broken], ..host },
    ];
    for host in hosts {
        let error = at(&client(), vec![host], nobody()).resolve(&tag()).await.unwrap_err();
        assert!(matches!(error, Error::Configuration { .. }), "{error}");
    }
    let mut options = options();
    options.roots = Roots::Pem(b"nothing".to_vec());
    assert!(Client::new(options).is_err());
}

#[tokio::test]
async fn http2_is_spoken_where_the_server_does() {
    let authority = Authority::new();
    let bytes = noise(3_000_000);
    let sent = bytes.clone();
    let server =
        Server::tls(authority.server(&["h2", "http/1.1"], false), move |_| body(200, sent.clone())).await;
    let repository = at(&client(), vec![tls(&server, &authority)], nobody());
    let descriptor = blob(&bytes);
    let (a, b) = tokio::join!(repository.blob(&descriptor, 0), repository.blob(&descriptor, 0));
    let (a, b) = tokio::join!(all(a.unwrap()), all(b.unwrap()));
    assert_eq!((a.unwrap(), b.unwrap()), (bytes.clone(), bytes));
    assert!(server.seen().iter().all(|seen| seen.version == http::Version::HTTP_2));
}

#[tokio::test]
async fn loopback_is_tried_with_tls_and_spoken_to_in_the_plain_if_it_must_be() {
    let plain = Server::new(registry()).await;
    let client = client();
    let repository = |host: String| {
        let reference = reference(&format!("{host}/team/app:latest"));
        client.repository(&reference, Arc::new(DefaultHosts), nobody())
    };
    repository(plain.host()).resolve(&tag()).await.unwrap();
    repository(plain.host()).resolve(&tag()).await.unwrap();
    assert_eq!(plain.seen().len(), 2);
    assert_eq!(plain.seen()[0].query, "");
    // TLS was tried once, and the plain connection is used again.
    assert_eq!(plain.connections(), 2);

    let authority = Authority::new();
    let tls = Server::tls(authority.server(&["http/1.1"], false), registry()).await;
    repository(tls.host()).resolve(&tag()).await.unwrap();
    assert_eq!(tls.connections(), 1);
}

#[tokio::test]
async fn other_hosts_are_never_spoken_to_in_the_plain() {
    let server = Server::new(registry()).await;
    let host = Host::new(Scheme::Https, server.host());
    let error = at(&client(), vec![host], nobody()).resolve(&tag()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn requests_carry_what_is_configured() {
    let server = Server::new(registry()).await;
    let mut host = plain(server.host());
    host.root = "/proxy/v2".into();
    host.headers.insert("X-Team".into(), vec!["a".into(), "b".into()]);
    at(&client(), vec![host.clone()], nobody()).resolve(&tag()).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/proxy/v2/team/app/manifests/latest");
    assert_eq!(seen.headers.get_all("x-team").iter().count(), 2);
    assert!(seen.header("user-agent").unwrap().starts_with("gantry/"));
    host.headers.insert("no header".into(), vec!["a".into()]);
    let error = at(&client(), vec![host], nobody()).resolve(&tag()).await.unwrap_err();
    assert!(matches!(error, Error::Configuration { .. }), "{error}");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_given_up_in_time() {
    // It takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut host = Host::new(Scheme::Https, listener.local_addr().unwrap().to_string());
    host.dial_timeout = Some(Duration::from_millis(50));
    let start = std::time::Instant::now();
    let error = at(&client(), vec![host], nobody()).resolve(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(start.elapsed() < Duration::from_secs(4));
}

/// A proxy that notes the head of each request, tunnels CONNECT to `target`, and answers anything else itself.
async fn proxy(target: String, log: Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (target, log) = (target.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let is_tunnel = head.starts_with("CONNECT ");
                log.lock().unwrap().push(head);
                if !is_tunnel {
                    let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
                    return;
                }
                let mut upstream = TcpStream::connect(&target).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn proxies_are_tunnelled_through_for_tls_and_asked_for_the_rest() {
    let authority = Authority::new();
    let server = Server::tls(authority.server(&["http/1.1"], false), registry()).await;
    let log = Arc::new(Mutex::new(Vec::new()));
    let address = proxy(server.host(), Arc::clone(&log)).await;
    let mut options = options();
    let url = format!("http://me:s%20c@{address}");
    options.proxies = Proxies { http: url.clone(), https: url, none: "direct.example".into() };
    let client = Client::new(options).unwrap();

    // The certificate is for localhost; a registry of another name is only reached for its name's sake.
    let far = Host { skip_verify: true, ..Host::new(Scheme::Https, "far.invalid:5000") };
    at(&client, vec![far], nobody()).resolve(&tag()).await.unwrap();
    let error = at(&client, vec![plain("far.invalid".into())], nobody()).resolve(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let heads = log.lock().unwrap().clone();
    assert!(heads[0].starts_with("CONNECT far.invalid:5000 HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(
        heads[1].starts_with(
            "HEAD http://far.invalid/v2/team/app/manifests/latest?ns=registry.example HTTP/1.1\r\n"
        ),
        "{}",
        heads[1]
    );
    for head in &heads {
        assert!(head.to_lowercase().contains("proxy-authorization: basic bwu6cybj\r\n"), "{head}");
    }
    assert!(server.seen().iter().all(|seen| seen.header("proxy-authorization").is_none()));

    // Loopback is reached without.
    at(&client, vec![tls(&server, &authority)], nobody()).resolve(&tag()).await.unwrap();
    let excepted = plain("direct.example".into());
    assert!(at(&client, vec![excepted], nobody()).resolve(&tag()).await.is_err());
    assert_eq!(log.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    });
    let mut options = options();
    options.proxies.https = format!("http://{address}");
    let host = Host::new(Scheme::Https, "far.invalid");
    let error = at(&Client::new(options).unwrap(), vec![host], nobody()).resolve(&tag()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}
