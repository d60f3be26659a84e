//! The client against registries that misbehave in every way, and against Debian's docker-registry.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod auth;
mod blobs;
mod certificates;
mod debian;
mod elsewhere;
mod lists;
mod manifests;
mod push;
mod server;
mod web;
mod wire;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use gantry_registry::{
    BlobStream, BodyStream, BoxFuture, Client, Credential, Credentials, Error, Host, Hosts, Limits, Options,
    Repository, Retry, Roots, Scheme, Timeouts,
};
use gantry_types::{Descriptor, Digest, Reference};
use server::Server;

/// Time limits and pauses that tests can wait for.
fn options() -> Options {
    Options {
        limits: Limits { redirects: 4, ..Limits::default() },
        timeouts: Timeouts {
            dial: Duration::from_secs(5),
            response: Duration::from_millis(500),
            commit: Duration::from_secs(5),
            stall: Duration::from_millis(300),
            document: Duration::from_secs(2),
            ..Timeouts::default()
        },
        retry: Retry {
            attempts: 4,
            pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(20),
            longest_retry_after: Duration::from_secs(2),
        },
        roots: Roots::BuiltIn,
        ..Options::default()
    }
}

fn client() -> Client {
    Client::new(options()).unwrap()
}

/// These hosts for every registry.
struct These(Vec<Host>);

impl Hosts for These {
    fn hosts(&self, _registry: &str) -> Result<Vec<Host>, Error> {
        Ok(self.0.clone())
    }
}

/// This credential for one host.
struct Only(String, Credential);

impl Credentials for Only {
    fn get<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, Error>> {
        Box::pin(ready(Ok(Some(self.1.clone()).filter(|_| host == self.0))))
    }
}

fn user(host: &str) -> Arc<dyn Credentials> {
    let credential = Credential::User { username: "anna".into(), secret: "hunter2".to_owned().into() };
    Arc::new(Only(host.to_owned(), credential))
}

fn nobody() -> Arc<dyn Credentials> {
    Arc::new(gantry_registry::Anonymous)
}

fn plain(host: String) -> Host {
    Host::new(Scheme::Http, host)
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// A repository at these hosts.
fn at(client: &Client, hosts: Vec<Host>, credentials: Arc<dyn Credentials>) -> Repository {
    client.repository(&reference("registry.example/team/app:latest"), Arc::new(These(hosts)), credentials)
}

/// A repository at one server, without a credential.
fn on(server: &Server) -> Repository {
    at(&client(), vec![plain(server.host())], nobody())
}

/// Bytes that are not the same anywhere.
fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = BytesMut::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.freeze()
}

fn blob(bytes: &Bytes) -> Descriptor {
    Descriptor::of("application/vnd.oci.image.layer.v1.tar+gzip", bytes)
}

/// All of a stream.
async fn all(mut stream: BlobStream) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
        assert!(stream.offset() <= stream.size());
    }
    Ok(bytes.freeze())
}

/// A source for uploads, in chunks.
fn source(bytes: &Bytes) -> impl Fn(u64) -> BodyStream + Send + Sync + 'static {
    let bytes = bytes.clone();
    move |offset| {
        let rest = bytes.slice(usize::try_from(offset).unwrap()..);
        let chunks: Vec<_> = rest.chunks(7777).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        Box::pin(futures_util::stream::iter(chunks))
    }
}

/// A manifest of a configuration and layers, and its descriptor.
fn manifest(layers: &[Descriptor]) -> (Bytes, Descriptor) {
    let config = Descriptor::of("application/vnd.oci.image.config.v1+json", b"{}");
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
    });
    let bytes = Bytes::from(document.to_string());
    let descriptor = Descriptor::of("application/vnd.oci.image.manifest.v1+json", &bytes);
    (bytes, descriptor)
}

fn other_digest() -> Digest {
    Digest::sha256(b"something else")
}
