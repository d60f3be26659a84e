//! Pushing: one name, or all tags of a repository.

use std::sync::Arc;

use gantry_primitives::registry::Credential;
use gantry_primitives::{Image, PushRequest};
use gantry_types::media_type::Kind;
use gantry_types::platform::Matcher;
use gantry_types::{Descriptor, Digest, ErrorKind, Labels, Platform, Reference};

use super::manifests::ManifestKind;
use super::names::familiar_repository;
use super::progress::push_reporter;
use super::{ImageProgress, ProgressListener};
use crate::{Engine, Error, Result};

/// How many layers are sent at the same time, as with docker.
const PARALLEL: usize = 5;

/// What is pushed.
#[derive(Clone)]
pub struct ImagePush {
    /// Which name; with `all_tags`, which repository.
    pub reference: Reference,
    /// Whether all tags of the repository are.
    pub all_tags: bool,
    /// Which platform's manifest, instead of all that are here.
    pub platform: Option<Platform>,
    /// What opens the registry; None for what the operator configured.
    pub credential: Option<Credential>,
    /// Who is told how it goes.
    pub listener: ProgressListener,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePushed {
    /// The name.
    pub reference: Reference,
    /// The digest that the registry has it by.
    pub digest: Digest,
    /// The size of the manifest.
    pub size: u64,
}

impl Engine {
    /// Pushes images to their registry.
    ///
    /// # Errors
    /// NotFound for the name; Unauthenticated, PermissionDenied and Unavailable from the registry.
    ///
    /// # Cancel safety
    /// When it is dropped, it ends.
    pub async fn image_push(&self, request: ImagePush) -> Result<Vec<ImagePushed>> {
        let images = self.to_push(&request).await?;
        let mut pushed = Vec::with_capacity(images.len());
        for (reference, image) in images {
            let target = self.what_to_push(&request, &image).await?;
            let push = PushRequest {
                target,
                reference: reference.clone(),
                platforms: Matcher::default(),
                parallel: PARALLEL,
                access: self.access(&reference, request.credential.clone()),
                reporter: push_reporter(Arc::clone(&request.listener)),
            };
            let done = self.shared.store.push(self.context(), push).await?;
            let one = ImagePushed { reference: reference.clone(), digest: done.digest, size: done.size };
            (request.listener)(ImageProgress::Pushed(one.clone()));
            pushed.push(one);
            let name = familiar_repository(&reference);
            self.image_event("push", &reference.familiar(), &name, Labels::new()).await;
        }
        Ok(pushed)
    }

    async fn to_push(&self, request: &ImagePush) -> Result<Vec<(Reference, Image)>> {
        let reference = &request.reference;
        if !request.all_tags {
            return match self.shared.store.image_get(self.context(), reference.to_string()).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Err(Error::NotFound { what: "tag", name: reference.familiar() })
                }
                result => Ok(vec![(reference.clone(), result?)]),
            };
        }
        let all = self.shared.store.image_list(self.context(), Vec::new()).await?;
        let tagged = all.into_iter().filter_map(|image| {
            let other = Reference::parse(&image.name).ok()?;
            let is_of = other.host() == reference.host() && other.repository() == reference.repository();
            (is_of && other.digest().is_none()).then_some((other, image))
        });
        let tagged: Vec<_> = tagged.collect();
        if tagged.is_empty() {
            let name = familiar_repository(reference);
            return Err(Error::NotFound { what: "local image with the tag", name });
        }
        Ok(tagged)
    }

    /// The manifest of a platform, or everything if it is here, or what suits this machine.
    async fn what_to_push(&self, request: &ImagePush, image: &Image) -> Result<Descriptor> {
        let plain = |descriptor: Descriptor| {
            Descriptor::new(descriptor.media_type, descriptor.digest, descriptor.size)
        };
        if let Some(platform) = &request.platform {
            let found =
                self.image_documents(&request.reference.familiar(), image.clone(), Some(platform)).await?;
            return Ok(plain(found.descriptor));
        }
        if image.target.kind() != Kind::Index {
            // Looked at, so that what another door pulled is docker's, too.
            self.manifest_document(&image.target, None).await?;
            return Ok(plain(image.target.clone()));
        }
        let stock = self.stock().await?;
        let parts = self.parts(image, &stock).await;
        if parts.iter().all(|part| part.summary.available) {
            return Ok(plain(image.target.clone()));
        }
        let host = Matcher(vec![self.shared.platform.clone()]);
        let here = parts.into_iter().filter_map(|part| match &part.summary.kind {
            ManifestKind::Image { platform, .. } if part.summary.available => {
                Some((host.rank(Some(platform)).unwrap_or(u32::MAX), part.summary.descriptor))
            }
            _ => None,
        });
        let best = here.min_by_key(|(rank, _)| *rank).map(|(_, descriptor)| descriptor).ok_or_else(|| {
            Error::NotFound { what: "image", name: format!("{}: none of its platforms is here", image.name) }
        })?;
        let platform = best.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        (request.listener)(ImageProgress::Note(format!(
            "not all platforms of {} are here: only {platform} is pushed",
            request.reference.familiar()
        )));
        Ok(plain(best))
    }
}
