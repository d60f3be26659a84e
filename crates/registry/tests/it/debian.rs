//! Debian's docker-registry: plain, with TLS, with a password.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gantry_registry::{
    Client, Credential, Credentials, DefaultHosts, Error, Host, Pushed, Ranges, Repository, Scheme, Secret,
    Target,
};
use gantry_testkit::{DEADLINE, Need, require};
use gantry_types::{Descriptor, ErrorKind};
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::{Only, These, all, blob, client, manifest, nobody, noise, reference, source, user};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry of its own data, ended when this goes.
struct Registry {
    host: String,
    child: Child,
    _dir: TempDir,
}

impl Registry {
    async fn start(more: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let data = dir.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {data}/data}}\n  delete: {{enabled: true}}\nhttp:\n  addr: {host}\n{more}"
        );
        fs::write(dir.path().join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", "config.yml"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { host, child, _dir: dir };
        let end = Instant::now() + DEADLINE;
        while tokio::net::TcpStream::connect(&registry.host).await.is_err() {
            assert!(Instant::now() < end, "docker-registry does not listen");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        registry
    }

    fn repository(&self, client: &Client, name: &str, credentials: Arc<dyn Credentials>) -> Repository {
        client.repository(
            &reference(&format!("{}/{name}:latest", self.host)),
            Arc::new(DefaultHosts),
            credentials,
        )
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pushes an image of two layers, pulls it, lists it, deletes it.
async fn round_trip(repository: &Repository, other: &Repository) {
    let (small, large) = (noise(10_000), noise(5_000_001));
    let config = Bytes::from_static(b"{}");
    for bytes in [&config, &small, &large] {
        let pushed = repository.push_blob(&blob(bytes), &source(bytes), &[]).await.unwrap();
        assert_eq!(pushed, Pushed::Uploaded);
        assert_eq!(repository.push_blob(&blob(bytes), &source(bytes), &[]).await.unwrap(), Pushed::Exists);
    }
    let (bytes, descriptor) = manifest(&[blob(&small), blob(&large)]);
    let tags = ["1".to_owned(), "latest".into()];
    assert_eq!(repository.push_manifest(bytes.clone(), OCI, &tags).await.unwrap(), descriptor);

    assert_eq!(repository.resolve(&Target::Tag("1".into())).await.unwrap(), descriptor);
    assert_eq!(repository.resolve(&Target::Digest(descriptor.digest.clone())).await.unwrap(), descriptor);
    assert_eq!(repository.manifest(&descriptor).await.unwrap(), bytes);
    assert_eq!(all(repository.blob(&blob(&large), 0).await.unwrap()).await.unwrap(), large);
    assert_eq!(
        all(repository.blob(&blob(&large), 4_999_999).await.unwrap()).await.unwrap(),
        large.slice(4_999_999..)
    );
    let ranges = Ranges { chunk_bytes: 1 << 20, parallel: 3 };
    let stream = repository.blob_ranges(&blob(&large), 3, ranges).await.unwrap();
    assert!(stream.is_parallel());
    assert_eq!(all(stream).await.unwrap(), large.slice(3..));
    assert_eq!(repository.blob_bytes(&blob(&config), 100).await.unwrap(), config);
    let mut tags = repository.tags().await.unwrap();
    tags.sort();
    assert_eq!(tags, ["1", "latest"]);
    assert!(repository.referrers(&descriptor.digest, None).await.unwrap().is_empty());

    let mounted =
        other.push_blob(&blob(&large), &source(&large), &[repository.name().to_owned()]).await.unwrap();
    assert_eq!(mounted, Pushed::Mounted(repository.name().to_owned()));

    repository.delete_manifest(&descriptor.digest).await.unwrap();
    let error = repository.resolve(&Target::Tag("1".into())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(!repository.exists(&descriptor).await.unwrap());
    repository.delete_blob(&blob(&small).digest).await.unwrap();
    assert!(!repository.exists(&blob(&small)).await.unwrap());
}

#[tokio::test]
async fn an_image_goes_to_a_plain_registry_and_back() {
    require!(Need::Program("docker-registry"));
    let registry = Registry::start("").await;
    let client = client();
    round_trip(
        &registry.repository(&client, "team/app", nobody()),
        &registry.repository(&client, "other", nobody()),
    )
    .await;
}

#[tokio::test]
async fn an_image_goes_to_a_registry_with_tls_and_a_password_and_back() {
    require!(Need::Program("docker-registry"), Need::Program("htpasswd"), Need::Program("openssl"));
    let authority = Authority::new();
    authority.issue("registry");
    let users = TempDir::new().unwrap();
    let made = Command::new("htpasswd").args(["-Bbn", "anna", "hunter2"]).output().unwrap();
    fs::write(users.path().join("users"), made.stdout).unwrap();
    let (certificate, key) = (authority.path("registry.crt"), authority.path("registry.key"));
    let more = format!(
        "  tls: {{certificate: {}, key: {}}}\nauth:\n  htpasswd: {{realm: test, path: {}}}\n",
        certificate.display(),
        key.display(),
        users.path().join("users").display()
    );
    let registry = Registry::start(&more).await;
    let client = client();
    let host = Host { ca: vec![authority.ca()], ..Host::new(Scheme::Https, registry.host.clone()) };
    let repository = |name: &str, credentials: Arc<dyn Credentials>| {
        let reference = reference(&format!("{}/{name}:latest", registry.host));
        client.repository(&reference, Arc::new(These(vec![host.clone()])), credentials)
    };
    let (app, other) =
        (repository("team/app", user(&registry.host)), repository("other", user(&registry.host)));
    round_trip(&app, &other).await;

    let wrong = Credential::User { username: "anna".into(), secret: Secret::new("hunter3") };
    for credentials in [nobody(), Arc::new(Only(registry.host.clone(), wrong))] {
        let error = repository("team/app", credentials).resolve(&Target::Tag("1".into())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    }
}

#[tokio::test]
async fn a_blob_goes_to_docker_registry_in_parts() {
    require!(Need::Program("docker-registry"));
    let registry = Registry::start("").await;
    let mut options = crate::options();
    options.limits.upload_chunk_bytes = 1 << 20;
    let client = Client::new(options).unwrap();
    let repository = registry.repository(&client, "team/app", nobody());
    let bytes = noise(3_500_000);
    // The first source breaks off, so that the rest is sent in parts.
    let good = source(&bytes);
    let count = std::sync::atomic::AtomicUsize::new(0);
    let through = Breaking::start(registry.host.clone()).await;
    let broken = client.repository(
        &reference(&format!("{}/team/app:latest", registry.host)),
        Arc::new(These(vec![Host::new(Scheme::Http, through.host.clone())])),
        nobody(),
    );
    let counting = move |offset| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        good(offset)
    };
    broken.push_blob(&blob(&bytes), &counting, &[]).await.unwrap();
    assert_eq!(all(repository.blob(&blob(&bytes), 0).await.unwrap()).await.unwrap(), bytes);
}

#[tokio::test]
async fn errors_of_docker_registry_are_told_in_its_words() {
    require!(Need::Program("docker-registry"));
    let registry = Registry::start("").await;
    let repository = registry.repository(&client(), "team/app", nobody());
    let error = repository.tags().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let (bytes, _) = manifest(&[blob(&noise(5))]);
    let error = repository.push_manifest(bytes, OCI, &["latest".into()]).await.unwrap_err();
    assert!(error.to_string().contains("BLOB_UNKNOWN"), "{error}");
    let absent: Descriptor = blob(&noise(10));
    assert!(matches!(repository.blob(&absent, 0).await, Err(Error::NotFound { .. })));
}

/// A relay that breaks its first large connection in the middle.
struct Breaking {
    host: String,
    task: tokio::task::JoinHandle<()>,
}

impl Breaking {
    async fn start(target: String) -> Self {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, broken) = (target.clone(), Arc::clone(&broken));
                tokio::spawn(async move {
                    let (mut from, mut to) = client.into_split();
                    let (mut back, mut forth) =
                        tokio::net::TcpStream::connect(&target).await.unwrap().into_split();
                    let down = tokio::spawn(async move { tokio::io::copy(&mut back, &mut to).await });
                    let (mut buffer, mut sent) = (vec![0; 65536], 0);
                    while let Ok(count @ 1..) = from.read(&mut buffer).await {
                        sent += count;
                        if sent > 2_000_000 && !broken.swap(true, std::sync::atomic::Ordering::SeqCst) {
                            break;
                        }
                        if forth.write_all(&buffer[..count]).await.is_err() {
                            break;
                        }
                    }
                    drop(forth);
                    down.abort();
                });
            }
        });
        Self { host, task }
    }
}

impl Drop for Breaking {
    fn drop(&mut self) {
        self.task.abort();
    }
}
