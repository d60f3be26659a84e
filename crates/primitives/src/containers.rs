//! Records of containers. Leases keep none of them: a container is a root itself.

use gantry_metadata::{Container, containers};
use gantry_types::{ErrorKind, Namespace};

use crate::documents::refuse_owned;
use crate::filter::{Fields, Filters, label};
use crate::{Context, Result, Store, image_labels};

/// What a filter sees of a container.
struct ContainerFields<'a>(&'a Container);

impl Fields for ContainerFields<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        let present = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        match path {
            ["id"] => present(&self.0.id),
            ["runtime", "name"] => present(&self.0.runtime),
            ["image"] => present(&self.0.image),
            ["labels", rest @ ..] => label(&self.0.labels, rest),
            _ => None,
        }
    }
}

impl Store {
    /// Makes a record. Labels that the daemon acts upon are left out if they are those of its image.
    ///
    /// # Errors
    /// AlreadyExists; InvalidArgument for the id, the labels, a missing runtime or specification, or a snapshot without a
    /// snapshotter.
    pub async fn container_create(
        &self,
        namespace: Namespace,
        mut container: Container,
    ) -> Result<Container> {
        self.blocking(move |inner| {
            if image_labels::has_any(&container.labels) && !container.image.is_empty() {
                inner.drop_image_labels(&Context::new(namespace.clone()), &mut container)?;
            }
            inner.write(move |change| Ok(containers::create(change, &namespace, &container)?))
        })
        .await
    }

    /// Changes a record: `fields` (`labels`, `labels.<key>`, `extensions`, `extensions.<key>`, `image`, `spec`,
    /// `snapshotkey`), or all of these.
    ///
    /// # Errors
    /// NotFound; InvalidArgument for a field, for what [`Self::container_create`] refuses, or for another runtime or
    /// snapshotter.
    pub async fn container_update(
        &self,
        namespace: Namespace,
        container: Container,
        fields: Vec<String>,
    ) -> Result<Container> {
        self.blocking(move |inner| {
            inner.write(move |change| {
                refuse_owned(change, &namespace, &container.id)?;
                Ok(containers::update(change, &namespace, &container, &fields)?)
            })
        })
        .await
    }

    /// One record.
    ///
    /// # Errors
    /// NotFound.
    pub async fn container_get(&self, namespace: Namespace, id: String) -> Result<Container> {
        self.blocking(move |inner| inner.read(|view| Ok(containers::get(view, &namespace, &id)?))).await
    }

    /// The records that pass one of `filters` (over `id`, `runtime.name`, `image`, `labels.<key>`), by id.
    ///
    /// # Errors
    /// InvalidArgument for a filter.
    pub async fn container_list(&self, namespace: Namespace, filters: Vec<String>) -> Result<Vec<Container>> {
        let filters = Filters::parse(&filters)?;
        self.blocking(move |inner| {
            let mut all = match filters.only("id") {
                // A specification is large, and all others would be read for nothing.
                Some(ids) => inner.read(|view| {
                    let mut ids = ids;
                    ids.sort_unstable();
                    ids.dedup();
                    let found = ids.into_iter().map(|id| containers::get(view, &namespace, id));
                    let is_there = |found: &std::result::Result<_, gantry_metadata::Error>| {
                        !found.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
                    };
                    Ok(found.filter(is_there).collect::<std::result::Result<Vec<_>, _>>()?)
                })?,
                None => inner.read(|view| Ok(containers::list(view, &namespace)?))?,
            };
            all.retain(|container| filters.passes(&ContainerFields(container)));
            Ok(all)
        })
        .await
    }

    /// Removes a record. Whether its container runs is for the caller to ask.
    ///
    /// # Errors
    /// NotFound; FailedPrecondition for one of the engine's.
    pub async fn container_delete(&self, namespace: Namespace, id: String) -> Result<()> {
        self.blocking(move |inner| {
            inner.write(move |change| {
                refuse_owned(change, &namespace, &id)?;
                Ok(containers::delete(change, &namespace, &id)?)
            })
        })
        .await
    }
}
