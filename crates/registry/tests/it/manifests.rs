use bytes::Bytes;
use gantry_registry::{Capabilities, Error, Host, Target};
use gantry_types::{Algorithm, Descriptor, Digest, ErrorKind, Hasher};

use crate::server::{Reply, Seen, Server, With as _, body, endless, pieces, status};
use crate::{at, client, manifest, nobody, on, other_digest, plain};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

fn tag() -> Target {
    Target::Tag("latest".into())
}

/// An answer with everything that one for a manifest should have.
fn proper(bytes: &Bytes, descriptor: &Descriptor) -> Reply {
    body(200, bytes.clone())
        .with("content-type", &descriptor.media_type)
        .with("docker-content-digest", descriptor.digest.as_str())
}

#[tokio::test]
async fn resolve_takes_one_request_of_a_proper_registry() {
    let (bytes, descriptor) = manifest(&[]);
    let expect = descriptor.clone();
    let server = Server::new(move |_| proper(&bytes, &descriptor)).await;
    let repository = on(&server);
    assert_eq!(repository.resolve(&tag()).await.unwrap(), expect);
    let by_digest = Target::Digest(expect.digest.clone());
    assert_eq!(repository.resolve(&by_digest).await.unwrap(), expect);
    let digest = &expect.digest;
    assert_eq!(
        server.lines(),
        ["HEAD /v2/team/app/manifests/latest".into(), format!("HEAD /v2/team/app/manifests/{digest}")]
    );
    let seen = &server.seen()[0];
    assert!(seen.header("accept").unwrap().ends_with("*/*"));
    assert_eq!(seen.query, "ns=registry.example");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn resolve_reads_the_manifest_where_the_head_says_too_little_and_keeps_it() {
    let (bytes, descriptor) = manifest(&[]);
    let (sent, expect) = (bytes.clone(), descriptor.clone());
    for case in ["no digest", "no type", "no head"] {
        let (sent, descriptor) = (sent.clone(), descriptor.clone());
        let server = Server::new(move |seen: Seen| match (case, seen.method.as_str()) {
            ("no digest", _) => body(200, sent.clone()).with("content-type", &descriptor.media_type),
            ("no head", "HEAD") => status(405),
            ("no type", _) => {
                body(200, sent.clone()).with("docker-content-digest", descriptor.digest.as_str())
            }
            _ => proper(&sent, &descriptor),
        })
        .await;
        let repository = on(&server);
        assert_eq!(repository.resolve(&tag()).await.unwrap(), expect, "{case}");
        assert_eq!(repository.manifest(&expect).await.unwrap(), bytes);
        assert_eq!(server.seen().len(), 2, "{case}");
    }
}

#[tokio::test]
async fn resolve_of_a_sha512_digest_keeps_it() {
    let (bytes, _) = manifest(&[]);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&bytes);
    let digest = hasher.finish();
    let sent = bytes.clone();
    let server = Server::new(move |_| body(200, sent.clone()).with("content-type", OCI)).await;
    let repository = on(&server);
    let descriptor = repository.resolve(&Target::Digest(digest.clone())).await.unwrap();
    assert_eq!(descriptor.digest, digest);
    assert_eq!(repository.manifest(&descriptor).await.unwrap(), bytes);
}

