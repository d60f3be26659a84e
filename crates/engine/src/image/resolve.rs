//! From what a person calls an image to its documents.

use gantry_primitives::Image;
use gantry_types::image::Manifest;
use gantry_types::media_type::Kind;
use gantry_types::platform::Matcher;
use gantry_types::{ChainId, Descriptor, Digest, ErrorKind, Platform, Reference};

use super::{ImageDocument, names};
use crate::record::ImageOf;
use crate::{Engine, Error, Result};

/// The deepest nesting of indexes.
const MAX_DEPTH: usize = 4;
/// The length of a digest's hexadecimal form, and the least of it that counts as an id.
const ID_DIGITS: usize = 64;
const MIN_ID_DIGITS: usize = 4;

/// An image, found.
#[derive(Debug, Clone)]
pub struct FoundImage {
    /// The record that names it.
    pub image: Image,
    /// How a container remembers it.
    pub of: ImageOf,
    /// The manifest of the platform.
    pub manifest: Manifest,
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// Its configuration.
    pub document: ImageDocument,
}

/// How a person called an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Called {
    /// By a name.
    Name(Reference),
    /// By an id, or the beginning of one.
    Id,
}

/// The error for an image that is not there, by the name that docker would say.
pub(crate) fn missing(name: &str) -> Error {
    let is_whole = name.starts_with("sha256:") || name.len() == ID_DIGITS;
    let said = match Reference::parse_familiar(name) {
        Ok(reference) if !is_whole => reference.familiar(),
        _ => name.to_owned(),
    };
    Error::NotFound { what: "image", name: said }
}

/// The digits of what may be an id.
fn id_digits(name: &str) -> Option<&str> {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let are_digits = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (are_digits && (MIN_ID_DIGITS..=ID_DIGITS).contains(&digits.len())).then_some(digits)
}

impl Engine {
    /// Finds an image by its name, by a digest (of index, manifest or configuration) or by the beginning of one.
    ///
    /// # Errors
    /// NotFound; Invalid for what is no name; NotFound for a platform that it does not have.
    pub async fn image(&self, name: &str, platform: Option<&Platform>) -> Result<FoundImage> {
        let image = self.image_record(name).await?;
        self.image_documents(name, image, platform).await
    }

    /// The record behind what a person calls an image.
    ///
    /// # Errors
    /// NotFound; Invalid for what is no name.
    pub async fn image_record(&self, name: &str) -> Result<Image> {
        Ok(self.image_called(name).await?.0)
    }

