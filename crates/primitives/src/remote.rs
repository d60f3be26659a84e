//! What of a registry is only looked at, and what is in none.

use gantry_registry::{Credential, Download, Error, Found, Host, Proxies, Repository};
use gantry_types::Reference;

use crate::{Access, Store};

impl Store {
    /// The repository of a reference in its registry, through the connections that pulls use.
    pub fn repository(&self, reference: &Reference, access: Access) -> Repository {
        self.inner.registry.repository(reference, access.hosts, access.credentials)
    }

    /// Fetches a file of the web, through the proxies that pulls go through.
    ///
    /// # Errors
    /// See [`Client::download`](gantry_registry::Client::download).
    pub async fn web_file(&self, url: &str) -> Result<Download, Error> {
        self.inner.registry.download(url).await
    }

    /// Asks an index for repositories.
    ///
    /// # Errors
    /// See [`Client::search`](gantry_registry::Client::search).
    pub async fn search(
        &self,
        index: &Host,
        term: &str,
        limit: u32,
        credential: Option<&Credential>,
    ) -> Result<Vec<Found>, Error> {
        self.inner.registry.search(index, term, limit, credential).await
    }

    /// The proxies that registries are reached through.
    pub fn proxies(&self) -> &Proxies {
        self.inner.registry.proxies()
    }
}
