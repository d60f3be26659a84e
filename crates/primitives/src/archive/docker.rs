//! docker's list of images in an archive.

use gantry_types::image::{Index, MAX_LAYERS, Manifest};
use gantry_types::{Descriptor, Labels, Reference, media_type};
use serde::{Deserialize, Serialize};

use super::read::Files;
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
    pub(crate) fn docker_index(&self, context: &Context, files: &Files, list: &[u8]) -> Result<Index> {
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
            let target = self.docker_manifest(context, files, &image)?;
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

    fn docker_manifest(&self, context: &Context, files: &Files, image: &DockerImage) -> Result<Descriptor> {
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
