//! Lists that come in pages: tags and referrers.

use bytes::Bytes;
use gantry_types::image::Index;
use gantry_types::{Descriptor, Digest, media_type};
use http::{HeaderName, Method, Uri, header};
use serde::Deserialize;

use super::resolve::ACCEPT;
use super::{Call, Failure, Place, Repository, Tries};
use crate::auth::Scope;
use crate::transport::{Answer, Origin, join, shown};
use crate::{Capability, Error, Host, link};

/// How many entries a page is asked to have.
const PAGE: &str = "1000";
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// A page, and where the next one is.
struct Page {
    bytes: Bytes,
    next: Option<Uri>,
    is_filtered: bool,
    host: String,
}

impl Repository {
    /// Every tag.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        let what = "the list of tags";
        let hosts = self.hosts(Capability::Resolve)?;
        let mut failure = Failure::default();
        for (index, host) in hosts.iter().enumerate() {
            match self.tags_at(host, Tries::of(index, hosts.len()), what).await {
                Ok(tags) => return Ok(tags),
                Err(error) => failure.note(host, error),
            }
        }
        Err(failure.into_error(self, what))
    }

    async fn tags_at(&self, host: &Host, tries: Tries, what: &str) -> Result<Vec<String>, Error> {
        let scope = self.scope(&["pull"]);
        let call = Call::new(Method::GET, Place::Path("tags/list"), &scope, what).query("n", PAGE);
        let mut page = self.page(host, tries, call, what).await?;
        let mut all: Vec<String> = Vec::new();
        for _ in 0..self.options().limits.pages {
            let parsed: Option<Tags> = object(&page.bytes);
            let tags = parsed.ok_or_else(|| not_a_list(&page, what))?.tags.unwrap_or_default();
            self.bounded(&page, what, all.len() + tags.len())?;
            all.extend(tags);
            let Some(next) = page.next.take() else { return Ok(all) };
            page =
                self.page(host, tries, Call::new(Method::GET, Place::Uri(next), &scope, what), what).await?;
        }
        Err(self.too_many_pages(&page, what))
    }

    /// What refers to `digest`, all of it or that of one type; nothing if the registry knows of none.
    ///
    /// Registries without this list have an index under a tag that is made of the digest.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let what = format!("the referrers of {digest}");
        let hosts = self.hosts(Capability::Referrers)?;
        let mut failure = Failure::default();
        for (index, host) in hosts.iter().enumerate() {
            match self.referrers_at(host, Tries::of(index, hosts.len()), digest, artifact_type, &what).await {
                Ok(found) => return Ok(found),
                Err(error) => failure.note(host, error),
            }
        }
        match failure.into_error(self, &what) {
            Error::NotFound { .. } => Ok(Vec::new()),
            error => Err(error),
        }
    }

    async fn referrers_at(
        &self,
        host: &Host,
        tries: Tries,
        digest: &Digest,
        artifact_type: Option<&str>,
        what: &str,
    ) -> Result<Vec<Descriptor>, Error> {
        let scope = self.scope(&["pull"]);
        let path = format!("referrers/{digest}");
        let mut call = Call::new(Method::GET, Place::Path(&path), &scope, what)
            .header(header::ACCEPT, media_type::OCI_INDEX);
        if let Some(wanted) = artifact_type {
            call = call.query("artifactType", wanted);
        }
        let mut page = match self.page(host, tries, call, what).await {
            Ok(page) => page,
            // Registries that do not know the path say so in several ways.
            Err(Error::NotFound { .. } | Error::Status { status: 400 | 405 | 501, .. }) => {
                let index = self.referrers_tag(host, tries, digest, &scope, what).await?;
                let listed = index.map(|index| index.manifests).unwrap_or_default();
                return Ok(listed.into_iter().filter(|entry| is_wanted(entry, artifact_type)).collect());
            }
            Err(error) => return Err(error),
        };
        let mut all: Vec<Descriptor> = Vec::new();
        for _ in 0..self.options().limits.pages {
            let index =
                Index::read(&page.bytes, media_type::OCI_INDEX).map_err(|_| not_a_list(&page, what))?;
            self.bounded(&page, what, all.len() + index.manifests.len())?;
            let filtered = page.is_filtered;
            all.extend(
                index.manifests.into_iter().filter(|entry| filtered || is_wanted(entry, artifact_type)),
            );
            let Some(next) = page.next.take() else { return Ok(all) };
            page =
                self.page(host, tries, Call::new(Method::GET, Place::Uri(next), &scope, what), what).await?;
        }
        Err(self.too_many_pages(&page, what))
    }

    /// The index that lists referrers under a tag, if there is one.
    pub(crate) async fn referrers_tag(
        &self,
        host: &Host,
        tries: Tries,
        digest: &Digest,
        scope: &Scope,
        what: &str,
    ) -> Result<Option<Index>, Error> {
        let path = format!("manifests/{}", referrers_tag(digest));
        let call = Call::new(Method::GET, Place::Path(&path), scope, what).header(header::ACCEPT, ACCEPT);
        let page = match self.page(host, tries, call, what).await {
            Ok(page) => page,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let index = index(&page).ok_or_else(|| not_a_list(&page, what))?;
        self.bounded(&page, what, index.manifests.len())?;
        Ok(Some(index))
    }

    async fn page(&self, host: &Host, tries: Tries, call: Call<'_>, what: &str) -> Result<Page, Error> {
        let answer = self.call(host, call, tries).await?;
        let next = next_page(&answer, what)?;
        let is_filtered = answer.text(FILTERS_APPLIED).is_some_and(|text| text.contains("artifactType"));
        let host = answer.host.clone();
        let limit = self.options().limits.document_bytes;
        let bytes = answer.collect(what, limit, &self.options().timeouts).await?;
        Ok(Page { bytes, next, is_filtered, host })
    }

    fn bounded(&self, page: &Page, what: &str, count: usize) -> Result<(), Error> {
        let limit = self.options().limits.entries;
        if count <= limit {
            return Ok(());
        }
        Err(Error::Limit { host: page.host.clone(), what: what.into(), limit: limit as u64, unit: "entries" })
    }

    fn too_many_pages(&self, page: &Page, what: &str) -> Error {
        let limit = u64::from(self.options().limits.pages);
        Error::Limit { host: page.host.clone(), what: what.into(), limit, unit: "pages" }
    }
}

