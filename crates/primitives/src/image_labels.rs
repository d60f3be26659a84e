//! Labels that come with an image. Clients such as `ctr` copy those of its configuration to their containers, and nothing that
//! comes from an image drives the daemon: a restart's log of the form `binary:///…` is a program that root runs (CVE-2026-53488).

use std::collections::HashSet;

use gantry_metadata::{Container, images};
use gantry_types::image::{Index, Manifest};
use gantry_types::media_type::Kind;
use gantry_types::{Descriptor, Digest, ErrorKind, Labels};
use serde::Deserialize;

use crate::store::Inner;
use crate::{Context, Error, Result};

/// What labels begin with that the daemon acts upon.
const ACTED_UPON: &str = "containerd.io/restart.";
/// The most documents of an image that are read, and how deep. An image with more has its labels for itself alone.
const MAX_DOCUMENTS: usize = 1024;
const MAX_DEPTH: usize = 8;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Configuration {
    config: Option<Settings>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Settings {
    labels: Option<Labels>,
}

/// Whether a container has labels that are acted upon.
pub(crate) fn has_any(labels: &Labels) -> bool {
    labels.keys().any(|key| key.starts_with(ACTED_UPON))
}

impl Inner {
    /// Takes the labels that the daemon would act upon away from a new container if they are its image's, of whatever platform.
    ///
    /// # Errors
    /// Those of the database; Limit for an image that cannot be looked through.
    pub(crate) fn drop_image_labels(&self, context: &Context, container: &mut Container) -> Result<()> {
        let found = self.read(|view| Ok(images::get(view, &context.namespace, &container.image)?));
        let image = match found {
            // Then its labels were not copied from there.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let mut theirs = Vec::new();
        self.labels_below(context, &image.target, 0, &mut HashSet::new(), &mut theirs)?;
        for label in theirs.iter().flatten().filter(|(key, _)| key.starts_with(ACTED_UPON)) {
            if container.labels.get(label.0) == Some(label.1) {
                container.labels.remove(label.0);
                tracing::warn!(
                    container = container.id,
                    label = label.0,
                    "a label of the image is not heeded"
                );
            }
        }
        Ok(())
    }

    fn labels_below(
        &self,
        context: &Context,
        descriptor: &Descriptor,
        depth: usize,
        seen: &mut HashSet<Digest>,
        found: &mut Vec<Labels>,
    ) -> Result<()> {
        if !seen.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        if seen.len() > MAX_DOCUMENTS || depth > MAX_DEPTH {
            let (count, limit) = (seen.len() as u64, MAX_DOCUMENTS as u64);
            return Err(Error::Limit { what: "documents of an image", count, limit });
        }
        if !matches!(descriptor.kind(), Kind::Index | Kind::Manifest | Kind::Config) {
            return Ok(());
        }
        let bytes = match self.document(context, descriptor) {
            // A platform that was not pulled.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            bytes => bytes?,
        };
        let refuse = |source| Error::Document { digest: descriptor.digest.clone(), source };
        match descriptor.kind() {
            Kind::Index => {
                let index = Index::read(&bytes, &descriptor.media_type).map_err(refuse)?;
                index
                    .manifests
                    .iter()
                    .try_for_each(|child| self.labels_below(context, child, depth + 1, seen, found))
            }
            Kind::Manifest => {
                let manifest = Manifest::read(&bytes, &descriptor.media_type).map_err(refuse)?;
                self.labels_below(context, &manifest.config, depth + 1, seen, found)
            }
            // An artifact's has another form, and no labels.
            _ => {
                let read = serde_json::from_slice::<Configuration>(&bytes).unwrap_or_default();
                found.extend(read.config.and_then(|config| config.labels));
                Ok(())
            }
        }
    }
}
