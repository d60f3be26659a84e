//! One repository, seen with the eyes of whoever asks.

mod call;
mod delete;
mod list;
mod manifest;
mod resolve;

pub(crate) use call::{Call, Place, Tries};
pub(crate) use list::referrers_tag;
pub(crate) use manifest::verified;
pub(crate) use resolve::hash;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gantry_types::Digest;

use crate::auth::{Authority, Scope};
use crate::{Capability, Client, Credentials, Error, Host, Hosts, Options};

/// One repository of a registry, and the authority to ask for it. Clones share everything.
#[derive(Clone)]
pub struct Repository {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    registry: String,
    name: String,
    hosts: Arc<dyn Hosts>,
    authority: Authority,
    /// The manifest that a registry sent when it was only asked for its digest.
    fetched: Mutex<Option<(Digest, Bytes)>>,
}

/// A tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A name that may move.
    Tag(String),
    /// Content.
    Digest(Digest),
}

impl Target {
    /// As it is in a URL.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag,
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

/// The longest tag (distribution specification v1.1.1, "Pulling manifests").
const MAX_TAG: usize = 128;

/// Whether `tag` is one: nothing else gets into a URL.
pub(crate) fn is_tag(tag: &str) -> bool {
    let in_tag = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = tag.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && tag.len() <= MAX_TAG && tag.bytes().all(in_tag)
}

impl Repository {
    pub(crate) fn new(
        client: Client,
        registry: &str,
        name: &str,
        hosts: Arc<dyn Hosts>,
        credentials: Arc<dyn Credentials>,
    ) -> Self {
        let authority = Authority::new(credentials);
        let (registry, name) = (registry.to_owned(), name.to_owned());
        Self {
            shared: Arc::new(Shared { client, registry, name, hosts, authority, fetched: Mutex::default() }),
        }
    }

    /// The registry, as references call it.
    pub fn registry(&self) -> &str {
        &self.shared.registry
    }

    /// The name within the registry.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.client.shared.options
    }

    pub(crate) fn client(&self) -> &crate::client::Shared {
        &self.shared.client.shared
    }

    /// The hosts that may be asked for `capability`, in order.
    pub(crate) fn hosts(&self, capability: Capability) -> Result<Vec<Host>, Error> {
        let mut hosts = self.shared.hosts.hosts(&self.shared.registry)?;
        hosts.retain(|host| host.capabilities.has(capability));
        if hosts.is_empty() {
            return Err(Error::NoHost { registry: self.shared.registry.clone(), capability });
        }
        Ok(hosts)
    }

    /// What a token must be for.
    pub(crate) fn scope(&self, actions: &[&str]) -> Scope {
        Scope::repository(&self.shared.name, actions)
    }

    pub(crate) fn checked_tag(&self, tag: &str) -> Result<(), Error> {
        if is_tag(tag) {
            return Ok(());
        }
        let tag: String = tag.chars().take(MAX_TAG).collect();
        let problem = format!("{tag:?} is no tag");
        Err(Error::Configuration { host: self.shared.registry.clone(), problem })
    }

    fn keep(&self, digest: &Digest, bytes: &Bytes) {
        let mut fetched = self.shared.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        *fetched = Some((digest.clone(), bytes.clone()));
    }

    fn kept(&self, digest: &Digest) -> Option<Bytes> {
        let fetched = self.shared.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.as_ref().filter(|(kept, _)| kept == digest).map(|(_, bytes)| bytes.clone())
    }
}

/// What the hosts that were asked in turn have said; the one that got furthest is told.
#[derive(Default)]
pub(crate) struct Failure(Option<Error>);

impl Failure {
    pub(crate) fn note(&mut self, host: &Host, error: Error) {
        tracing::debug!(host = %host.host, error = %error, "host does not serve");
        if self.0.as_ref().is_none_or(|known| known.reach() < error.reach()) {
            self.0 = Some(error);
        }
    }

    pub(crate) fn into_error(self, repository: &Repository, what: &str) -> Error {
        let registry = repository.shared.registry.clone();
        self.0.unwrap_or_else(|| Error::NotFound { what: what.to_owned(), registry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_tags_gets_into_urls() {
        for tag in ["latest", "_a", "1.0-x_y", &"a".repeat(128)] {
            assert!(is_tag(tag), "{tag}");
        }
        for tag in ["", ".a", "-a", "a/b", "a?b", "a b", "../x", "é", &"a".repeat(129)] {
            assert!(!is_tag(tag), "{tag}");
        }
    }
}
