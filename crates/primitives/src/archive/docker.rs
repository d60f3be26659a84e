//! docker's list of images in an archive.

use std::io;

use gantry_layer::{Compression, Compressor, Level};
use gantry_types::image::{Index, MAX_LAYERS, Manifest};
use gantry_types::{Descriptor, ErrorKind, Labels, Reference, labels, media_type};
use serde::{Deserialize, Serialize};

use super::read::{Files, Stored};
use super::{ANNOTATION_NAME, ANNOTATION_REF};
use crate::store::Inner;
use crate::{Context, Error, Result};

/// One image of `manifest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerImage {
    /// The file with the configuration.
    pub(crate) config: String,
    /// Its names; docker writes `null` for none.
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    /// The files of its layers, the lowest first.
    #[serde(default)]
    pub(crate) layers: Option<Vec<String>>,
}

/// The most images of an archive.
const MAX_IMAGES: usize = 4096;

impl Inner {
    /// Makes manifests of docker's images, stores them, and gives an index of them.
    pub(crate) fn docker_index(
        &self,
        context: &Context,
        files: &Files,
        list: &[u8],
        compress: bool,
    ) -> Result<Index> {
        let refuse = |reason: String| Error::Invalid { what: "manifest.json", reason };
        let images: Vec<DockerImage> =
            serde_json::from_slice(list).map_err(|error| refuse(error.to_string()))?;
        if images.len() > MAX_IMAGES {
            let (count, limit) = (images.len() as u64, MAX_IMAGES as u64);
            return Err(Error::Limit { what: "images of an archive", count, limit });
        }
        let mut index =
            Index { schema_version: 2, media_type: media_type::OCI_INDEX.into(), ..Index::default() };
        for image in images {
            let target = self.docker_manifest(context, files, &image, compress)?;
            let names = image.repo_tags.unwrap_or_default();
            if names.is_empty() {
                index.manifests.push(target.clone());
            }
            for name in names {
                let name = Reference::parse_familiar(&name).map_err(|error| refuse(error.to_string()))?;
                let mut named = target.clone();
                named.annotations.insert(ANNOTATION_NAME.into(), name.to_string());
                named.annotations.insert(ANNOTATION_REF.into(), name.tag().unwrap_or_default().to_owned());
                index.manifests.push(named);
            }
        }
        Ok(index)
    }

    fn docker_manifest(
        &self,
        context: &Context,
        files: &Files,
        image: &DockerImage,
        compress: bool,
    ) -> Result<Descriptor> {
        let find = |name: &str| {
            files
                .find(name)
                .ok_or_else(|| Error::NotFound { what: "file of the archive", name: name.to_owned() })
        };
        let layers = image.layers.as_deref().unwrap_or_default();
        if layers.len() > MAX_LAYERS {
            let (count, limit) = (layers.len() as u64, MAX_LAYERS as u64);
            return Err(Error::Limit { what: "layers of an image", count, limit });
        }
        let config = find(&image.config)?;
        let layers = layers.iter().map(|name| {
            let stored = find(name)?;
            if compress && layer_type(&stored.magic) == media_type::DOCKER_LAYER {
                return self.compressed(context, stored);
            }
            Ok(Descriptor::new(layer_type(&stored.magic), stored.digest.clone(), stored.size))
        });
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::DOCKER_MANIFEST.into(),
            artifact_type: None,
            config: Descriptor::new(media_type::DOCKER_CONFIG, config.digest.clone(), config.size),
            layers: layers.collect::<Result<_>>()?,
            subject: None,
            annotations: Labels::new(),
        };
        let bytes = serde_json::to_vec(&manifest)
            .map_err(|error| Error::Invalid { what: "manifest", reason: error.to_string() })?;
        let descriptor = Descriptor::of(media_type::DOCKER_MANIFEST, &bytes);
        self.store_document(context, &descriptor, &bytes, &Labels::new())?;
        Ok(descriptor)
    }
}

impl Inner {
    /// The compressed form of a layer, which is made if the namespace has none.
    fn compressed(&self, context: &Context, layer: &Stored) -> Result<Descriptor> {
        let plain = layer.digest.as_str();
        let known = self.read(|view| Ok(gantry_metadata::contents::list(view, &context.namespace)?))?;
        let known = known.into_iter().find(|one| {
            one.labels.get(labels::UNCOMPRESSED).is_some_and(|diff| diff == plain)
                && one.digest != layer.digest
        });
        if let Some(known) = known {
            let mut magic = vec![0; super::read::MAGIC_BYTES];
            let blob = self.open_content(context, &known.digest)?;
            let count = blob.read_at(&mut magic, 0).map_err(Error::file("reading", known.digest.as_str()))?;
            let descriptor = Descriptor::new(layer_type(&magic[..count]), known.digest.clone(), known.size);
            self.record_content(context, &descriptor, &Labels::new())?;
            return Ok(descriptor);
        }
        let failed =
            |error: io::Error| Error::File { action: "compressing", path: plain.into(), source: error };
        let mut blob = self.content.open_blob(&layer.digest)?;
        let key = format!("compress/{plain}/{}", self.next_number());
        let mut ingest = self.content.ingest(&key, None, None)?;
        if ingest.offset() > 0 {
            ingest.truncate(0)?;
        }
        let sink = super::read::Sink(&mut ingest);
        let mut compressor = Compressor::new(sink, Compression::Gzip, Level::Default).map_err(failed)?;
        let copied = io::copy(&mut blob, &mut compressor).and_then(|_| compressor.finish().map(drop));
        if let Err(error) = copied {
            ingest.abort()?;
            return Err(failed(error));
        }
        let (digest, size) = (ingest.digest(), ingest.offset());
        let _pin = self.database.pin(&digest);
        match ingest.commit(None, None) {
            Err(refused) if refused.error.kind() != ErrorKind::AlreadyExists => {
                return Err(refused.error.into());
            }
            _ => {}
        }
        let descriptor = Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, size);
        let with = Labels::from([(labels::UNCOMPRESSED.to_owned(), plain.to_owned())]);
        self.record_content(context, &descriptor, &with)?;
        Ok(descriptor)
    }
}

/// The type of a layer, by its first bytes.
fn layer_type(magic: &[u8]) -> &'static str {
    if magic.starts_with(&[0x1f, 0x8b]) {
        media_type::DOCKER_LAYER_GZIP
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        media_type::DOCKER_LAYER_ZSTD
    } else {
        media_type::DOCKER_LAYER
    }
}
