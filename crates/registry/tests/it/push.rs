use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use gantry_registry::{BodyStream, Capabilities, Error, Host, Pushed};
use gantry_types::{Algorithm, Descriptor, Digest, ErrorKind, Hasher};

use crate::server::{Reply, Seen, Server, With as _, body, status};
use crate::{at, blob, client, manifest, nobody, noise, on, other_digest, plain, source};

/// What a registry of the tests has, and how it behaves.
#[derive(Default)]
struct Store {
    blobs: BTreeMap<String, Bytes>,
    manifests: BTreeMap<String, Bytes>,
    upload: BytesMut,
    sessions: usize,
    cancelled: usize,
    /// Requests with a body that are answered with this status before they are taken.
    failures: Vec<u16>,
    /// Whether the session is forgotten at the first failure.
    forgets: bool,
    takes_parts_of: Option<usize>,
}

type Shared = Arc<Mutex<Store>>;

fn answer(store: &Shared, seen: &Seen) -> Reply {
    let mut store = store.lock().unwrap();
    let name = seen.path.rsplit('/').next().unwrap().to_owned();
    let is_upload = seen.path.contains("/blobs/uploads/");
    match (seen.method.as_str(), is_upload) {
        ("HEAD", false) if store.blobs.contains_key(&name) => status(200),
        ("HEAD" | "GET", false) => match store.manifests.get(&name) {
            Some(bytes) => {
                body(200, bytes.clone()).with("content-type", "application/vnd.oci.image.index.v1+json")
            }
            None => status(404),
        },
        ("POST", true) if seen.query.contains("from=base") => status(201),
        ("POST", true) => {
            store.sessions += 1;
            store.upload.clear();
            let location = format!("/v2/team/app/blobs/uploads/session{}?state=a", store.sessions);
            status(202).with("location", location)
        }
        ("GET", true) if name != format!("session{}", store.sessions) => status(404),
        ("GET", true) => progress(&store, 204),
        ("DELETE", true) => {
            store.cancelled += 1;
            status(204)
        }
        ("PUT" | "PATCH", true) => upload(&mut store, seen, &name),
        ("PUT", false) => {
            let digest = Digest::sha256(&seen.body);
            store.manifests.insert(name, seen.body.clone());
            store.manifests.insert(digest.to_string(), seen.body.clone());
            status(201).with("docker-content-digest", digest.as_str())
        }
        _ => status(405),
    }
}

fn progress(store: &Store, code: u16) -> Reply {
    let location = format!("/v2/team/app/blobs/uploads/session{}?state=b", store.sessions);
    status(code)
        .with("location", location)
        .with("range", format!("0-{}", store.upload.len().saturating_sub(1)))
}

fn upload(store: &mut Store, seen: &Seen, name: &str) -> Reply {
    if !seen.body.is_empty() && !store.failures.is_empty() {
        let code = store.failures.remove(0);
        if store.forgets {
            store.sessions += 1;
        }
        return status(code);
    }
    if name != format!("session{}", store.sessions) {
        return status(404);
    }
    if let Some(range) = seen.header("content-range") {
        let (start, last) = range.split_once('-').unwrap();
        let (start, last): (usize, usize) = (start.parse().unwrap(), last.parse().unwrap());
        assert_eq!(last + 1 - start, seen.body.len());
        if start != store.upload.len() {
            return progress(store, 416);
        }
    }
    let taken = store.takes_parts_of.unwrap_or(usize::MAX).min(seen.body.len());
    store.upload.extend_from_slice(&seen.body[..taken]);
    if seen.method == "PATCH" {
        return progress(store, 202);
    }
    let bytes = store.upload.clone().freeze();
    let Some(digest) = seen.query.split('&').find_map(|part| part.strip_prefix("digest=")) else {
        return status(400);
    };
    let digest = digest.replace("%3A", ":");
    let algorithm = if digest.starts_with("sha512") { Algorithm::Sha512 } else { Algorithm::Sha256 };
    let mut hasher = Hasher::new(algorithm);
    hasher.update(&bytes);
    if hasher.finish().as_str() != digest {
        return body(
            400,
            r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#,
        );
    }
    store.blobs.insert(digest.clone(), bytes);
    status(201).with("docker-content-digest", digest)
}

