//! Namespaces.

use gantry_metadata::namespaces;
use gantry_types::{Labels, Namespace};

use crate::{Result, Store};

impl Store {
    /// Makes a namespace. It would also come with the first thing that is written to it.
    ///
    /// # Errors
    /// AlreadyExists; InvalidArgument for labels.
    pub async fn namespace_create(&self, namespace: Namespace, labels: Labels) -> Result<()> {
        self.blocking(move |inner| {
            inner.write(move |change| Ok(namespaces::create(change, &namespace, &labels)?))
        })
        .await
    }

    /// Changes labels: those that `fields` name (`labels`, `labels.<key>`), or all if there is none. Gives all labels.
    ///
    /// # Errors
    /// NotFound; InvalidArgument for any other field.
    pub async fn namespace_update(
        &self,
        namespace: Namespace,
        labels: Labels,
        fields: Vec<String>,
    ) -> Result<Labels> {
        self.blocking(move |inner| {
            inner.write(move |change| Ok(namespaces::update(change, &namespace, &labels, &fields)?))
        })
        .await
    }

    /// The labels of a namespace.
    ///
    /// # Errors
    /// NotFound.
    pub async fn namespace_get(&self, namespace: Namespace) -> Result<Labels> {
        self.blocking(move |inner| inner.read(|view| Ok(namespaces::get(view, &namespace)?))).await
    }

    /// All namespaces by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn namespace_list(&self) -> Result<Vec<(Namespace, Labels)>> {
        self.blocking(|inner| inner.read(|view| Ok(namespaces::list(view)?))).await
    }

    /// Removes an empty namespace with its leases.
    ///
    /// # Errors
    /// NotFound; FailedPrecondition if something is left in it.
    pub async fn namespace_delete(&self, namespace: Namespace) -> Result<()> {
        self.blocking(move |inner| inner.write(move |change| Ok(namespaces::delete(change, &namespace)?)))
            .await
    }
}