#[tokio::test]
async fn digest_in_the_head_that_the_body_does_not_have_is_data_loss() {
    let (bytes, descriptor) = manifest(&[]);
    let server = Server::new(move |seen: Seen| {
        let typed = if seen.method == "HEAD" { "text/plain" } else { OCI };
        body(200, bytes.clone())
            .with("content-type", typed)
            .with("docker-content-digest", other_digest().as_str())
    })
    .await;
    let error = on(&server).resolve(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    let error = on(&server).resolve(&Target::Digest(descriptor.digest)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
}

/// A digest that is no digest becomes no path and no name of a file.
#[tokio::test]
async fn cve_2024_3727_digest_of_another_type() {
    for digest in [
        "sha256:../../../etc/passwd",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:",
        "latest",
        "sha256:E3B0",
    ] {
        let (bytes, _) = manifest(&[]);
        let server = Server::new(move |_| {
            body(200, bytes.clone()).with("content-type", OCI).with("docker-content-digest", digest)
        })
        .await;
        let error = on(&server).resolve(&tag()).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{digest}: {error}");
    }
    let document =
        r#"{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:../x","size":2},"layers":[]}"#;
    let descriptor = Descriptor::of(OCI, document.as_bytes());
    let server = Server::new(move |_| body(200, document).with("content-type", OCI)).await;
    let error = on(&server).manifest(&descriptor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

/// One document that is an index to one client and an image to another.
#[tokio::test]
async fn cve_2021_41190_manifest_type_confusion() {
    let check = |document: &'static str, sent: &'static str, asked: &'static str| async move {
        let descriptor = Descriptor::of(asked, document.as_bytes());
        let server = Server::new(move |_| body(200, document).with("content-type", sent)).await;
        let error = on(&server).manifest(&descriptor).await.unwrap_err();
        assert!(matches!(error, Error::Document { .. }), "{document} {sent} {asked}: {error}");
    };
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let both: &'static str = Box::leak(
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"a","digest":"{digest}","size":0}},"layers":[],"manifests":[]}}"#
        )
        .into_boxed_str(),
    );
    check(both, OCI, OCI).await;
    check(both, INDEX, INDEX).await;
    check(r#"{"schemaVersion":2,"manifests":[]}"#, OCI, INDEX).await;
    check(
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","layers":[]}"#,
        OCI,
        OCI,
    )
    .await;
    check(r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#, OCI, OCI).await;
}

#[tokio::test]
async fn schema_1_is_refused_by_name() {
    const SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let server = Server::new(|_| {
        body(200, "{}").with("content-type", SIGNED).with("docker-content-digest", other_digest().as_str())
    })
    .await;
    let error = on(&server).resolve(&tag()).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("schema 1"), "{source}");
}

/// A manifest as large as the memory.
#[tokio::test]
async fn cve_2020_1702_manifest_without_end() {
    let server = Server::new(|seen: Seen| {
        let head = seen.method == "HEAD";
        let reply = if head {
            status(405)
        } else {
            endless(Bytes::from_static(b"{"), Some(Bytes::from(vec![b' '; 65536])))
        };
        reply.with("content-type", OCI)
    })
    .await;
    let error = on(&server).resolve(&tag()).await.unwrap_err();
    assert!(matches!(error, Error::Limit { limit: 4_194_304, .. }), "{error}");

    let server = Server::new(|_| {
        let reply = body(200, vec![b' '; 5 << 20]).with("content-type", OCI);
        reply.with("docker-content-digest", other_digest().as_str())
    })
    .await;
    let error = on(&server).resolve(&tag()).await.unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error}");

    // The descriptor of an index lies: the body is cut at what it says.
    let (bytes, descriptor) = manifest(&[]);
    let server = Server::new(move |_| {
        endless(bytes.clone(), Some(Bytes::from_static(b" "))).with("content-type", OCI)
    })
    .await;
    let error = on(&server).manifest(&descriptor).await.unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error}");
    let huge = Descriptor::new(OCI, descriptor.digest, u64::MAX);
    assert!(matches!(on(&server).manifest(&huge).await, Err(Error::Limit { .. })));
}

#[tokio::test]
async fn swapped_and_truncated_manifests_are_refused() {
    let (bytes, descriptor) = manifest(&[]);
    let mut swapped = bytes.to_vec();
    swapped[2] ^= 1;
    let server = Server::new(move |_| body(200, swapped.clone()).with("content-type", OCI)).await;
    let error = on(&server).manifest(&descriptor).await.unwrap_err();
    assert!(
        matches!(&error, Error::Mismatch { expected, .. } if *expected == descriptor.digest.to_string()),
        "{error}"
    );

    let short = bytes.slice(..10);
    let server = Server::new(move |_| body(200, short.clone()).with("content-type", OCI)).await;
    assert!(matches!(on(&server).manifest(&descriptor).await, Err(Error::Mismatch { .. })));
    let short = bytes.slice(..10);
    let server = Server::new(move |_| pieces(200, vec![Ok(short.clone())]).with("content-type", OCI)).await;
    assert!(matches!(on(&server).manifest(&descriptor).await, Err(Error::Mismatch { .. })));
}

