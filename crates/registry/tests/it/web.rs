//! Files of the web, and searches.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gantry_registry::{Client, Credential, Download, Error, Host, Options, Roots, Scheme};

use super::certificates::Authority;
use super::server::{Seen, Server, With, body, broken, endless, pieces, status};
use super::{client, options, plain};

async fn whole(mut download: Download) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = download.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

#[tokio::test]
async fn files_come_with_their_names_and_times() {
    let server = Server::new(|seen: Seen| match seen.path.as_str() {
        "/from" => status(302).with("location", "/dir/other"),
        _ => body(200, "data")
            .with("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")
            .with("content-type", "text/plain; charset=utf-8")
            .with("content-disposition", "attachment; filename=\"a/given.txt\""),
    })
    .await;
    let get = async |path: &str| client().download(&format!("http://{}{path}", server.host())).await.unwrap();
    let download = get("/a%20b?x=1#y").await;
    assert_eq!(download.path_name().as_deref(), Some("a b"));
    assert_eq!(download.given_name().as_deref(), Some("given.txt"));
    assert_eq!((download.modified(), download.length()), (Some(784_111_777), Some(4)));
    assert_eq!(download.media_type(), Some("text/plain"));
    assert_eq!(whole(download).await.unwrap(), "data");
    assert_eq!(server.seen()[0].query, "x=1");
    assert_eq!(get("/dir/").await.path_name(), None);
    // The name is that of what was asked for, as with docker.
    assert_eq!(get("/from").await.path_name().as_deref(), Some("from"));
}

#[tokio::test]
async fn a_password_in_an_address_is_for_its_host_alone() {
    let other = Server::new(|_| body(200, "elsewhere")).await;
    let location = format!("http://{}/x", other.other_name());
    let server = Server::new(move |_| status(307).with("location", &location)).await;
    let url = format!("http://anna:hunter2@{}/x", server.host());
    assert_eq!(whole(client().download(&url).await.unwrap()).await.unwrap(), "elsewhere");
    assert_eq!(server.seen()[0].header("authorization"), Some("Basic YW5uYTpodW50ZXIy"));
    assert_eq!(other.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn refusals_say_what_the_server_says() {
    let server = Server::new(|_| body(404, "no\u{1b}[2J such thing\n")).await;
    let url = format!("http://u:secret@{}/x?token=secret", server.host());
    match client().download(&url).await.unwrap_err() {
        Error::Status { status: 404, detail, what, .. } => {
            assert_eq!(detail, "Not Found: no[2J such thing");
            assert!(!what.contains("secret"), "{what}");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn bodies_that_stall_break_or_never_end_are_errors() {
    let server = Server::new(|seen: Seen| match seen.path.as_str() {
        "/stall" => endless(Bytes::from_static(b"x"), None),
        "/break" => pieces(200, vec![Ok(Bytes::from_static(b"x")), Err(broken())]),
        _ => status(307).with("location", format!("{}x", seen.path)),
    })
    .await;
    let get = async |path: &str| match client().download(&format!("http://{}{path}", server.host())).await {
        Ok(download) => whole(download).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(get("/stall").await, Error::Timeout { .. }));
    assert!(matches!(get("/break").await, Error::Broken { .. }));
    assert!(matches!(get("/circle").await, Error::Limit { unit: "redirects", .. }));
    assert!(matches!(client().download("http://127.0.0.1:1/").await, Err(Error::Connect { .. })));
}

#[tokio::test]
async fn tls_needs_somebody_who_is_trusted_and_leads_to_no_plain_http() {
    let authority = Authority::new();
    let server =
        Server::tls(authority.server(&["h2", "http/1.1"], false), |seen: Seen| match seen.path.as_str() {
            "/down" => status(302).with("location", "http://127.0.0.1:1/"),
            _ => body(200, "over TLS"),
        })
        .await;
    let url = format!("https://{}/x", server.host());
    // Loopback is no exception: nobody has said that it is a registry.
    assert!(matches!(client().download(&url).await, Err(Error::Connect { .. })));
    let trusting = Client::new(Options { roots: Roots::Pem(authority.ca()), ..options() }).unwrap();
    assert_eq!(whole(trusting.download(&url).await.unwrap()).await.unwrap(), "over TLS");
    let down = trusting.download(&format!("https://{}/down", server.host())).await;
    assert!(matches!(down, Err(Error::Misled { .. })));
}

#[tokio::test]
async fn indexes_are_asked_as_docker_asks_them() {
    let server = Server::new(|seen: Seen| match seen.query.as_str() {
        "q=a%20b%2Fc&n=7" => body(
            200,
            r#"{"num_results":1,"query":"a b/c","results":[{"name":"x/y","description":null,"star_count":3,
                "is_official":true,"is_automated":false,"is_trusted":true}]}"#,
        ),
        "q=none&n=7" => status(404),
        _ => body(200, "<html>"),
    })
    .await;
    let host = plain(server.host());
    let credential = Credential::User { username: "anna".into(), secret: "hunter2".to_owned().into() };
    let search = async |term: &str| client().search(&host, term, 7, Some(&credential)).await;
    let found = search("a b/c").await.unwrap();
    assert_eq!((found[0].name.as_str(), found[0].star_count, found[0].is_official), ("x/y", 3, true));
    assert_eq!(found[0].description, "");
    assert_eq!(server.seen()[0].path, "/v1/search");
    assert_eq!(server.seen()[0].header("authorization"), Some("Basic YW5uYTpodW50ZXIy"));
    assert!(matches!(search("none").await, Err(Error::NotFound { .. })));
    assert!(matches!(search("other").await, Err(Error::Protocol { .. })));
    let absent =
        Host { dial_timeout: Some(Duration::from_secs(1)), ..Host::new(Scheme::Http, "127.0.0.1:1") };
    assert!(matches!(client().search(&absent, "x", 1, None).await, Err(Error::Connect { .. })));
}
