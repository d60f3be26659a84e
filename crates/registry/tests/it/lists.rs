use bytes::Bytes;
use gantry_registry::{Client, Error};
use gantry_types::{Descriptor, Digest};

use crate::server::{Seen, Server, With as _, body, status};
use crate::{at, client, nobody, on, options, plain};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn entry(name: &str, artifact_type: &str) -> Descriptor {
    let mut entry = Descriptor::of("application/vnd.oci.image.manifest.v1+json", name.as_bytes());
    entry.artifact_type = Some(artifact_type.into());
    entry
}

fn index(entries: &[Descriptor]) -> Bytes {
    let document = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    document.to_string().into()
}

fn subject() -> Digest {
    Digest::sha256(b"subject")
}

#[tokio::test]
async fn tags_come_in_pages() {
    let server = Server::new(|seen: Seen| match seen.query.as_str() {
        query if query.contains("last=b") => body(200, r#"{"name":"x","tags":["c"]}"#),
        _ => body(200, r#"{"name":"x","tags":["a","b"]}"#)
            .with("link", "</v2/team/app/tags/list?last=b&n=2>; rel=\"next\""),
    })
    .await;
    assert_eq!(on(&server).tags().await.unwrap(), ["a", "b", "c"]);
    assert_eq!(server.seen()[0].query, "n=1000&ns=registry.example");
}

#[tokio::test]
async fn no_tags_are_an_empty_list() {
    let server = Server::new(|_| body(200, r#"{"name":"x","tags":null}"#)).await;
    assert!(on(&server).tags().await.unwrap().is_empty());
}

#[tokio::test]
async fn endless_lists_end() {
    let mut options = options();
    options.limits.pages = 7;
    options.limits.entries = 100;
    let client = Client::new(options).unwrap();
    let server = Server::new(|_| body(200, r#"{"tags":["a"]}"#).with("link", "<?last=a>; rel=next")).await;
    let error = at(&client, vec![plain(server.host())], nobody()).tags().await.unwrap_err();
    assert!(matches!(error, Error::Limit { unit: "pages", .. }), "{error}");
    assert_eq!(server.seen().len(), 8);
    let many = format!(r#"{{"tags":[{}"x"]}}"#, r#""x","#.repeat(100));
    let server = Server::new(move |_| body(200, many.clone())).await;
    let error = at(&client, vec![plain(server.host())], nobody()).tags().await.unwrap_err();
    assert!(matches!(error, Error::Limit { unit: "entries", .. }), "{error}");
}

#[tokio::test]
async fn a_list_goes_on_with_its_host_alone() {
    let other = Server::new(|_| body(200, r#"{"tags":["x"]}"#)).await;
    let link = format!("<http://{}/v2/x>; rel=next", other.host());
    let server = Server::new(move |_| body(200, r#"{"tags":["a"]}"#).with("link", &link)).await;
    let error = on(&server).tags().await.unwrap_err();
    assert!(matches!(error, Error::Misled { .. }), "{error}");
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn what_is_no_list_is_an_error() {
    for text in ["", "[]", "{\"tags\":{}}", "<html>"] {
        let server = Server::new(move |_| body(200, text)).await;
        let error = on(&server).tags().await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{text}: {error}");
        let error = on(&server).referrers(&subject(), None).await.err();
        assert!(matches!(error, Some(Error::Protocol { .. })), "{text}");
    }
}

#[tokio::test]
async fn referrers_come_in_pages_and_are_filtered_by_whoever_can() {
    for filters in [true, false] {
        let server = Server::new(move |seen: Seen| {
            let wanted = seen.query.contains("artifactType=a%2Fsbom");
            let first = index(&[entry("1", "a/sbom"), entry("2", "a/signature")]);
            let only = index(&[entry("1", "a/sbom")]);
            let reply = match (seen.query.contains("page=2"), wanted && filters) {
                (true, _) => body(200, index(&[entry("3", "a/sbom")])),
                (false, true) => body(200, only)
                    .with("oci-filters-applied", "artifactType")
                    .with("link", "<?page=2>; rel=next"),
                (false, false) => body(200, first).with("link", "<?page=2>; rel=next"),
            };
            reply.with("content-type", INDEX)
        })
        .await;
        let repository = on(&server);
        let digests =
            |entries: Vec<Descriptor>| entries.into_iter().map(|entry| entry.digest).collect::<Vec<_>>();
        let found = digests(repository.referrers(&subject(), Some("a/sbom")).await.unwrap());
        assert_eq!(found, [Digest::sha256(b"1"), Digest::sha256(b"3")], "{filters}");
        if !filters {
            assert_eq!(repository.referrers(&subject(), None).await.unwrap().len(), 3);
        }
    }
}

#[tokio::test]
async fn registries_without_referrers_have_a_tag_for_them_or_nothing() {
    let tag = format!("/v2/team/app/manifests/sha256-{}", subject().hex());
    for code in [404, 400, 405] {
        let tag = tag.clone();
        let server = Server::new(move |seen: Seen| {
            if seen.path == tag {
                return body(200, index(&[entry("1", "a/sbom"), entry("2", "b")]))
                    .with("content-type", INDEX);
            }
            status(code)
        })
        .await;
        let found = on(&server).referrers(&subject(), Some("a/sbom")).await.unwrap();
        assert_eq!(found, [entry("1", "a/sbom")], "{code}");
    }
    let server = Server::new(|_| status(404)).await;
    assert!(on(&server).referrers(&subject(), None).await.unwrap().is_empty());
    let refusing = Server::new(|_| status(403)).await;
    let error = at(&client(), vec![plain(refusing.host())], nobody()).referrers(&subject(), None).await;
    assert!(matches!(error, Err(Error::Refused { .. })));
}
