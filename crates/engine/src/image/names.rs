//! Names in the store: how they are shown, and the name of what has none.

use std::collections::BTreeMap;

use gantry_primitives::{Context, Holder, Image};
use gantry_types::{Descriptor, Digest, ErrorKind, Labels, Reference};

use crate::{Engine, Result};

/// What the name of an image without one begins with; its digest follows. It is dockerd's with containerd's images.
const DANGLING: &str = "moby-dangling@";
/// The label that says of which image another was built, as dockerd's classic builder writes it.
pub(crate) const PARENT_LABEL: &str = "org.mobyproject.image.parent";

/// Whether the name of a record is none of a person's: the image is shown as `<none>`.
pub fn is_dangling(name: &str) -> bool {
    name.starts_with(DANGLING)
}

/// The name for what has none.
pub(crate) fn dangling(digest: &Digest) -> String {
    format!("{DANGLING}{digest}")
}

/// A name as short as people write it; None for one that is none of a person's, such as the ids that the CRI gives.
pub fn familiar_name(name: &str) -> Option<String> {
    Reference::parse(name).ok().map(|reference| reference.familiar())
}

/// The name of a repository without tag and digest, as people write it.
pub(crate) fn familiar_repository(reference: &Reference) -> String {
    let bare = format!("{}/{}", reference.host(), reference.repository());
    Reference::parse(&bare).map_or(bare, |reference| reference.familiar())
}

/// `repository@digest`, as people write it.
pub(crate) fn repository_digest(reference: &Reference, digest: &Digest) -> String {
    reference.with_digest(digest.clone()).familiar()
}

/// What is said of a name that is not one.
pub fn invalid(error: &gantry_types::reference::InvalidReference) -> crate::Error {
    use gantry_types::reference::InvalidReference;
    match error {
        InvalidReference::UpperCase(text) => {
            let name = text.split(['@', ':']).next().unwrap_or_default();
            let name = name.strip_prefix("docker.io/").unwrap_or(name);
            crate::Error::Invalid(format!(
                "invalid reference format: repository name ({name}) must be lowercase"
            ))
        }
        error => crate::Error::Invalid(format!("invalid reference format: {error}")),
    }
}

/// Reads a name as people write it.
///
/// # Errors
/// Invalid.
pub(crate) fn parse(name: &str) -> Result<Reference> {
    Reference::parse_familiar(name).map_err(|error| invalid(&error))
}

impl Engine {
    /// Has a name name `target`, and keeps what it named before if that has no other name. Without a name, it gets that of the
    /// nameless, unless it has one. Gives the record, and whether anything has changed.
    ///
    /// # Errors
    /// Invalid for the name; what the store says.
    pub(crate) async fn point(
        &self,
        context: &Context,
        name: Option<&str>,
        target: &Descriptor,
        labels: Labels,
    ) -> Result<(Image, bool)> {
        let _one = self.shared.images.gate.lock().await;
        let store = &self.shared.store;
        let known = self.names_of(&target.digest).await?;
        let Some(name) = name else {
            if let Some(image) = known.into_iter().next() {
                return Ok((image, false));
            }
            let image = Image::new(dangling(&target.digest), target.clone(), labels);
            return Ok((store.image_put(context.clone(), Holder::Docker, image).await?, true));
        };
        let before = match store.image_get(context.clone(), name.to_owned()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            result => Some(result?),
        };
        let moves = before.as_ref().filter(|before| before.target.digest != target.digest);
        if let Some(before) = moves {
            self.keep_nameless(context, before).await?;
        }
        let changed = before.as_ref().is_none_or(|before| before.target.digest != target.digest);
        let mut plain = target.clone();
        plain.annotations = BTreeMap::new();
        let image = Image::new(name, plain, labels);
        let image = store.image_put(context.clone(), Holder::Docker, image).await?;
        // It has a name now.
        if known.iter().any(|image| is_dangling(&image.name)) {
            self.forget_name(&dangling(&target.digest)).await?;
        }
        Ok((image, changed))
    }

    /// Gives the target of `image` the name for the nameless, if it has no other name than the record's.
    pub(crate) async fn keep_nameless(&self, context: &Context, image: &Image) -> Result<()> {
        let others = self.names_of(&image.target.digest).await?;
        if others.iter().any(|other| other.name != image.name) {
            return Ok(());
        }
        let labels: Labels = image
            .labels
            .iter()
            .filter(|(key, _)| *key == PARENT_LABEL)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let nameless = Image::new(dangling(&image.target.digest), image.target.clone(), labels);
        self.shared.store.image_put(context.clone(), Holder::Docker, nameless).await?;
        Ok(())
    }

    /// All records that name something.
    pub(crate) async fn names_of(&self, digest: &Digest) -> Result<Vec<Image>> {
        let filter = vec![format!("target.digest=={digest}")];
        Ok(self.shared.store.image_list(self.context(), filter).await?)
    }

    /// Gives a name up. False for one that docker does not hold: that stays.
    pub(crate) async fn forget_name(&self, name: &str) -> Result<bool> {
        match self
            .shared
            .store
            .image_delete(self.context(), Holder::Docker, name.to_owned(), None, false)
            .await
        {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// NotFound for the image; Invalid for the new name.
    pub async fn image_tag(&self, image: &str, new: &Reference) -> Result<()> {
        if new.digest().is_some() {
            return Err(crate::Error::Invalid("refusing to create a tag with a digest reference".to_owned()));
        }
        if new.repository() == "library/sha256" || new.repository() == "sha256" {
            let text = format!(
                "refusing to create an ambiguous tag using digest algorithm as name: {}",
                new.familiar()
            );
            return Err(crate::Error::Invalid(text));
        }
        let source = self.image_record(image).await?;
        let (engine, new, target) = (self.clone(), new.clone(), source.target);
        self.owned("giving an image a name", async move {
            let labels = source.labels.into_iter().filter(|(key, _)| key == PARENT_LABEL).collect();
            engine.point(&engine.context(), Some(&new.to_string()), &target, labels).await?;
            engine.image_event_of("tag", &target.digest, &new.familiar()).await;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_short_as_they_are_written() {
        assert_eq!(familiar_name("docker.io/library/bb:1").as_deref(), Some("bb:1"));
        assert_eq!(familiar_name("127.0.0.1:5000/t/bb:1").as_deref(), Some("127.0.0.1:5000/t/bb:1"));
        assert_eq!(familiar_name("sha256:00"), None);
        let digest = Digest::sha256(b"x");
        assert!(is_dangling(&dangling(&digest)));
        assert_eq!(familiar_name(&dangling(&digest)), None);
        let reference = Reference::parse("docker.io/library/bb:1").unwrap();
        assert_eq!(familiar_repository(&reference), "bb");
        assert_eq!(repository_digest(&reference, &digest), format!("bb@{digest}"));
    }

    #[test]
    fn upper_case_is_refused_in_dockers_words() {
        let error = parse("BAD").unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid reference format: repository name (library/BAD) must be lowercase"
        );
    }
}