/// The tag under which registries without a list of referrers have one.
pub(crate) fn referrers_tag(digest: &Digest) -> String {
    // At most 64 characters after the dash (distribution specification v1.1.1, "Referrers Tag Schema").
    format!("{}-{}", digest.algorithm().name(), digest.hex().get(..64).unwrap_or(digest.hex()))
}

/// Reads an object: serde would take a list for one.
fn object<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let is_object = bytes.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(bytes).ok())?
}

fn index(page: &Page) -> Option<Index> {
    let is_object = page.bytes.trim_ascii_start().starts_with(b"{");
    is_object.then(|| Index::read(&page.bytes, media_type::OCI_INDEX).ok())?
}

fn is_wanted(entry: &Descriptor, artifact_type: Option<&str>) -> bool {
    artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted))
}

fn not_a_list(page: &Page, what: &str) -> Error {
    let problem = "something else than a list".into();
    Error::Protocol { host: page.host.clone(), what: what.into(), problem }
}

/// Where the next page is: with the host that sent this one, and nowhere else.
fn next_page(answer: &Answer, what: &str) -> Result<Option<Uri>, Error> {
    let Some(target) = answer.text(header::LINK).and_then(link::next) else { return Ok(None) };
    let next =
        join(&answer.uri, target).ok_or_else(|| answer.protocol(what, "a link that is no URL of HTTP"))?;
    if Origin::of(&next) != Origin::of(&answer.uri) {
        return Err(Error::Misled {
            host: answer.host.clone(),
            what: what.into(),
            target: shown(&next),
            reason: "which is another host",
        });
    }
    Ok(Some(next))
}
