//! Records of sandboxes.

use gantry_metadata::{Sandbox, sandboxes};
use gantry_types::Namespace;

use crate::filter::{Fields, Filters, label};
use crate::{Result, Store};

/// What a filter sees of a sandbox.
struct SandboxFields<'a>(&'a Sandbox);

impl Fields for SandboxFields<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["id"] => Some(self.0.id.clone()),
            ["labels", rest @ ..] => label(&self.0.labels, rest),
            _ => None,
        }
    }
}

impl Store {
    /// Makes a record.
    ///
    /// # Errors
    /// AlreadyExists; InvalidArgument for the id or labels.
    pub async fn sandbox_create(&self, namespace: Namespace, sandbox: Sandbox) -> Result<Sandbox> {
        self.blocking(move |inner| {
            inner.write(move |change| Ok(sandboxes::create(change, &namespace, &sandbox)?))
        })
        .await
    }

    /// Changes a record: `fields` (`labels`, `labels.<key>`, `extensions`, `extensions.<key>`, `spec`, `runtime`), or all of
    /// these.
    ///
    /// # Errors
    /// NotFound; InvalidArgument for a field, the labels, or another runtime in an update of everything.
    pub async fn sandbox_update(
        &self,
        namespace: Namespace,
        sandbox: Sandbox,
        fields: Vec<String>,
    ) -> Result<Sandbox> {
        self.blocking(move |inner| {
            inner.write(move |change| Ok(sandboxes::update(change, &namespace, &sandbox, &fields)?))
        })
        .await
    }

    /// One record.
    ///
    /// # Errors
    /// NotFound.
    pub async fn sandbox_get(&self, namespace: Namespace, id: String) -> Result<Sandbox> {
        self.blocking(move |inner| inner.read(|view| Ok(sandboxes::get(view, &namespace, &id)?))).await
    }

    /// The records that pass one of `filters` (over `id` and `labels.<key>`), by id.
    ///
    /// # Errors
    /// InvalidArgument for a filter.
    pub async fn sandbox_list(&self, namespace: Namespace, filters: Vec<String>) -> Result<Vec<Sandbox>> {
        let filters = Filters::parse(&filters)?;
        self.blocking(move |inner| {
            let mut all = inner.read(|view| Ok(sandboxes::list(view, &namespace)?))?;
            all.retain(|sandbox| filters.passes(&SandboxFields(sandbox)));
            Ok(all)
        })
        .await
    }

    /// Removes a record.
    ///
    /// # Errors
    /// NotFound.
    pub async fn sandbox_delete(&self, namespace: Namespace, id: String) -> Result<()> {
        self.blocking(move |inner| inner.write(move |change| Ok(sandboxes::delete(change, &namespace, &id)?)))
            .await
    }
}
