//! Redirects and foreign layers: where a registry or a manifest sends us, and what must not go there.

use std::sync::Arc;

use bytes::Bytes;
use gantry_registry::{Client, Error, Host, Target};
use gantry_types::Descriptor;

use crate::certificates::Authority;
use crate::server::{Seen, Server, With as _, body, status};
use crate::{all, at, blob, client, nobody, noise, on, options, plain, user};

/// Headers that say who we are.
const SECRETS: &[&str] = &["authorization", "x-team", "cookie", "proxy-authorization"];

fn is_clean(seen: &Seen) -> bool {
    SECRETS.iter().all(|name| seen.header(name).is_none())
}

/// A host with a header of its own.
fn configured(server: &Server) -> Host {
    let mut host = plain(server.host());
    host.headers.insert("X-Team".into(), vec!["secret".into()]);
    host
}

#[tokio::test]
async fn redirects_take_no_credential_along() {
    let bytes = noise(100_000);
    let sent = bytes.clone();
    let store = Server::new(move |seen: Seen| match seen.header("range") {
        Some("bytes=5-") => body(206, sent.slice(5..)).with("content-range", "bytes 5-99999/100000"),
        _ => body(200, sent.clone()),
    })
    .await;
    // The same address by another name, and by another port.
    for target in [store.host(), store.other_name()] {
        let location = format!("http://{target}/data?X-Signature=abc");
        let registry = Server::new(move |seen: Seen| match seen.header("authorization") {
            Some(_) => status(307).with("location", &location),
            None => status(401).with("www-authenticate", "Basic realm=x"),
        })
        .await;
        let repository = at(&client(), vec![configured(&registry)], user(&registry.host()));
        let stream = repository.blob(&blob(&bytes), 5).await.unwrap();
        assert_eq!(all(stream).await.unwrap(), bytes.slice(5..));
        assert!(registry.seen().iter().all(|seen| seen.header("x-team") == Some("secret")));
    }
    assert_eq!(store.seen().len(), 2);
    for seen in store.seen() {
        assert!(is_clean(&seen), "{seen:?}");
        assert_eq!((seen.query.as_str(), seen.header("range")), ("X-Signature=abc", Some("bytes=5-")));
    }
}

#[tokio::test]
async fn redirects_within_the_host_keep_the_credential() {
    let bytes = noise(10);
    let sent = bytes.clone();
    let registry = Server::new(move |seen: Seen| match (seen.header("authorization"), seen.path.as_str()) {
        (None, _) => status(401).with("www-authenticate", "Basic realm=x"),
        (_, "/elsewhere") => body(200, sent.clone()),
        _ => status(302).with("location", "/elsewhere"),
    })
    .await;
    let repository = at(&client(), vec![plain(registry.host())], user(&registry.host()));
    assert_eq!(all(repository.blob(&blob(&bytes), 0).await.unwrap()).await.unwrap(), bytes);
}

