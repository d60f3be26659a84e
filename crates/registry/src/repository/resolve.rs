use bytes::Bytes;
use gantry_types::image::InvalidDocument;
use gantry_types::media_type::{self, Kind};
use gantry_types::{Algorithm, Descriptor, Digest, Hasher};
use http::{HeaderName, Method, header};
use serde::Deserialize;

use super::{Call, Failure, Place, Repository, Target, Tries};
use crate::transport::Answer;
use crate::{Capability, Error, Host};

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Types of a body that say nothing of a manifest.
const MEANINGLESS: &[&str] = &["text/plain", "application/octet-stream", "application/json", "text/html"];

/// What is asked for with manifests: what containerd asks for, in its order.
pub(crate) const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, */*";

/// The types that a manifest says it has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
}

impl Repository {
    /// What `target` is: its type, digest and size. One request where the registry behaves (HEAD).
    ///
    /// # Errors
    /// [`Error`]; of several hosts, the error of the one that got furthest.
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing but connections that close.
    pub async fn resolve(&self, target: &Target) -> Result<Descriptor, Error> {
        let capability = match target {
            Target::Tag(tag) => {
                self.checked_tag(tag)?;
                Capability::Resolve
            }
            Target::Digest(_) => Capability::Pull,
        };
        let hosts = self.hosts(capability)?;
        let what = format!("manifest {}", target.as_str());
        let mut failure = Failure::default();
        for (index, host) in hosts.iter().enumerate() {
            match self.resolve_at(host, Tries::of(index, hosts.len()), target, &what).await {
                Ok(descriptor) => return Ok(descriptor),
                Err(error) => failure.note(host, error),
            }
        }
        Err(failure.into_error(self, &what))
    }

    /// Asks one host.
    pub(crate) async fn resolve_at(
        &self,
        host: &Host,
        tries: Tries,
        target: &Target,
        what: &str,
    ) -> Result<Descriptor, Error> {
        let scope = self.scope(&["pull"]);
        let path = format!("manifests/{}", target.as_str());
        let call = Call::new(Method::HEAD, Place::Path(&path), &scope, what).header(header::ACCEPT, ACCEPT);
        // Registries without HEAD are asked for the whole.
        let answer = self.call(host, call.accepting(&[400, 405, 501]), tries).await?;
        if answer.status().is_success()
            && let Some(descriptor) = self.by_headers(&answer, target, what)?
        {
            return Ok(descriptor);
        }
        drop(answer);
        let call = Call::new(Method::GET, Place::Path(&path), &scope, what).header(header::ACCEPT, ACCEPT);
        let answer = self.call(host, call, tries).await?;
        let (told, typed) = (told_digest(&answer, what)?, answer.media_type().map(str::to_owned));
        let name = answer.host.clone();
        let limits = &self.options().limits;
        let bytes = answer.collect(what, limits.manifest_bytes, &self.options().timeouts).await?;
        let descriptor = by_content(&name, target, what, &bytes, told.as_ref(), typed.as_deref())?;
        self.keep(&descriptor.digest, &bytes);
        Ok(descriptor)
    }

    /// The descriptor, if the head of an answer has all of it.
    fn by_headers(&self, answer: &Answer, target: &Target, what: &str) -> Result<Option<Descriptor>, Error> {
        let told = told_digest(answer, what)?;
        let digest = match (target, told) {
            (Target::Tag(_), None) => return Ok(None),
            (Target::Tag(_), Some(told)) => told,
            (Target::Digest(asked), told) => {
                same(&answer.host, what, asked, told.as_ref())?;
                asked.clone()
            }
        };
        let Some(size) = answer.length() else { return Ok(None) };
        let Some(typed) = answer.media_type().filter(|typed| !MEANINGLESS.contains(typed)) else {
            return Ok(None);
        };
        refuse_schema1(&answer.host, what, typed)?;
        let limit = self.options().limits.manifest_bytes;
        if size > limit {
            return Err(Error::Limit { host: answer.host.clone(), what: what.into(), limit, unit: "bytes" });
        }
        Ok(Some(Descriptor::new(typed, digest, size)))
    }
}

/// What a host says the digest is. One that is none, or would be a path, is an error (CVE-2024-3727).
fn told_digest(answer: &Answer, what: &str) -> Result<Option<Digest>, Error> {
    let Some(text) = answer.text(DOCKER_CONTENT_DIGEST) else { return Ok(None) };
    let digest = Digest::parse(text.trim());
    digest.map(Some).map_err(|error| answer.protocol(what, error.to_string()))
}

/// That a host says the digest that was asked for, if it says one of the same kind.
fn same(host: &str, what: &str, asked: &Digest, told: Option<&Digest>) -> Result<(), Error> {
    match told {
        Some(told) if told.algorithm() == asked.algorithm() && told != asked => Err(Error::Mismatch {
            host: host.into(),
            what: what.into(),
            expected: asked.to_string(),
            found: told.to_string(),
        }),
        _ => Ok(()),
    }
}

fn refuse_schema1(host: &str, what: &str, typed: &str) -> Result<(), Error> {
    if media_type::kind(typed) != Kind::Schema1 {
        return Ok(());
    }
    let source = InvalidDocument::Schema1(typed.to_owned());
    Err(Error::Document { host: host.into(), what: what.into(), source })
}

pub(crate) fn hash(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// The descriptor of a manifest that was sent whole.
fn by_content(
    host: &str,
    target: &Target,
    what: &str,
    bytes: &Bytes,
    told: Option<&Digest>,
    typed: Option<&str>,
) -> Result<Descriptor, Error> {
    let asked = match target {
        Target::Digest(asked) => Some(asked),
        Target::Tag(_) => None,
    };
    for expected in asked.into_iter().chain(told) {
        same(host, what, expected, Some(&hash(expected.algorithm(), bytes)))?;
    }
    let digest = asked.or(told).cloned().unwrap_or_else(|| Digest::sha256(bytes));
    let typed = match typed.filter(|typed| !MEANINGLESS.contains(typed)) {
        Some(typed) => typed.to_owned(),
        None => inner_type(bytes).ok_or_else(|| Error::Protocol {
            host: host.into(),
            what: what.into(),
            problem: "something that is no manifest".into(),
        })?,
    };
    refuse_schema1(host, what, &typed)?;
    Ok(Descriptor::new(typed, digest, bytes.len() as u64))
}

/// The type of a manifest by what is in it.
fn inner_type(bytes: &[u8]) -> Option<String> {
    let inner: Typed = serde_json::from_slice(bytes).ok()?;
    match (inner.media_type.as_str(), inner.manifests, inner.layers) {
        ("", Some(_), None) => Some(media_type::OCI_INDEX.to_owned()),
        ("", None, Some(_)) => Some(media_type::OCI_MANIFEST.to_owned()),
        ("", ..) => None,
        _ => Some(inner.media_type),
    }
}
