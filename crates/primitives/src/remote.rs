//! What of a registry is only looked at.

use gantry_registry::Repository;
use gantry_types::Reference;

use crate::{Access, Store};

impl Store {
    /// The repository of a reference in its registry, through the connections that pulls use.
    pub fn repository(&self, reference: &Reference, access: Access) -> Repository {
        self.inner.registry.repository(reference, access.hosts, access.credentials)
    }
}