async fn registry(store: Store) -> (Server, Shared) {
    let store = Arc::new(Mutex::new(store));
    let shared = Arc::clone(&store);
    (Server::new(move |seen| answer(&store, &seen)).await, shared)
}

#[tokio::test]
async fn a_blob_is_sent_whole_in_three_requests() {
    let (server, store) = registry(Store::default()).await;
    let bytes = noise(1_000_000);
    let descriptor = blob(&bytes);
    let pushed = on(&server).push_blob(&descriptor, &source(&bytes), &[]).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    assert_eq!(store.lock().unwrap().blobs[descriptor.digest.as_str()], bytes);
    let methods: Vec<_> = server.seen().iter().map(|seen| seen.method.to_string()).collect();
    assert_eq!(methods, ["HEAD", "POST", "PUT"]);
    assert_eq!(server.seen()[2].header("content-length"), Some("1000000"));
    let pushed = on(&server).push_blob(&descriptor, &source(&bytes), &[]).await.unwrap();
    assert_eq!(pushed, Pushed::Exists);
}

#[tokio::test]
async fn an_empty_blob_is_sent_too() {
    let (server, store) = registry(Store::default()).await;
    let descriptor = blob(&Bytes::new());
    on(&server).push_blob(&descriptor, &source(&Bytes::new()), &[]).await.unwrap();
    assert!(store.lock().unwrap().blobs.contains_key(descriptor.digest.as_str()));
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted_or_else_sent() {
    let (server, store) = registry(Store::default()).await;
    let bytes = noise(1000);
    let mounts = ["lacking".to_owned(), "base".to_owned()];
    let pushed = on(&server).push_blob(&blob(&bytes), &source(&bytes), &mounts).await.unwrap();
    assert_eq!(pushed, Pushed::Mounted("base".into()));
    let pushed = on(&server).push_blob(&blob(&bytes), &source(&bytes), &mounts[..1]).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    assert_eq!(store.lock().unwrap().blobs.len(), 1);
    assert!(server.seen()[1].query.starts_with("mount=sha256%3A"));
}

#[tokio::test]
async fn a_blob_of_sha512_is_announced_as_such() {
    let (server, store) = registry(Store::default()).await;
    let bytes = noise(1000);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&bytes);
    let descriptor = Descriptor::new("application/octet-stream", hasher.finish(), 1000);
    on(&server).push_blob(&descriptor, &source(&bytes), &[]).await.unwrap();
    assert!(store.lock().unwrap().blobs.contains_key(descriptor.digest.as_str()));
    assert!(server.seen().iter().any(|seen| seen.query.contains("digest-algorithm=sha512")));
}

#[tokio::test]
async fn what_is_too_large_or_fails_is_sent_in_parts() {
    for code in [413, 503, 416] {
        let (server, store) = registry(Store { failures: vec![code], ..Store::default() }).await;
        let mut options = crate::options();
        options.limits.upload_chunk_bytes = 100_000;
        let client = gantry_registry::Client::new(options).unwrap();
        let bytes = noise(450_000);
        let repository = at(&client, vec![plain(server.host())], nobody());
        repository.push_blob(&blob(&bytes), &source(&bytes), &[]).await.unwrap();
        assert_eq!(store.lock().unwrap().blobs[blob(&bytes).digest.as_str()], bytes);
        assert_eq!(server.seen().iter().filter(|seen| seen.method == "PATCH").count(), 5, "{code}");
    }
}

#[tokio::test]
async fn parts_that_are_taken_by_half_or_fail_are_sent_from_where_the_registry_is() {
    let failures = vec![500, 500, 502];
    let (server, store) =
        registry(Store { failures, takes_parts_of: Some(60_000), ..Store::default() }).await;
    let mut options = crate::options();
    options.limits.upload_chunk_bytes = 100_000;
    let client = gantry_registry::Client::new(options).unwrap();
    let bytes = noise(450_000);
    let repository = at(&client, vec![plain(server.host())], nobody());
    repository.push_blob(&blob(&bytes), &source(&bytes), &[]).await.unwrap();
    assert_eq!(store.lock().unwrap().blobs[blob(&bytes).digest.as_str()], bytes);
}

