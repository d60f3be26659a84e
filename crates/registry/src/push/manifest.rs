use bytes::Bytes;
use gantry_types::image::Index;
use gantry_types::{Algorithm, Descriptor, Digest, media_type};
use http::{HeaderName, Method, header};
use serde::Deserialize;

use crate::auth::Scope;
use crate::repository::{Call, Place, Tries, hash, referrers_tag};
use crate::transport::Payload;
use crate::{Error, Host, Repository};

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// What of a manifest its subject's list of referrers has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referring {
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Typed>,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    media_type: String,
}

impl Repository {
    /// Uploads a manifest under each of `tags`, or under its digest alone if there is none; and lists it among the
    /// referrers of its subject if the registry does not do that itself.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn push_manifest(
        &self,
        bytes: Bytes,
        media_type: &str,
        tags: &[String],
    ) -> Result<Descriptor, Error> {
        self.push_manifest_as(bytes, media_type, tags, Algorithm::Sha256).await
    }

    /// The same, for a manifest that is known by a digest of another algorithm.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn push_manifest_as(
        &self,
        bytes: Bytes,
        media_type: &str,
        tags: &[String],
        algorithm: Algorithm,
    ) -> Result<Descriptor, Error> {
        let digest = hash(algorithm, &bytes);
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        let what = format!("the upload of manifest {}", descriptor.digest);
        let limit = self.options().limits.manifest_bytes;
        if descriptor.size > limit {
            return Err(Error::Limit { host: self.registry().into(), what, limit, unit: "bytes" });
        }
        for tag in tags {
            self.checked_tag(tag)?;
        }
        let host = self.push_host()?;
        let scope = self.scope(&["pull", "push"]);
        let by_digest = [descriptor.digest.to_string()];
        let names = if tags.is_empty() { &by_digest[..] } else { tags };
        let mut is_listed = false;
        for name in names {
            is_listed = self.put_manifest(&host, &scope, &what, &descriptor, &bytes, name).await?;
        }
        let referring: Option<Referring> = serde_json::from_slice(&bytes).ok();
        if let Some(referring) = referring.filter(|_| !is_listed)
            && let Some(subject) = &referring.subject
        {
            let digest = subject.digest.clone();
            self.list_referrer(&host, &scope, &what, &digest, entry(&descriptor, referring)).await?;
        }
        Ok(descriptor)
    }

    /// Whether the registry has listed it among the referrers of its subject.
    async fn put_manifest(
        &self,
        host: &Host,
        scope: &Scope,
        what: &str,
        descriptor: &Descriptor,
        bytes: &Bytes,
        name: &str,
    ) -> Result<bool, Error> {
        let path = format!("manifests/{name}");
        let call = Call::new(Method::PUT, Place::Path(&path), scope, what)
            .header(header::CONTENT_TYPE, &descriptor.media_type)
            .payload(Payload::Bytes(bytes.clone()))
            .within(self.options().timeouts.commit);
        let answer = self.call(host, call, Tries::All).await?;
        let told = answer.text(DOCKER_CONTENT_DIGEST).and_then(|text| Digest::parse(text).ok());
        if let Some(told) = told
            && told.algorithm() == descriptor.digest.algorithm()
            && told != descriptor.digest
        {
            return Err(Error::Mismatch {
                host: answer.host.clone(),
                what: what.into(),
                expected: descriptor.digest.to_string(),
                found: told.to_string(),
            });
        }
        Ok(answer.text(OCI_SUBJECT).is_some())
    }

    /// Adds an entry to the index under the tag that stands for the list of referrers.
    async fn list_referrer(
        &self,
        host: &Host,
        scope: &Scope,
        what: &str,
        subject: &Digest,
        entry: Descriptor,
    ) -> Result<(), Error> {
        let index = self.referrers_tag(host, Tries::All, subject, scope, what).await?;
        let mut index = index.unwrap_or_else(|| Index {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.into(),
            ..Index::default()
        });
        if index.manifests.iter().any(|known| known.digest == entry.digest) {
            return Ok(());
        }
        index.manifests.push(entry);
        let bytes = serde_json::to_vec(&index)
            .map_err(|error| Error::Source { what: what.into(), source: error.into() })?;
        let bytes = Bytes::from(bytes);
        let descriptor = Descriptor::of(media_type::OCI_INDEX, &bytes);
        self.put_manifest(host, scope, what, &descriptor, &bytes, &referrers_tag(subject)).await.map(drop)
    }
}

/// The entry of a list of referrers for a manifest.
fn entry(descriptor: &Descriptor, referring: Referring) -> Descriptor {
    let of_config = referring.config.map(|config| config.media_type).filter(|typed| !typed.is_empty());
    let mut entry = descriptor.clone();
    entry.artifact_type = referring.artifact_type.filter(|typed| !typed.is_empty()).or(of_config);
    entry.annotations = referring.annotations.unwrap_or_default();
    entry
}
