//! How registries are reached, from configuration: `hosts.toml` trees and Docker's `config.json`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gantry_config::docker::{DockerConfig, DockerCredential, Source};
use gantry_config::hosts::{HostConfig, HostTree, Scheme as ConfiguredScheme};
use gantry_registry::{
    BoxFuture, Capabilities, ClientCertificate, Credential, Credentials, Error as RegistryError, Host, Hosts,
    Scheme, Secret,
};

/// The hosts that `certs.d` directories name. Changes of the files count at once.
#[derive(Debug)]
pub struct TreeHosts {
    tree: HostTree,
    /// Speak plain HTTP to the registry itself, whatever its address.
    plain_http: bool,
}

impl TreeHosts {
    /// What the directories below `roots` say; the first root that has a registry counts.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self { tree: HostTree::new(roots), plain_http: false }
    }

    /// The same, but registries that no file names are spoken to in plain HTTP: because somebody asked for it.
    #[must_use]
    pub fn with_plain_http(self) -> Self {
        Self { plain_http: true, ..self }
    }
}

impl Hosts for TreeHosts {
    fn hosts(&self, registry: &str) -> Result<Vec<Host>, RegistryError> {
        let found = self.tree.hosts(registry).map_err(|error| RegistryError::Hosts {
            registry: registry.to_owned(),
            source: Box::new(error),
        })?;
        for ignored in &found.ignored {
            let (file, line, key) = (ignored.path.display(), ignored.line, &ignored.key);
            tracing::warn!(registry, %file, line, key, "an unknown key is ignored");
        }
        let mut hosts: Vec<Host> = found.hosts.iter().map(host).collect();
        if self.plain_http && found.directory.is_none() {
            for host in &mut hosts {
                host.scheme = Scheme::Http;
            }
        }
        Ok(hosts)
    }
}

fn host(configured: &HostConfig) -> Host {
    let capabilities = configured.capabilities;
    let client = configured.client.iter().map(|pair| ClientCertificate {
        certificate: pair.certificate.clone(),
        key: Secret::new(String::from_utf8_lossy(&pair.key)),
    });
    Host {
        scheme: match configured.scheme {
            ConfiguredScheme::Https => Scheme::Https,
            ConfiguredScheme::Http => Scheme::Http,
            ConfiguredScheme::HttpsThenHttp => Scheme::HttpsThenHttp,
        },
        host: configured.host.clone(),
        root: configured.root.clone(),
        capabilities: Capabilities {
            pull: capabilities.pull,
            resolve: capabilities.resolve,
            push: capabilities.push,
            referrers: capabilities.referrers,
        },
        ca: configured.ca.clone(),
        client: client.collect(),
        skip_verify: configured.skip_verify,
        headers: configured.headers.clone(),
        dial_timeout: configured.dial_timeout,
    }
}

/// The credentials of a `config.json`, read anew for each question: who logs in is logged in.
#[derive(Debug, Clone)]
pub struct DockerCredentials {
    path: PathBuf,
    helper_timeout: Duration,
}

impl DockerCredentials {
    /// Those of the file `path`, which need not be there. A helper may take `helper_timeout`.
    pub fn new(path: impl Into<PathBuf>, helper_timeout: Duration) -> Self {
        Self { path: path.into(), helper_timeout }
    }
}

impl Credentials for DockerCredentials {
    fn get<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, RegistryError>> {
        let (path, timeout, name) = (self.path.clone(), self.helper_timeout, host.to_owned());
        Box::pin(async move {
            let failed =
                |source: gantry_registry::BoxError| RegistryError::Credentials { host: name.clone(), source };
            let asked = name.clone();
            let look = move || find(&path, &asked, timeout);
            let found = tokio::task::spawn_blocking(look).await.map_err(|error| failed(Box::new(error)))?;
            Ok(found.map_err(|error| failed(Box::new(error)))?.map(credential))
        })
    }
}

/// Looks for the credential of `host`. Blocks; may run a helper.
fn find(
    path: &Path,
    host: &str,
    timeout: Duration,
) -> Result<Option<DockerCredential>, gantry_config::Error> {
    if !path.exists() {
        return Ok(None);
    }
    match DockerConfig::load(path)?.find(host) {
        None => Ok(None),
        Some(Source::Credential(credential)) => Ok(Some(credential)),
        Some(Source::Helper { helper, otherwise }) => Ok(helper.get(timeout)?.or(otherwise)),
    }
}

fn credential(found: DockerCredential) -> Credential {
    match found {
        DockerCredential::User { username, secret } => {
            Credential::User { username, secret: Secret::new(secret.expose()) }
        }
        DockerCredential::IdentityToken(token) => Credential::IdentityToken(Secret::new(token.expose())),
        DockerCredential::RegistryToken(token) => Credential::RegistryToken(Secret::new(token.expose())),
    }
}

/// One credential for one registry, as a request brought it.
#[derive(Debug, Clone)]
pub struct GivenCredential {
    host: String,
    credential: Credential,
    otherwise: Option<Arc<DockerCredentials>>,
}

impl GivenCredential {
    /// `credential` for `host` alone: no mirror gets to see it.
    pub fn new(host: impl Into<String>, credential: Credential) -> Self {
        Self { host: host.into(), credential, otherwise: None }
    }

    /// For other hosts, those of a file.
    #[must_use]
    pub fn or(self, otherwise: Arc<DockerCredentials>) -> Self {
        Self { otherwise: Some(otherwise), ..self }
    }
}

impl Credentials for GivenCredential {
    fn get<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, RegistryError>> {
        if host == self.host {
            return Box::pin(std::future::ready(Ok(Some(self.credential.clone()))));
        }
        match &self.otherwise {
            Some(otherwise) => otherwise.get(host),
            None => Box::pin(std::future::ready(Ok(None))),
        }
    }
}
