//! Image names.

use gantry_metadata::images::{self, By};
use gantry_metadata::{Holder, Image, Timestamp};
use gantry_types::{Digest, Labels};

use crate::filter::{Fields, Filters, label};
use crate::{Context, Result, Store};

/// What a filter sees of an image.
struct ImageFields<'a>(&'a Image);

impl Fields for ImageFields<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        let present = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let target = &self.0.target;
        match path {
            ["name"] => present(&self.0.name),
            ["target", "digest"] => present(target.digest.as_str()),
            ["target", "mediatype"] => present(&target.media_type),
            ["labels", rest @ ..] => label(&self.0.labels, rest),
            ["annotations", rest @ ..] => label(&target.annotations, rest),
            _ => None,
        }
    }
}

impl Store {
    /// Makes a name. What it refers to is durable when this returns.
    ///
    /// # Errors
    /// AlreadyExists; InvalidArgument for the name, the target or labels.
    pub async fn image_create(
        &self,
        context: Context,
        holder: Holder,
        image: Image,
        epoch: Option<Timestamp>,
    ) -> Result<Image> {
        self.blocking(move |inner| {
            // A name must not outlast its bytes in a power cut.
            inner.content.sync_pending()?;
            inner.write(move |change| {
                let by =
                    By { lease: context.lease.as_deref(), epoch, ..By::new(&context.namespace, &holder) };
                Ok(images::create(change, by, &image)?)
            })
        })
        .await
    }

    /// Changes a name: `fields` (`labels`, `labels.<key>`, `target`, `annotations`, `annotations.<key>`), or everything.
    ///
    /// # Errors
    /// NotFound; InvalidArgument for a field, the target or labels.
    pub async fn image_update(
        &self,
        context: Context,
        holder: Holder,
        image: Image,
        fields: Vec<String>,
        epoch: Option<Timestamp>,
    ) -> Result<Image> {
        self.blocking(move |inner| {
            inner.content.sync_pending()?;
            inner.write(move |change| {
                let by =
                    By { lease: context.lease.as_deref(), epoch, ..By::new(&context.namespace, &holder) };
                Ok(images::update(change, by, &image, &fields)?)
            })
        })
        .await
    }

    /// Makes a name, or has it name something else.
    ///
    /// # Errors
    /// InvalidArgument for the name, the target or labels.
    pub async fn image_put(&self, context: Context, holder: Holder, image: Image) -> Result<Image> {
        self.blocking(move |inner| {
            inner.content.sync_pending()?;
            inner.write(move |change| {
                let by = By { lease: context.lease.as_deref(), ..By::new(&context.namespace, &holder) };
                match images::get(change, &context.namespace, &image.name) {
                    Err(error) if error.kind() == gantry_types::ErrorKind::NotFound => {
                        Ok(images::create(change, by, &image)?)
                    }
                    Err(error) => Err(error.into()),
                    Ok(_) => {
                        let fields = put_fields(&image.labels);
                        Ok(images::update(change, by, &image, &fields)?)
                    }
                }
            })
        })
        .await
    }

    /// One name.
    ///
    /// # Errors
    /// NotFound.
    pub async fn image_get(&self, context: Context, name: String) -> Result<Image> {
        self.blocking(move |inner| inner.read(|view| Ok(images::get(view, &context.namespace, &name)?))).await
    }

    /// The names that pass one of `filters` (over `name`, `target.digest`, `target.mediatype`, `labels.<key>`,
    /// `annotations.<key>`), in their order.
    ///
    /// # Errors
    /// InvalidArgument for a filter.
    pub async fn image_list(&self, context: Context, filters: Vec<String>) -> Result<Vec<Image>> {
        let filters = Filters::parse(&filters)?;
        self.blocking(move |inner| {
            let namespace = &context.namespace;
            // By name is what clients ask for most, and needs no list.
            if let Some(names) = filters.only("name") {
                let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
                names.sort();
                names.dedup();
                return inner.read(|view| {
                    let mut found = Vec::new();
                    for name in &names {
                        match images::get(view, namespace, name) {
                            Ok(image) if filters.passes(&ImageFields(&image)) => found.push(image),
                            Err(error) if error.kind() != gantry_types::ErrorKind::NotFound => {
                                return Err(error.into());
                            }
                            _ => {}
                        }
                    }
                    Ok(found)
                });
            }
            let mut all = inner.read(|view| Ok(images::list(view, namespace)?))?;
            if !filters.is_empty() {
                all.retain(|image| filters.passes(&ImageFields(image)));
            }
            Ok(all)
        })
        .await
    }

    /// Deletes a name (with `target`, only if that is what it names). With `synchronous`, what only it kept is gone when
    /// this returns.
    ///
    /// # Errors
    /// NotFound.
    pub async fn image_delete(
        &self,
        context: Context,
        holder: Holder,
        name: String,
        target: Option<Digest>,
        synchronous: bool,
    ) -> Result<()> {
        self.blocking(move |inner| {
            inner.write(move |change| {
                let by = By { lease: context.lease.as_deref(), ..By::new(&context.namespace, &holder) };
                images::delete(change, by, &name, target.as_ref())?;
                Ok(())
            })
        })
        .await?;
        if synchronous {
            self.collect().await?;
        }
        Ok(())
    }
}

/// The fields that a new target changes: itself, and the labels that come with it; others stay.
fn put_fields(labels: &Labels) -> Vec<String> {
    let labels = labels.keys().map(|key| format!("labels.{key}"));
    std::iter::once("target".to_owned()).chain(labels).collect()
}