    /// The record, and how it was called.
    pub(crate) async fn image_called(&self, name: &str) -> Result<(Image, Called)> {
        let digits = id_digits(name);
        let is_whole = digits.is_some_and(|digits| digits.len() == ID_DIGITS);
        if names::is_dangling(name) {
            let found = self.shared.store.image_get(self.context(), name.to_owned()).await;
            return found.map(|image| (image, Called::Id)).map_err(|_| missing(name));
        }
        if !is_whole && !name.starts_with("sha256:") {
            let reference = names::parse(name)?;
            match self.shared.store.image_get(self.context(), reference.to_string()).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => return Ok((result?, Called::Name(reference))),
            }
            if let Some(image) = self.by_repository_and_digest(&reference).await? {
                return Ok((image, Called::Name(reference)));
            }
        }
        let found = match digits {
            Some(digits) => self.by_id(digits).await?,
            None => None,
        };
        found.map(|image| (image, Called::Id)).ok_or_else(|| missing(name))
    }

    /// `repository@digest` of an image that was pulled by a tag.
    async fn by_repository_and_digest(&self, reference: &Reference) -> Result<Option<Image>> {
        let Some(digest) = reference.digest() else { return Ok(None) };
        let is_of = |image: &Image| {
            Reference::parse(&image.name).is_ok_and(|other| {
                other.host() == reference.host() && other.repository() == reference.repository()
            })
        };
        Ok(self.names_of(digest).await?.into_iter().find(is_of))
    }

    /// The image that the beginning of a digest means. What a name names goes before what that refers to.
    async fn by_id(&self, digits: &str) -> Result<Option<Image>> {
        let all = self.shared.store.image_list(self.context(), Vec::new()).await?;
        let begins = |digest: &Digest| digest.hex().starts_with(digits);
        let mut found: Option<Image> = None;
        for image in all.iter().filter(|image| begins(&image.target.digest)) {
            match &found {
                Some(other) if other.target.digest != image.target.digest => return Err(ambiguous(digits)),
                Some(other) if !names::is_dangling(&other.name) => {}
                _ => found = Some(image.clone()),
            }
        }
        if found.is_some() {
            return Ok(found);
        }
        let stock = self.stock().await?;
        for image in all {
            let parts = self.parts(&image, &stock).await;
            let is_hit = parts.iter().any(|part| {
                let config = part.manifest.as_ref().map(|manifest| &manifest.config.digest);
                begins(&part.summary.descriptor.digest) || config.is_some_and(begins)
            });
            match &found {
                Some(other) if is_hit && other.target.digest != image.target.digest => {
                    return Err(ambiguous(digits));
                }
                None if is_hit => found = Some(image),
                _ => {}
            }
        }
        Ok(found)
    }

    /// The image behind a digest that some name names, for this machine's platform or the best there is.
    pub(crate) async fn image_by_digest(&self, digest: &Digest) -> Result<FoundImage> {
        let image =
            self.names_of(digest).await?.into_iter().next().ok_or_else(|| missing(digest.as_str()))?;
        self.image_here(digest.as_str(), image).await
    }

    /// The documents of this machine's platform, or of the first one that is here.
    pub(crate) async fn image_here(&self, name: &str, image: Image) -> Result<FoundImage> {
        let first = self.image_documents(name, image.clone(), None).await;
        let Err(error) = first else { return first };
        if error.kind() != ErrorKind::NotFound || image.target.kind() != Kind::Index {
            return Err(error);
        }
        let index = self.index_document(&image.target, None).await?;
        for child in &index.manifests {
            if let Some(platform) = child.platform.as_ref().filter(|platform| !platform.is_unknown())
                && let Ok(found) = self.image_documents(name, image.clone(), Some(platform)).await
            {
                return Ok(found);
            }
        }
        Err(error)
    }

    /// The documents behind an image's name, for a platform.
    ///
    /// # Errors
    /// NotFound for a platform that it does not have, or whose documents are not here.
    pub async fn image_documents(
        &self,
        name: &str,
        image: Image,
        platform: Option<&Platform>,
    ) -> Result<FoundImage> {
        let said = || if name.is_empty() { image.name.clone() } else { name.to_owned() };
        let wanted = Matcher(vec![platform.cloned().unwrap_or_else(|| self.shared.platform.clone())]);
        let descriptor = self.manifest_for(&image.target, &wanted, &said).await?;
        let absent = |error: Error| match error.kind() {
            // The index names it, and it was removed, or never came.
            ErrorKind::NotFound if image.target.kind() == Kind::Index => nothing_for(&said(), &wanted.0[0]),
            _ => error,
        };
        let manifest = self.manifest_document(&descriptor, None).await.map_err(absent)?;
        let document = self.config_document(&manifest.config, None).await.map_err(absent)?;
        // What an index says has been looked at; a manifest alone says nothing of its platform.
        if let Some(platform) = platform
            && image.target.kind() != Kind::Index
            && platform.distance(&document.platform()).is_none()
        {
            return Err(nothing_for(&said(), platform));
        }
        let chain = ChainId::chain(&document.rootfs.diff_ids).last().map(|id| id.as_str().to_owned());
        let of = ImageOf {
            reference: name.to_owned(),
            name: image.name.clone(),
            target: Some(image.target.digest.clone()),
            manifest: Some(descriptor.digest.clone()),
            config: Some(manifest.config.digest.clone()),
            chain: chain.unwrap_or_default(),
            platform: document.platform().to_string(),
        };
        let (manifest, document) = (manifest.as_ref().clone(), document.as_ref().clone());
        Ok(FoundImage { image, of, manifest, descriptor, document })
    }

    /// The manifest of an index, or of an index in it, that suits best.
    async fn manifest_for(
        &self,
        target: &Descriptor,
        wanted: &Matcher,
        said: &(dyn Fn() -> String + Sync),
    ) -> Result<Descriptor> {
        let mut descriptor = target.clone();
        for _ in 0..MAX_DEPTH {
            if descriptor.kind() != Kind::Index {
                break;
            }
            let index = self.index_document(&descriptor, None).await?;
            let images = index.manifests.iter().filter(|other| !is_attestation(other));
            let ranked =
                images.filter_map(|other| wanted.rank(other.platform.as_ref()).map(|rank| (rank, other)));
            let Some((_, best)) = ranked.min_by_key(|(rank, _)| *rank) else {
                return Err(nothing_for(&said(), &wanted.0[0]));
            };
            descriptor = best.clone();
        }
        Ok(descriptor)
    }
}

pub(super) fn nothing_for(name: &str, platform: &Platform) -> Error {
    let image = match Reference::parse_familiar(name) {
        Ok(reference) if id_digits(name).is_none() => reference.familiar(),
        _ => name.to_owned(),
    };
    Error::NoPlatform { image, platform: platform.to_string() }
}

fn ambiguous(digits: &str) -> Error {
    Error::Invalid(format!("ambiguous reference: {digits}"))
}

/// Whether a manifest says something of others, and is no image.
pub(crate) fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.annotations.contains_key("vnd.docker.reference.type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_four_digits_at_least() {
        assert_eq!(id_digits("abcd"), Some("abcd"));
        assert_eq!(id_digits("sha256:abcd"), Some("abcd"));
        for name in ["abc", "abcg", "ABCD", "", "sha256:", &"a".repeat(65)] {
            assert_eq!(id_digits(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_called_as_docker_calls_it() {
        let check =
            |name: &str, said: &str| assert_eq!(missing(name).to_string(), format!("no such image: {said}"));
        check("nope", "nope:latest");
        check("docker.io/library/nope:1", "nope:1");
        check("1a333c573040", "1a333c573040:latest");
        let id = format!("sha256:{}", "0".repeat(64));
        check(&id, &id);
    }
}
