//! Leases: what they name is kept until they are deleted or expire.

use gantry_metadata::{Lease, Resource, leases};
use gantry_types::{Labels, Namespace};

use crate::filter::{Fields, Filters, label};
use crate::{Result, Store};

/// What a filter sees of a lease.
struct LeaseFields<'a>(&'a Lease);

impl Fields for LeaseFields<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["id"] => Some(self.0.id.clone()).filter(|id| !id.is_empty()),
            ["labels", rest @ ..] => label(&self.0.labels, rest),
            _ => None,
        }
    }
}

impl Store {
    /// Makes a lease.
    ///
    /// # Errors
    /// AlreadyExists; InvalidArgument for the id or labels.
    pub async fn lease_create(&self, namespace: Namespace, id: String, labels: Labels) -> Result<Lease> {
        self.blocking(move |inner| {
            inner.write(move |change| Ok(leases::create(change, &namespace, &id, &labels)?))
        })
        .await
    }

    /// Ends a lease. With `synchronous`, what only it kept is gone when this returns.
    ///
    /// # Errors
    /// NotFound.
    pub async fn lease_delete(&self, namespace: Namespace, id: String, synchronous: bool) -> Result<()> {
        self.blocking(move |inner| inner.write(move |change| Ok(leases::delete(change, &namespace, &id)?)))
            .await?;
        if synchronous {
            self.collect().await?;
        }
        Ok(())
    }

    /// The leases of a namespace that pass one of `filters` (over `id` and `labels`).
    ///
    /// # Errors
    /// InvalidArgument for a filter.
    pub async fn lease_list(&self, namespace: Namespace, filters: Vec<String>) -> Result<Vec<Lease>> {
        let filters = Filters::parse(&filters)?;
        self.blocking(move |inner| {
            let mut all = inner.read(|view| Ok(leases::list(view, &namespace)?))?;
            all.retain(|lease| filters.passes(&LeaseFields(lease)));
            Ok(all)
        })
        .await
    }

    /// Has a lease keep `resource`, which need not be there yet.
    ///
    /// # Errors
    /// NotFound for the lease.
    pub async fn lease_add(&self, namespace: Namespace, id: String, resource: Resource) -> Result<()> {
        self.blocking(move |inner| {
            inner.write(move |change| Ok(leases::add(change, &namespace, &id, &resource)?))
        })
        .await
    }

    /// Has a lease no longer keep `resource`.
    ///
    /// # Errors
    /// NotFound for the lease.
    pub async fn lease_remove(&self, namespace: Namespace, id: String, resource: Resource) -> Result<()> {
        self.blocking(move |inner| {
            inner.write(move |change| Ok(leases::remove(change, &namespace, &id, &resource)?))
        })
        .await
    }

    /// What a lease keeps.
    ///
    /// # Errors
    /// NotFound for the lease.
    pub async fn lease_resources(&self, namespace: Namespace, id: String) -> Result<Vec<Resource>> {
        self.blocking(move |inner| inner.read(|view| Ok(leases::resources(view, &namespace, &id)?))).await
    }
}
