//! Searching: the index of Docker Hub, or that of the registry which the term begins with.
//!
//! Today's registries have no search. What is asked is the interface of docker's first one (`GET /v1/search`), which Docker Hub's
//! index and a few registries still have, with dockerd's rules (moby v28.5, `daemon/pkg/registry/search.go`).

use gantry_primitives::registry::{Credential, Found, Host, Scheme};

use super::registry::failed;
use crate::{Engine, Error, Result};

/// Docker Hub, as references call it, and its index.
const HUB: &str = "docker.io";
const HUB_INDEX: &str = "index.docker.io";
/// What names of official repositories begin with, which its index does not know.
const OFFICIAL: &str = "library/";

/// Whose index is asked, and for what.
fn split(term: &str) -> Result<(&str, &str)> {
    if term.contains("://") {
        let text = format!("invalid repository name: repository name ({term}) should not have a scheme");
        return Err(Error::Invalid(text));
    }
    let (index, words) = match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (HUB, term),
    };
    if index.contains(|c: char| c.is_control() || c.is_whitespace() || "@?#".contains(c)) {
        return Err(Error::Invalid(format!("invalid index name ({index})")));
    }
    match index == HUB || index == HUB_INDEX {
        true => Ok((HUB, words.strip_prefix(OFFICIAL).unwrap_or(words))),
        false => Ok((index, words)),
    }
}

impl Engine {
    /// Looks for repositories by words: `term` is those, or the name of a registry, a slash, and those.
    ///
    /// # Errors
    /// Invalid for what is no term; Unavailable for an index that cannot be reached, NotFound for a registry that has none.
    pub async fn image_search(
        &self,
        term: &str,
        limit: u32,
        credential: Option<Credential>,
    ) -> Result<Vec<Found>> {
        let (index, words) = split(term)?;
        let host = match index {
            HUB => Host::new(Scheme::Https, HUB_INDEX),
            // Certificates, and whether it may be without, are those of the registry; mirrors have no index.
            index => {
                let hosts = self.shared.access.borrow().hosts.hosts(index).map_err(failed)?;
                let itself = hosts.into_iter().find(|host| host.host == index);
                itself.unwrap_or_else(|| Host::default_for(index))
            }
        };
        self.shared.store.search(&host, words, limit, credential.as_ref()).await.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_begin_with_a_registry() {
        for (term, index, words) in [
            ("busybox", HUB, "busybox"),
            ("a/b", HUB, "a/b"),
            ("library/busybox", HUB, "busybox"),
            ("docker.io/library/busybox", HUB, "busybox"),
            ("r.example/a/b", "r.example", "a/b"),
            ("localhost/library/a", "localhost", "library/a"),
            ("127.0.0.1:5000/", "127.0.0.1:5000", ""),
            ("", HUB, ""),
        ] {
            assert_eq!(split(term).unwrap(), (index, words), "{term}");
        }
        for wrong in ["http://r.example/a", "user@r.example/a", "r.example?x/a", "a .b/c"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
