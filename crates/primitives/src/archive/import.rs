//! Importing: an archive's images become the namespace's.

use std::io::Read;
use std::sync::Arc;

use gantry_metadata::{Holder, Image};
use gantry_types::image::Index;
use gantry_types::media_type;
use gantry_types::platform::Matcher;
use gantry_types::{Descriptor, Labels};

use super::{ANNOTATION_NAME, ANNOTATION_REF, INDEX};
use crate::progress::{Reporter, Stage};
use crate::pull::{Arrival, Breadth, Unpack};
use crate::spans::{span, within};
use crate::{Context, Error, Result, Store};

/// Which names an image of an archive gets. It is given what the archive's index says of it.
pub type Naming = Arc<dyn Fn(&Descriptor) -> Vec<String> + Send + Sync>;

/// What is imported.
#[derive(Clone)]
pub struct ImportRequest {
    /// Which platforms of an index are kept; none means all that are there.
    pub platforms: Matcher,
    /// What else of an index is kept, or less.
    pub breadth: Breadth,
    /// Whether layers of docker's archives that are not compressed are stored compressed.
    pub compress: bool,
    /// The names.
    pub naming: Naming,
    /// Names for the archive's whole index; one that ends with `@` gets its digest.
    pub index_names: Vec<String>,
    /// The labels of the names.
    pub labels: Labels,
    /// Where each image is unpacked to.
    pub unpack: Vec<Unpack>,
    /// Who will hold the names, where they are shared.
    pub holder: Holder,
    /// Who is told how it goes.
    pub reporter: Reporter,
}

impl ImportRequest {
    /// Takes the names that the archive itself has: whole ones, not bare tags.
    pub fn own_names() -> Naming {
        Arc::new(|descriptor| {
            let annotation =
                |name: &str| descriptor.annotations.get(name).filter(|name| !name.is_empty()).cloned();
            let whole = || annotation(ANNOTATION_REF).filter(|name| name.contains('/'));
            annotation(ANNOTATION_NAME).or_else(whole).into_iter().collect()
        })
    }
}

/// What was imported.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The archive's index.
    pub index: Descriptor,
    /// The names that were made.
    pub images: Vec<Image>,
}

impl Store {
    /// Imports an archive, which `source` gives uncompressed: an OCI layout, or what docker or podman save.
    ///
    /// # Errors
    /// InvalidArgument for what is neither, or is malformed; FailedPrecondition for blobs that are not what their names say;
    /// NotFound for what it refers to and has not; ResourceExhausted for limits.
    pub async fn import(
        &self,
        context: Context,
        source: Box<dyn Read + Send>,
        request: ImportRequest,
    ) -> Result<Imported> {
        let lease = self.transfer_lease(&context).await?;
        let leased = lease.context.clone();
        let span = span!("import", containerd.namespace = %context.namespace);
        let result = within(span, self.import_leased(&leased, source, &request)).await;
        lease.end().await;
        result
    }

    async fn import_leased(
        &self,
        context: &Context,
        mut source: Box<dyn Read + Send>,
        request: &ImportRequest,
    ) -> Result<Imported> {
        request.reporter.step(Stage::Begun, "import");
        let (owned, compress) = (context.clone(), request.compress);
        let read = move |inner: &crate::store::Inner| {
            let files = inner.read_archive(&owned, &mut source)?;
            let index = match (&files.index, &files.manifest) {
                (Some(index), _) => Index::read(index, media_type::OCI_INDEX)
                    .map_err(|error| Error::Invalid { what: INDEX, reason: error.to_string() })?,
                (None, Some(list)) => inner.docker_index(&owned, &files, list, compress)?,
                (None, None) => {
                    let reason = "has neither index.json nor manifest.json: it is no image".to_owned();
                    return Err(Error::Invalid { what: "archive", reason });
                }
            };
            let bytes = match files.index {
                Some(bytes) => bytes,
                None => serde_json::to_vec(&index)
                    .map_err(|error| Error::Invalid { what: INDEX, reason: error.to_string() })?,
            };
            Ok((index, bytes))
        };
        let (index, bytes) = self.blocking(read).await?;
        let descriptor = Descriptor::of(media_type::OCI_INDEX, &bytes);
        let mut images = Vec::new();
        for target in &index.manifests {
            let mut plain = target.clone();
            plain.annotations.clear();
            let arrival = self.arrival(context, request, (request.naming)(target), &plain).await?;
            let arrived = self.arrive(context, None, plain, &arrival).await?;
            images.extend(arrived.images);
        }
        if !request.index_names.is_empty() {
            let (owned, stored, labels) = (context.clone(), descriptor.clone(), index_labels(&index));
            self.blocking(move |inner| inner.store_document(&owned, &stored, &bytes, &labels)).await?;
        }
        for name in &request.index_names {
            let digest = if name.ends_with('@') { descriptor.digest.to_string() } else { String::new() };
            let name = format!("{name}{digest}");
            let image = Image::new(name.clone(), descriptor.clone(), request.labels.clone());
            images.push(self.image_put(context.clone(), request.holder.clone(), image).await?);
            request.reporter.step(Stage::Saved, &name);
        }
        request.reporter.step(Stage::Done, "import");
        Ok(Imported { index: descriptor, images })
    }

    /// What becomes of one image. Archives rarely have all platforms of an index: those that are missing are left out.
    async fn arrival(
        &self,
        context: &Context,
        request: &ImportRequest,
        names: Vec<String>,
        target: &Descriptor,
    ) -> Result<Arrival> {
        let mut platforms = request.platforms.clone();
        if platforms.0.is_empty() {
            let (owned, target) = (context.clone(), target.clone());
            platforms = self.blocking(move |inner| inner.platforms_present(&owned, &target)).await?;
        }
        let reporter = request.reporter.clone();
        Ok(Arrival {
            origin: names.first().cloned().unwrap_or_else(|| target.digest.to_string()),
            names,
            labels: request.labels.clone(),
            platforms,
            breadth: request.breadth,
            unpack: request.unpack.clone(),
            holder: request.holder.clone(),
            reporter,
            source: None,
        })
    }
}

/// Has an index keep what it refers to.
fn index_labels(index: &Index) -> Labels {
    let children = index.manifests.iter().enumerate();
    let key = |place| format!("{}.m.{place}", gantry_types::labels::GC_REF_CONTENT);
    children.map(|(place, child)| (key(place), child.digest.to_string())).collect()
}

impl crate::store::Inner {
    /// The platforms of an index whose manifests are there; none, which means all, if all are or it is no index.
    fn platforms_present(&self, context: &Context, target: &Descriptor) -> Result<Matcher> {
        if target.kind() != media_type::Kind::Index {
            return Ok(Matcher::default());
        }
        let bytes = self.document(context, target)?;
        let index = Index::read(&bytes, &target.media_type)
            .map_err(|source| Error::Document { digest: target.digest.clone(), source })?;
        let mut present = Vec::new();
        let mut all = true;
        for child in &index.manifests {
            if self.content_is_there(&child.digest)? {
                present.extend(child.platform.clone());
            } else {
                all = false;
            }
        }
        Ok(if all { Matcher::default() } else { Matcher(present) })
    }
}
