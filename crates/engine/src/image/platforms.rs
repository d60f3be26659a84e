//! Removing what is here of an image for single platforms: `docker image rm --platform`.
//!
//! The image keeps its names and its index, and other platforms theirs; what nobody else refers to goes with the manifest
//! as the store is collected at once. The rules are dockerd's (moby v28.5, `daemon/containerd/image_delete.go`), but nothing is removed
//! if anything of it cannot be.

use gantry_primitives::Image;
use gantry_types::media_type::Kind;
use gantry_types::{Digest, ErrorKind, Platform};

use super::RemovedImage;
use super::manifests::{ManifestKind, Part};
use super::remove::conflict;
use super::resolve::nothing_for;
use crate::{Engine, Error, Result};

/// What a removal that is not forced is told.
const NOT_FORCED: &str =
    "Content will be removed from all images referencing this variant. Use --force to force delete.";

impl Engine {
    /// Removes the manifests of platforms from an image. Others that have the same manifests lose them, too, and so it has to be
    /// forced.
    ///
    /// # Errors
    /// Invalid unless it is forced; NotFound for the image, and for a platform of which nothing is here; Conflict for what a running
    /// container was made of, and for an image that is nothing but this platform.
    pub async fn image_remove_platforms(
        &self,
        name: &str,
        platforms: Vec<Platform>,
        force: bool,
    ) -> Result<Vec<RemovedImage>> {
        if !force {
            return Err(Error::Invalid(NOT_FORCED.to_owned()));
        }
        let (engine, name) = (self.clone(), name.to_owned());
        self.owned("removing platforms of an image", async move {
            let _one = engine.shared.images.gate.lock().await;
            engine.remove_platforms(&name, &platforms).await
        })
        .await
    }

    async fn remove_platforms(&self, name: &str, platforms: &[Platform]) -> Result<Vec<RemovedImage>> {
        let image = self.image_record(name).await?;
        let parts = self.parts(&image, &self.stock().await?).await;
        let mut meant: Vec<Digest> = Vec::new();
        for platform in platforms {
            let digest = self.manifest_of(name, &image, &parts, platform)?;
            if !meant.contains(&digest) {
                meant.push(digest);
            }
        }
        if meant.is_empty() {
            return Err(Error::Invalid("no platform is given".to_owned()));
        }
        let about = |digest: &Digest| {
            let is_about =
                |part: &&Part| matches!(&part.summary.kind, ManifestKind::Attestation { of } if of == digest);
            parts
                .iter()
                .filter(is_about)
                .map(|part| part.summary.descriptor.digest.clone())
                .collect::<Vec<_>>()
        };
        let mut removed = Vec::new();
        for digest in meant {
            for attestation in about(&digest) {
                self.forget_content(attestation).await?;
            }
            self.forget_content(digest.clone()).await?;
            removed.push(RemovedImage::Deleted(digest));
        }
        // Until the bytes are gone: what is still there would be taken for another door's, and adopted.
        self.shared.store.collect().await?;
        Ok(removed)
    }

    /// The manifest of a platform that is here, if it may go.
    fn manifest_of(&self, name: &str, image: &Image, parts: &[Part], platform: &Platform) -> Result<Digest> {
        let is_meant = |part: &&Part| match &part.summary.kind {
            ManifestKind::Image { platform: of, .. } => {
                part.manifest.is_some() && platform.distance(of) == Some(0)
            }
            _ => false,
        };
        let part = parts.iter().find(is_meant).ok_or_else(|| nothing_for(name, platform))?;
        let digest = part.summary.descriptor.digest.clone();
        if image.target.kind() != Kind::Index {
            let why = format!("it has no other platform than {platform}: remove the image");
            return Err(conflict(name, true, &why));
        }
        let uses = |container: &std::sync::Arc<crate::Container>| {
            let record = container.record();
            record.image.manifest.as_ref() == Some(&digest) && record.state.status.is_alive()
        };
        match self.containers().into_iter().find(uses) {
            Some(user) => {
                let why =
                    format!("image is being used by running container {}", super::remove::short_id(&user.id));
                Err(conflict(name, true, &why))
            }
            None => Ok(digest),
        }
    }

    async fn forget_content(&self, digest: Digest) -> Result<()> {
        match self.shared.store.content_delete(self.context(), digest).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