/// Whoever is redirected to asks for a password, and names a place where to send it.
#[tokio::test]
async fn a_redirect_target_that_asks_for_a_password_gets_none() {
    let thief = Server::new(|_| body(200, r#"{"token":"x"}"#)).await;
    let realm = format!("http://{}/token", thief.host());
    let store = Server::new(move |_| {
        let reply = status(401)
            .with("www-authenticate", format!("Bearer realm=\"{realm}\",service=registry.example"));
        reply.with("www-authenticate", "Basic realm=x")
    })
    .await;
    let location = format!("http://{}/data", store.host());
    let registry = Server::new(move |_| status(307).with("location", &location)).await;
    let repository = at(&client(), vec![configured(&registry)], user(&registry.host()));
    let error = repository.blob(&blob(&noise(10)), 0).await.err().unwrap();
    assert!(matches!(error, Error::Refused { status: 401, .. }), "{error}");
    assert_eq!(thief.seen().len(), 0);
    assert!(store.seen().iter().all(is_clean));
}

/// A layer's own address asks for a password, and names a place where to send it.
#[tokio::test]
async fn cve_2020_15157_foreign_layer_gets_no_credential() {
    let authority = Authority::new();
    let bytes = noise(1000);
    let thief = Server::new(|_| body(200, r#"{"token":"x"}"#)).await;
    let realm = format!("http://{}/token", thief.host());
    let asking = Server::new(move |_| {
        status(401).with("www-authenticate", format!("Bearer realm=\"{realm}\",service=registry.example"))
    })
    .await;
    let registry = Server::new(|seen: Seen| match seen.header("authorization") {
        Some(_) => status(404),
        None => status(401).with("www-authenticate", "Basic realm=x"),
    })
    .await;
    let mut descriptor = blob(&bytes);
    descriptor.urls = vec![format!("http://{}/layer", asking.host())];
    let mut options = options();
    options.plain_http_elsewhere = true;
    let client = Client::new(options).unwrap();
    // Even for a host whose credential we have: it is not the one that the manifest names.
    for name in [registry.host(), asking.host()] {
        let repository = at(&client, vec![configured(&registry)], user(&name));
        let error = repository.blob(&descriptor, 0).await.err().unwrap();
        assert!(matches!(error, Error::Refused { .. } | Error::NotFound { .. }), "{error}");
    }
    assert_eq!(thief.seen().len(), 0);
    assert!(asking.seen().iter().all(is_clean));

    // Plain HTTP is no place for a layer unless somebody says so.
    let repository = at(&self::client(), vec![configured(&registry)], user(&registry.host()));
    let before = asking.seen().len();
    let error = repository.blob(&descriptor, 0).await.err().unwrap();
    assert!(matches!(error, Error::Misled { .. }), "{error}");
    assert_eq!(asking.seen().len(), before);

    // TLS is verified as for anybody: what the registry's host may do, another may not.
    let sent = bytes.clone();
    let foreign = Server::tls(authority.server(&["http/1.1"], false), move |_| body(200, sent.clone())).await;
    descriptor.urls = vec![format!("https://{}/layer", foreign.host())];
    let mut host = configured(&registry);
    host.skip_verify = true;
    host.ca = vec![authority.ca()];
    let repository = at(&self::client(), vec![host], user(&registry.host()));
    let error = repository.blob(&descriptor, 0).await.err().unwrap();
    assert!(foreign.seen().is_empty(), "{error}");
}

#[tokio::test]
async fn a_foreign_layer_is_fetched_when_no_host_has_it() {
    let bytes = noise(1000);
    let sent = bytes.clone();
    let foreign = Server::new(move |_| body(200, sent.clone())).await;
    let registry = Server::new(|_| status(404)).await;
    let mut descriptor: Descriptor = blob(&bytes);
    for wrong in ["x", "ftp://x/y", "http://a:b@x/", "https://"] {
        descriptor.urls.push(wrong.into());
    }
    descriptor.urls.push(format!("http://{}/layer", foreign.host()));
    let mut options = options();
    options.plain_http_elsewhere = true;
    let repository = at(&Client::new(options).unwrap(), vec![plain(registry.host())], nobody());
    assert_eq!(all(repository.blob(&descriptor, 0).await.unwrap()).await.unwrap(), bytes);
}

#[tokio::test]
async fn circular_redirects_end() {
    let registry = Server::new(|seen: Seen| status(307).with("location", format!("{}x", seen.path))).await;
    let error = on(&registry).resolve(&Target::Tag("latest".into())).await.unwrap_err();
    assert!(matches!(error, Error::Limit { unit: "redirects", .. }), "{error}");
    assert_eq!(registry.seen().len(), 5);
}

#[tokio::test]
async fn redirects_never_lead_from_tls_to_plain_http() {
    let authority = Authority::new();
    let bytes = noise(10);
    let sent = bytes.clone();
    let store = Server::new(move |_| body(200, sent.clone())).await;
    let location = format!("http://{}/data", store.host());
    let registry =
        Server::tls(authority.server(&["http/1.1"], false), move |_| status(307).with("location", &location))
            .await;
    let mut host = Host::new(gantry_registry::Scheme::Https, registry.host());
    host.ca = vec![authority.ca()];
    let error = at(&client(), vec![host.clone()], nobody()).blob(&blob(&bytes), 0).await.err().unwrap();
    assert!(matches!(&error, Error::Misled { .. }), "{error}");
    assert_eq!(store.seen().len(), 0);
    let mut options = options();
    options.plain_http_elsewhere = true;
    let repository = at(&Client::new(options).unwrap(), vec![host], nobody());
    assert_eq!(all(repository.blob(&blob(&bytes), 0).await.unwrap()).await.unwrap(), bytes);
}

#[tokio::test]
async fn nonsense_locations_are_errors() {
    for location in ["ftp://x/y", "https://user:secret@x/", "http://", "javascript:alert(1)//"] {
        let registry = Server::new(move |_| status(307).with("location", location)).await;
        let error = on(&registry).blob(&blob(&noise(10)), 0).await.err().unwrap();
        let text = error.to_string();
        assert!(!text.contains("secret"), "{text}");
        assert!(
            matches!(error, Error::Misled { .. } | Error::NotFound { .. } | Error::Status { .. }),
            "{location}: {text}"
        );
    }
}

#[tokio::test]
async fn parts_go_where_the_first_was_redirected_and_come_back_when_that_expires() {
    let bytes = noise(1_000_000);
    let sent = bytes.clone();
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let store = Server::new(move |seen: Seen| {
        // The address serves three parts, then it has expired.
        if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 4 == 3 {
            return status(403);
        }
        let (start, last) = seen.header("range").unwrap()[6..].split_once('-').unwrap();
        let (start, last): (usize, usize) = (start.parse().unwrap(), last.parse().unwrap_or(999_999));
        body(206, sent.slice(start..=last)).with("content-range", format!("bytes {start}-{last}/1000000"))
    })
    .await;
    let location = format!("http://{}/data", store.host());
    let registry = Server::new(move |_| status(307).with("location", &location)).await;
    let ranges = gantry_registry::Ranges { chunk_bytes: 100_000, parallel: 2 };
    let stream = on(&registry).blob_ranges(&blob(&bytes), 0, ranges).await.unwrap();
    assert_eq!(all(stream).await.unwrap(), bytes);
    assert!(registry.seen().len() < 10, "{} requests to the registry", registry.seen().len());
    let _: Bytes = bytes;
}
