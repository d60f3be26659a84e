//! Saving: images as an archive that docker, podman and skopeo read, and that is an OCI layout, too.

use gantry_primitives::progress::Reporter;
use gantry_primitives::{ExportImage, ExportRequest, Image};
use gantry_types::media_type::Kind;
use gantry_types::platform::Matcher;
use gantry_types::{Descriptor, Platform, Reference};

use super::pipe::{ByteStream, byte_stream, is_gone};
use super::resolve::{Called, missing};
use crate::{Engine, Result};

/// What is saved.
#[derive(Debug, Clone, Default)]
pub struct ImageSave {
    /// Images by name or id; a repository without a tag stands for all its tags.
    pub names: Vec<String>,
    /// Which platforms; none means all that are here.
    pub platforms: Vec<Platform>,
}

impl Engine {
    /// Writes images to an archive. What is wrong with a name is known before the first byte.
    ///
    /// # Errors
    /// NotFound.
    pub async fn image_save(&self, request: ImageSave) -> Result<ByteStream> {
        let mut images: Vec<ExportImage> = Vec::new();
        let mut events = Vec::new();
        for name in &request.names {
            for (image, shown) in self.to_save(name).await? {
                self.look_at(&image, &request.platforms).await?;
                let digest = image.target.digest.clone();
                let target = self.target_of(image, &request.platforms).await?;
                events.push((
                    digest.clone(),
                    shown.clone().map_or_else(|| digest.to_string(), |name| name.familiar()),
                ));
                let names: Vec<String> = shown.iter().map(ToString::to_string).collect();
                match images.iter_mut().find(|known| known.target.digest == target.digest) {
                    Some(known) => known.names.extend(
                        names.into_iter().filter(|name| !known.names.contains(name)).collect::<Vec<_>>(),
                    ),
                    None => images.push(ExportImage { target, names }),
                }
            }
        }
        let export = ExportRequest {
            images,
            platforms: Matcher(request.platforms),
            skip_missing: true,
            skip_foreign: true,
            skip_docker: false,
            reporter: Reporter::default(),
        };
        let (outlet, ended, stream) = byte_stream();
        let engine = self.clone();
        tokio::spawn(async move {
            let done = engine.shared.store.export(engine.context(), Box::new(outlet), export).await;
            let done = done.map_err(crate::Error::from);
            match &done {
                Ok(()) => {
                    for (digest, name) in events {
                        engine.image_event_of("save", &digest, &name).await;
                    }
                }
                Err(error) if is_gone(error) => {}
                Err(error) => tracing::debug!(%error, "an archive was not written to its end"),
            }
            // Nobody need be there any more.
            let _ = ended.send(done);
        });
        Ok(stream)
    }

    /// The images that a name stands for, and the name that each has in the archive.
    async fn to_save(&self, name: &str) -> Result<Vec<(Image, Option<Reference>)>> {
        let is_bare = Reference::parse_familiar(name).is_ok_and(|reference| {
            reference.digest().is_none() && !name.rsplit('/').next().is_some_and(|last| last.contains(':'))
        });
        if is_bare {
            let all = self.tags_of(name).await?;
            if !all.is_empty() {
                return Ok(all);
            }
        }
        match self.image_called(name).await? {
            (image, Called::Name(reference)) => Ok(vec![(image, Some(reference))]),
            (image, Called::Id) => Ok(vec![(image, None)]),
        }
    }

    async fn tags_of(&self, repository: &str) -> Result<Vec<(Image, Option<Reference>)>> {
        let wanted = super::names::parse(repository)?;
        let all = self.shared.store.image_list(self.context(), Vec::new()).await?;
        let tagged = all.into_iter().filter_map(|image| {
            let other = Reference::parse(&image.name).ok()?;
            let is_of = other.host() == wanted.host() && other.repository() == wanted.repository();
            (is_of && other.digest().is_none()).then_some((image, Some(other)))
        });
        Ok(tagged.collect())
    }

    /// What is saved of an image: of a single platform its manifest, as with docker, so that the archive is all of something.
    async fn target_of(&self, image: Image, platforms: &[Platform]) -> Result<Descriptor> {
        match platforms {
            [platform] if image.target.kind() == Kind::Index => {
                let found = self.image_documents(&image.name.clone(), image, Some(platform)).await?;
                Ok(found.descriptor)
            }
            _ => Ok(image.target),
        }
    }

    /// Looks for what is asked for, and makes what another door pulled docker's, too.
    async fn look_at(&self, image: &Image, platforms: &[Platform]) -> Result<()> {
        for platform in platforms {
            self.image_documents(&image.name, image.clone(), Some(platform)).await?;
        }
        if platforms.is_empty() {
            match image.target.kind() {
                Kind::Index => {
                    let stock = self.stock().await?;
                    if !self.parts(image, &stock).await.iter().any(|part| part.manifest.is_some()) {
                        return Err(missing(&image.name));
                    }
                }
                _ => drop(self.manifest_document(&image.target, None).await?),
            }
        }
        Ok(())
    }
}