#[tokio::test]
async fn a_session_that_is_forgotten_is_begun_anew() {
    let (server, store) = registry(Store { failures: vec![500], forgets: true, ..Store::default() }).await;
    let bytes = noise(50_000);
    on(&server).push_blob(&blob(&bytes), &source(&bytes), &[]).await.unwrap();
    assert_eq!(store.lock().unwrap().blobs[blob(&bytes).digest.as_str()], bytes);
}

#[tokio::test]
async fn uploads_that_always_fail_are_given_up_and_cancelled() {
    let (server, store) = registry(Store { failures: vec![500; 1000], ..Store::default() }).await;
    let bytes = noise(50_000);
    let error = on(&server).push_blob(&blob(&bytes), &source(&bytes), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(store.lock().unwrap().cancelled, 1);
    assert!(server.seen().len() < 20);
}

#[tokio::test]
async fn bytes_that_are_not_of_the_digest_are_refused_by_the_registry() {
    let (server, store) = registry(Store::default()).await;
    let (bytes, wrong) = (noise(1000), noise(2000).slice(1000..));
    let error = on(&server).push_blob(&blob(&bytes), &source(&wrong), &[]).await.unwrap_err();
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    assert_eq!(store.lock().unwrap().cancelled, 1);
}

#[tokio::test]
async fn a_source_that_fails_is_an_error_of_the_source() {
    let (server, _store) = registry(Store::default()).await;
    let bytes = noise(100_000);
    let failing = |_: u64| -> BodyStream {
        let chunks = vec![Ok(Bytes::from_static(b"abc")), Err("disk".into())];
        Box::pin(futures_util::stream::iter(chunks))
    };
    let error = on(&server).push_blob(&blob(&bytes), &failing, &[]).await.unwrap_err();
    assert!(matches!(error, Error::Source { .. }), "{error}");
    let short =
        |_: u64| -> BodyStream { Box::pin(futures_util::stream::iter(vec![Ok(Bytes::from_static(b"abc"))])) };
    let error = on(&server).push_blob(&blob(&bytes), &short, &[]).await.unwrap_err();
    assert!(matches!(error, Error::Source { .. }), "{error}");
}

#[tokio::test]
async fn a_source_or_registry_that_hangs_is_given_up_in_time() {
    let (server, _store) = registry(Store::default()).await;
    let bytes = noise(100_000);
    let hanging = |_: u64| -> BodyStream { Box::pin(futures_util::stream::pending()) };
    let error = on(&server).push_blob(&blob(&bytes), &hanging, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
}

#[tokio::test]
async fn an_upload_that_is_led_elsewhere_takes_no_credential_along() {
    let bytes = noise(1000);
    let store = Server::new(|_| status(201)).await;
    let location = format!("http://{}/upload?signature=x", store.host());
    let registry =
        Server::new(move |seen: Seen| match (seen.header("authorization"), seen.method.as_str()) {
            (None, _) => status(401).with("www-authenticate", "Basic realm=x"),
            (_, "HEAD") => status(404),
            _ => status(202).with("location", &location),
        })
        .await;
    let mut host = plain(registry.host());
    host.headers.insert("x-team".into(), vec!["secret".into()]);
    let repository = at(&client(), vec![host], crate::user(&registry.host()));
    repository.push_blob(&blob(&bytes), &source(&bytes), &[]).await.unwrap();
    let seen = &store.seen()[0];
    assert_eq!((seen.header("authorization"), seen.header("x-team")), (None, None));
    assert!(
        seen.query.starts_with("signature=x&digest=sha256%3A") && !seen.query.contains("ns="),
        "{}",
        seen.query
    );
}

#[tokio::test]
async fn a_manifest_is_sent_under_each_tag_or_its_digest() {
    let (server, _store) = registry(Store::default()).await;
    let (bytes, descriptor) = manifest(&[]);
    let repository = on(&server);
    let tags = ["1".to_owned(), "latest".into()];
    assert_eq!(
        repository.push_manifest(bytes.clone(), &descriptor.media_type, &tags).await.unwrap(),
        descriptor
    );
    repository.push_manifest(bytes.clone(), &descriptor.media_type, &[]).await.unwrap();
    let digest = &descriptor.digest;
    assert_eq!(
        server.lines(),
        [
            "PUT /v2/team/app/manifests/1".to_owned(),
            "PUT /v2/team/app/manifests/latest".into(),
            format!("PUT /v2/team/app/manifests/{digest}")
        ]
    );
    assert_eq!(server.seen()[0].header("content-type"), Some(descriptor.media_type.as_str()));
    let error = repository.push_manifest(bytes, &descriptor.media_type, &["../x".into()]).await.unwrap_err();
    assert!(matches!(error, Error::Configuration { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_that_stores_something_else_is_noticed() {
    let server = Server::new(|_| status(201).with("docker-content-digest", other_digest().as_str())).await;
    let (bytes, descriptor) = manifest(&[]);
    let error = on(&server).push_manifest(bytes, &descriptor.media_type, &["x".into()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
}

fn referring(subject: &Descriptor, artifact_type: &str) -> Bytes {
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": artifact_type,
        "config": Descriptor::of("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [],
        "subject": subject,
        "annotations": {"a": "b"},
    });
    document.to_string().into()
}

#[tokio::test]
async fn referrers_are_listed_by_us_where_the_registry_does_not() {
    let (server, _store) = registry(Store::default()).await;
    let (_, subject) = manifest(&[]);
    let repository = on(&server);
    for artifact_type in ["a/sbom", "a/signature", "a/sbom"] {
        let bytes = referring(&subject, artifact_type);
        repository.push_manifest(bytes, "application/vnd.oci.image.manifest.v1+json", &[]).await.unwrap();
    }
    let all = repository.referrers(&subject.digest, None).await.unwrap();
    assert_eq!(all.len(), 2);
    let found = repository.referrers(&subject.digest, Some("a/sbom")).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].annotations["a"], "b");
}

#[tokio::test]
async fn referrers_are_left_to_registries_that_list_them() {
    let (_, subject) = manifest(&[]);
    let told = subject.digest.to_string();
    let server = Server::new(move |_| status(201).with("oci-subject", &told)).await;
    let bytes = referring(&subject, "a/sbom");
    on(&server).push_manifest(bytes, "application/vnd.oci.image.manifest.v1+json", &[]).await.unwrap();
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn changes_go_to_the_first_host_that_takes_any() {
    let (mirror, _) = registry(Store::default()).await;
    let (server, _store) = registry(Store::default()).await;
    let pull = Capabilities { push: false, ..Capabilities::ALL };
    let hosts = vec![Host { capabilities: pull, ..plain(mirror.host()) }, plain(server.host())];
    let bytes = noise(10);
    at(&client(), hosts.clone(), nobody()).push_blob(&blob(&bytes), &source(&bytes), &[]).await.unwrap();
    assert_eq!((mirror.seen().len(), server.seen().len()), (0, 3));
    let error =
        at(&client(), hosts[..1].to_vec(), nobody()).push_blob(&blob(&bytes), &source(&bytes), &[]).await;
    assert!(matches!(error, Err(Error::NoHost { .. })));
}

#[tokio::test]
async fn deletions_are_asked_for_and_refusals_told() {
    let server =
        Server::new(|seen: Seen| status(if seen.path.contains("sha256:") { 202 } else { 405 })).await;
    let repository = on(&server);
    repository.delete_manifest(&other_digest()).await.unwrap();
    repository.delete_blob(&other_digest()).await.unwrap();
    let error = repository.delete_tag("latest").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unimplemented, "{error}");
    assert!(server.seen().iter().all(|seen| seen.method == "DELETE"));
}