#[tokio::test]
async fn what_a_descriptor_brings_along_is_not_asked_for_but_checked() {
    use base64::Engine as _;
    let (bytes, mut descriptor) = manifest(&[]);
    let sent = bytes.clone();
    let server = Server::new(move |_| body(200, sent.clone()).with("content-type", OCI)).await;
    descriptor.data = Some(base64::engine::general_purpose::STANDARD.encode(&bytes));
    assert_eq!(on(&server).manifest(&descriptor).await.unwrap(), bytes);
    assert_eq!(server.seen().len(), 0);
    descriptor.data = Some(base64::engine::general_purpose::STANDARD.encode("{}"));
    assert_eq!(on(&server).manifest(&descriptor).await.unwrap(), bytes);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_only_for_what_they_can() {
    let (bytes, descriptor) = manifest(&[]);
    let lacking = Server::new(|_| status(404)).await;
    let failing = Server::new(|_| status(503)).await;
    let refusing = Server::new(|_| status(401).with("www-authenticate", "Basic realm=x")).await;
    let (sent, expect) = (bytes.clone(), descriptor.clone());
    let good = Server::new(move |_| proper(&sent, &expect)).await;
    let puller = Server::new(|_| status(500)).await;
    let pull_only = Capabilities { resolve: false, push: false, ..Capabilities::ALL };
    let mut hosts: Vec<Host> =
        [&lacking, &failing, &refusing, &good].map(|server| plain(server.host())).into();
    hosts.insert(0, Host { capabilities: pull_only, ..plain(puller.host()) });
    let repository = at(&client(), hosts, nobody());
    assert_eq!(repository.resolve(&tag()).await.unwrap(), descriptor);
    assert_eq!(repository.manifest(&descriptor).await.unwrap(), bytes);
    let counts = [&puller, &lacking, &failing, &refusing, &good].map(|server| server.seen().len());
    assert_eq!(counts, [1, 2, 2, 2, 2]);
}

#[tokio::test]
async fn of_several_errors_that_of_the_host_that_got_furthest_is_told() {
    let check = |statuses: &'static [u16], kind: ErrorKind| async move {
        let mut servers = Vec::new();
        for code in statuses {
            servers.push(Server::new(move |_| status(*code)).await);
        }
        let hosts = servers.iter().map(|server| plain(server.host())).collect();
        let error = at(&client(), hosts, nobody()).resolve(&tag()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{statuses:?}: {error}");
    };
    check(&[404, 404], ErrorKind::NotFound).await;
    check(&[403, 404], ErrorKind::PermissionDenied).await;
    check(&[404, 401], ErrorKind::Unauthenticated).await;
    check(&[500, 404], ErrorKind::Unavailable).await;
    check(&[404, 400], ErrorKind::InvalidArgument).await;
}

#[tokio::test]
async fn a_mirror_that_is_not_there_is_passed_over_and_the_registry_has_the_last_word() {
    let (bytes, descriptor) = manifest(&[]);
    let gone = { Server::new(|_| status(200)).await.host() };
    let server = Server::new(move |_| proper(&bytes, &descriptor)).await;
    let hosts = vec![plain(gone.clone()), plain(server.host())];
    assert!(at(&client(), hosts, nobody()).resolve(&tag()).await.is_ok());
    let none = Server::new(|_| status(404)).await;
    let hosts = vec![plain(gone), plain(none.host())];
    let error = at(&client(), hosts, nobody()).resolve(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_name_that_is_no_tag_never_gets_into_a_url() {
    let server = Server::new(|_| status(200)).await;
    for wrong in ["../../x", "a?b", "a b", ""] {
        let error = on(&server).resolve(&Target::Tag(wrong.into())).await.unwrap_err();
        assert!(matches!(error, Error::Configuration { .. }), "{error}");
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn existence_is_asked_for_in_one_request() {
    let (_, descriptor) = manifest(&[]);
    let there = descriptor.digest.clone();
    let server =
        Server::new(move |seen: Seen| status(if seen.path.ends_with(there.as_str()) { 200 } else { 404 }))
            .await;
    let repository = on(&server);
    assert!(repository.exists(&descriptor).await.unwrap());
    let absent = Descriptor::new("application/octet-stream", Digest::sha256(b"absent"), 1);
    assert!(!repository.exists(&absent).await.unwrap());
    assert!(server.lines()[1].starts_with("HEAD /v2/team/app/blobs/"));
}
