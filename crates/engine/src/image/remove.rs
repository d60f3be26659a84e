//! Removing images: by a name, which goes; or by an id, with all names.
//!
//! The rules are dockerd's with containerd's images. A name that goes takes the image with it if it was the last one; then
//! no container may be made of it, unless the removal is forced, which leaves the image without a name. An id means the image
//! with all its names: several need force, and no force removes an image below a running container.

use std::collections::HashSet;

use gantry_primitives::Image;
use gantry_types::{Digest, ErrorKind, Reference};

use super::list::{Group, group};
use super::names::{self, is_dangling};
use super::resolve::{Called, missing};
use crate::{Engine, Error, Result};

/// How many digits of an id people see.
const SHORT: usize = 12;

/// How an image is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageRemoval {
    /// Whether what stands in the way counts.
    pub force: bool,
    /// Whether images without names that it was built of here go, too.
    pub prune_parents: bool,
}

/// What became of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovedImage {
    /// A name is gone.
    Untagged(String),
    /// An image is gone.
    Deleted(Digest),
}

/// An id, as short as people see it.
fn short(digest: &Digest) -> &str {
    let hex = digest.hex();
    &hex[..SHORT.min(hex.len())]
}

pub(super) fn short_id(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

pub(super) fn conflict(what: &str, hard: bool, why: &str) -> Error {
    let may = if hard { "cannot be forced" } else { "must be forced" };
    Error::Conflict(format!("conflict: unable to delete {what} ({may}) - {why}"))
}

/// Whether two names are of the same tag, or one is the digest of the other's repository.
fn is_same(name: &str, reference: &Reference) -> bool {
    let Ok(other) = Reference::parse(name) else { return false };
    if other.host() != reference.host() || other.repository() != reference.repository() {
        return false;
    }
    match (reference.digest(), other.digest()) {
        // By digest the whole repository's names of the image are meant.
        (Some(_), _) => true,
        (None, None) => other.tag() == reference.tag(),
        (None, Some(_)) => false,
    }
}

impl Engine {
    /// Removes a name of an image, or an image.
    ///
    /// # Errors
    /// NotFound; Conflict for containers that were made of it, or several names.
    pub async fn image_remove(&self, name: &str, how: ImageRemoval) -> Result<Vec<RemovedImage>> {
        let (engine, name) = (self.clone(), name.to_owned());
        self.owned("removing an image", async move {
            let _one = engine.shared.images.gate.lock().await;
            engine.remove_image(&name, how).await
        })
        .await
    }

    async fn remove_image(&self, name: &str, how: ImageRemoval) -> Result<Vec<RemovedImage>> {
        let (image, called) = self.image_called(name).await?;
        let all = self.names_of(&image.target.digest).await?;
        let Called::Name(reference) = called else {
            self.refuse_use(&image.target.digest, &all, how.force)?;
            return self.remove_all(&all, how).await;
        };
        let named = all.iter().filter(|one| !is_dangling(&one.name)).count();
        let same: Vec<Image> = all.iter().filter(|one| is_same(&one.name, &reference)).cloned().collect();
        let mut removed = Vec::new();
        if same.len() == named
            && let Some(user) = self.user_of(&image.target.digest, UserKind::Any)
        {
            let why = format!(
                "container {} is using its referenced image {}",
                short_id(&user),
                short(&image.target.digest)
            );
            if !how.force {
                return Err(conflict(&reference.familiar(), false, &why));
            }
            let lease = self.lease().await?;
            let nameless =
                Image::new(names::dangling(&image.target.digest), image.target.clone(), image.labels.clone());
            let store = &self.shared.store;
            store.image_put(lease.context.clone(), gantry_primitives::Holder::Docker, nameless).await?;
            self.untag(&same, &mut removed).await?;
            lease.end().await;
            return Ok(removed);
        }
        if same.len() == named {
            return self.remove_all(&all, how).await;
        }
        self.untag(&same, &mut removed).await?;
        Ok(removed)
    }

    /// Takes names away, and tells of it.
    async fn untag(&self, images: &[Image], removed: &mut Vec<RemovedImage>) -> Result<()> {
        let mut kept = None;
        let mut gone = false;
        for image in images {
            let shown = names::familiar_name(&image.name).unwrap_or_else(|| image.target.digest.to_string());
            // Asked before: what says its labels may go with the name.
            let labels = self.image_labels(&image.target.digest).await;
            if !self.forget_name(&image.name).await? {
                kept = Some(image.name.clone());
                continue;
            }
            gone = true;
            self.image_event("untag", image.target.digest.as_str(), &shown, labels).await;
            if !is_dangling(&image.name) {
                removed.push(RemovedImage::Untagged(shown));
            }
        }
        match kept {
            Some(name) if !gone => Err(Error::Foreign {
                what: "image",
                name: names::familiar_name(&name).unwrap_or(name),
                owner: "another door".to_owned(),
                tool: "ctr or crictl",
            }),
            _ => Ok(()),
        }
    }

    async fn image_labels(&self, digest: &Digest) -> std::collections::BTreeMap<String, String> {
        match self.image_by_digest(digest).await {
            Ok(found) => found.document.config.labels,
            Err(_) => Default::default(),
        }
    }

    /// Removes all names of an image, and then, if that is asked for, the images below it that nobody needs.
    async fn remove_all(&self, all: &[Image], how: ImageRemoval) -> Result<Vec<RemovedImage>> {
        let Some(first) = all.first() else { return Ok(Vec::new()) };
        let digest = first.target.digest.clone();
        let groups = self.image_groups().await?;
        let mut removed = Vec::new();
        let labels = self.image_labels(&digest).await;
        let mut named: Vec<Image> = all.to_vec();
        // The nameless one last: it is what keeps an image that others name no more.
        named.sort_by_key(|image| is_dangling(&image.name));
        self.untag(&named, &mut removed).await?;
        if !self.names_of(&digest).await?.is_empty() {
            // Another door holds a name of it.
            return Ok(removed);
        }
        self.image_event("delete", digest.as_str(), digest.as_str(), labels).await;
        removed.push(RemovedImage::Deleted(digest.clone()));
        if how.prune_parents {
            self.remove_parents(&digest, groups, &mut removed).await?;
        }
        Ok(removed)
    }

    /// Removes the images without names that an image, which is gone, was built of here, as far as nothing needs them.
    async fn remove_parents(
        &self,
        digest: &Digest,
        mut groups: Vec<Group>,
        removed: &mut Vec<RemovedImage>,
    ) -> Result<()> {
        let mut gone = digest.clone();
        let mut seen = HashSet::from([gone.clone()]);
        loop {
            let parent = groups.iter().find(|group| group.target.digest == gone).and_then(Group::parent);
            groups.retain(|group| group.target.digest != gone);
            let Some(parent) = parent.filter(|parent| seen.insert(parent.clone())) else { return Ok(()) };
            let Some(group) = groups.iter().find(|group| group.target.digest == parent) else {
                return Ok(());
            };
            let is_needed = group.images.iter().any(|image| !is_dangling(&image.name))
                || groups.iter().any(|other| other.parent().as_ref() == Some(&parent))
                || self.user_of(&parent, UserKind::Any).is_some();
            if is_needed {
                return Ok(());
            }
            for image in &group.images {
                self.forget_name(&image.name).await?;
            }
            self.image_event("delete", parent.as_str(), parent.as_str(), Default::default()).await;
            removed.push(RemovedImage::Deleted(parent.clone()));
            gone = parent;
        }
    }

    /// What stands in the way of a removal by id.
    fn refuse_use(&self, digest: &Digest, all: &[Image], force: bool) -> Result<()> {
        if let Some(user) = self.user_of(digest, UserKind::Running) {
            let why = format!("image is being used by running container {}", short_id(&user));
            return Err(conflict(short(digest), true, &why));
        }
        if force {
            return Ok(());
        }
        if let Some(user) = self.user_of(digest, UserKind::Any) {
            let why = format!("image is being used by stopped container {}", short_id(&user));
            return Err(conflict(short(digest), false, &why));
        }
        let named = all.iter().filter(|image| !is_dangling(&image.name)).count();
        if named > 1 {
            return Err(conflict(short(digest), false, "image is referenced in multiple repositories"));
        }
        Ok(())
    }

    /// A container that was made of an image, or has it mounted.
    pub(crate) fn user_of(&self, target: &Digest, kind: UserKind) -> Option<String> {
        let uses = |container: &std::sync::Arc<crate::Container>| {
            let record = container.record();
            let is_mounted = record.mounts.iter().any(|point| point.image.as_ref() == Some(target));
            let is_of = record.image.target.as_ref() == Some(target) || is_mounted;
            is_of && (kind == UserKind::Any || record.state.status.is_alive())
        };
        self.containers().into_iter().find(uses).map(|container| container.id.clone())
    }

    /// Removes an image that nothing uses, with all its names. False for one that only other doors hold.
    pub(crate) async fn remove_unused(&self, digest: &Digest) -> Result<Vec<RemovedImage>> {
        let _one = self.shared.images.gate.lock().await;
        if self.user_of(digest, UserKind::Any).is_some() {
            return Ok(Vec::new());
        }
        let all = self.names_of(digest).await?;
        let how = ImageRemoval { force: true, prune_parents: false };
        match self.remove_all(&all, how).await {
            Err(error) if matches!(error, Error::Foreign { .. }) || error.kind() == ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            result => result,
        }
    }

    /// The images that were built of another one here.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn image_children(&self, parent: &Digest) -> Result<Vec<super::FoundImage>> {
        let filter = vec![format!("labels.{:?}=={parent}", names::PARENT_LABEL)];
        let images = self.shared.store.image_list(self.context(), filter).await?;
        let mut children = Vec::new();
        for group in group(images) {
            let Some(image) = group.images.into_iter().next() else { continue };
            match self.image_here(&image.name.clone(), image).await {
                Ok(found) => children.push(found),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(children)
    }

    /// An image that was built here, by its digest.
    ///
    /// # Errors
    /// NotFound.
    pub async fn image_built(&self, digest: &Digest) -> Result<super::FoundImage> {
        self.image_by_digest(digest).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => missing(digest.as_str()),
            _ => error,
        })
    }
}

/// Which containers count as users of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UserKind {
    /// All.
    Any,
    /// Those that have a process.
    Running,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_means_all_names_of_its_repository() {
        let digest = Digest::sha256(b"x");
        let tag: Reference = "docker.io/library/a:1".parse().unwrap();
        let by_digest = tag.with_digest(digest.clone());
        let named = format!("docker.io/library/a@{digest}");
        assert!(is_same("docker.io/library/a:1", &tag) && !is_same(&named, &tag));
        assert!(is_same("docker.io/library/a:1", &by_digest) && is_same(&named, &by_digest));
        for other in ["docker.io/library/a:2", "docker.io/library/b:1", "r.example/library/a:1", "sha256:0"] {
            assert!(!is_same(other, &tag), "{other}");
        }
    }

    #[test]
    fn conflicts_are_said_in_dockers_words() {
        let error = conflict("a:1", false, "container 0123 is using its referenced image 4567");
        assert_eq!(
            error.to_string(),
            "conflict: unable to delete a:1 (must be forced) - container 0123 is using its referenced image 4567"
        );
    }
}
