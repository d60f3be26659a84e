//! Registries, as a request reaches them: whose credentials, what is there.

use std::sync::Arc;

use gantry_primitives::Access;
use gantry_primitives::registry::{
    BoxFuture, Credential, Credentials, Error as RegistryError, Repository, Target,
};
use gantry_types::image::{ImageConfig, Index, MAX_DOCUMENT_BYTES, Manifest};
use gantry_types::media_type::Kind;
use gantry_types::{Descriptor, ErrorKind, Platform, Reference};

use crate::{Engine, Error, Result};

/// What Docker Hub is called in references, and where it is.
const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

/// The credential of a request for its registry; the operator's for everybody else, such as mirrors.
struct OfRequest {
    host: String,
    credential: Credential,
    otherwise: Arc<dyn Credentials>,
}

impl Credentials for OfRequest {
    fn get<'a>(
        &'a self,
        host: &'a str,
    ) -> BoxFuture<'a, std::result::Result<Option<Credential>, RegistryError>> {
        if host == self.host || self.host == HUB && host == HUB_HOST {
            return Box::pin(std::future::ready(Ok(Some(self.credential.clone()))));
        }
        self.otherwise.get(host)
    }
}

/// What a registry has under a name.
#[derive(Debug, Clone)]
pub struct DistributionInfo {
    /// What the name names.
    pub descriptor: Descriptor,
    /// The platforms that it has.
    pub platforms: Vec<Platform>,
}

pub(crate) fn failed(error: RegistryError) -> Error {
    Error::Store(gantry_primitives::Error::Registry(error))
}

fn malformed(error: &dyn std::error::Error) -> Error {
    Error::Invalid(gantry_primitives::chain(error))
}

/// What a reference names: its digest if it has one, else its tag.
pub(crate) fn target(reference: &Reference) -> Result<Target> {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Ok(Target::Digest(digest.clone())),
        (None, Some(tag)) => Ok(Target::Tag(tag.to_owned())),
        (None, None) => Err(Error::Invalid(format!("{reference} needs a tag or a digest"))),
    }
}

impl Engine {
    /// How a registry is reached for a request.
    pub(crate) fn access(&self, reference: &Reference, credential: Option<Credential>) -> Access {
        let configured = self.shared.access.borrow().clone();
        let Some(credential) = credential else { return configured };
        let host = reference.host().to_owned();
        let credentials = OfRequest { host, credential, otherwise: configured.credentials };
        Access { hosts: configured.hosts, credentials: Arc::new(credentials) }
    }

    pub(crate) fn repository(&self, reference: &Reference, credential: Option<Credential>) -> Repository {
        self.shared.store.repository(reference, self.access(reference, credential))
    }

    /// What a registry has under a name, without fetching it.
    ///
    /// # Errors
    /// NotFound; Unauthenticated, PermissionDenied, Unavailable from the registry.
    pub async fn distribution(
        &self,
        reference: &Reference,
        credential: Option<Credential>,
    ) -> Result<DistributionInfo> {
        let repository = self.repository(reference, credential);
        let resolved = repository.resolve(&target(reference)?).await;
        let descriptor = resolved.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NotFound { what: "manifest", name: reference.to_string() },
            _ => failed(error),
        })?;
        let platforms = match descriptor.kind() {
            Kind::Index => {
                let bytes = repository.manifest(&descriptor).await.map_err(failed)?;
                let index = Index::read(&bytes, &descriptor.media_type).map_err(|error| malformed(&error))?;
                let platforms = index.manifests.into_iter().filter_map(|child| child.platform);
                platforms.filter(|platform| !platform.is_unknown()).collect()
            }
            Kind::Manifest => {
                let bytes = repository.manifest(&descriptor).await.map_err(failed)?;
                let manifest =
                    Manifest::read(&bytes, &descriptor.media_type).map_err(|error| malformed(&error))?;
                self.platform_of(&repository, &manifest).await?.into_iter().collect()
            }
            _ => Vec::new(),
        };
        Ok(DistributionInfo { descriptor, platforms })
    }

    async fn platform_of(&self, repository: &Repository, manifest: &Manifest) -> Result<Option<Platform>> {
        if manifest.config.kind() != Kind::Config {
            return Ok(None);
        }
        let bytes = repository.blob_bytes(&manifest.config, MAX_DOCUMENT_BYTES).await.map_err(failed)?;
        let config = ImageConfig::read(&bytes).map_err(|error| malformed(&error))?;
        Ok(Some(Platform {
            architecture: config.architecture,
            os: config.os,
            os_version: config.os_version,
            os_features: Vec::new(),
            variant: config.variant,
        }))
    }

    /// The tags of a repository, in the registry's order.
    pub(crate) async fn remote_tags(
        &self,
        reference: &Reference,
        credential: Option<Credential>,
    ) -> Result<Vec<String>> {
        self.repository(reference, credential).tags().await.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use gantry_primitives::registry::{Anonymous, Secret};

    use super::*;

    #[tokio::test]
    async fn the_credential_of_a_request_is_for_its_registry_alone() {
        let credential = Credential::User { username: "anna".into(), secret: Secret::new("x") };
        let of = |host: &str| OfRequest {
            host: host.to_owned(),
            credential: credential.clone(),
            otherwise: Arc::new(Anonymous),
        };
        assert_eq!(of("r.example").get("r.example").await.unwrap(), Some(credential.clone()));
        assert_eq!(of("r.example").get("mirror.example").await.unwrap(), None);
        assert_eq!(of(HUB).get(HUB_HOST).await.unwrap(), Some(credential.clone()));
        assert_eq!(of("r.example").get(HUB_HOST).await.unwrap(), None);
    }
}
