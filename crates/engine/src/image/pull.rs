//! Pulling: an image, or all tags of a repository.

use std::sync::Arc;

use gantry_primitives::registry::Credential;
use gantry_primitives::{Breadth, Holder, PullRequest, Unpack};
use gantry_types::platform::Matcher;
use gantry_types::{Digest, ErrorKind, Labels, Platform, Reference};

use super::names::familiar_repository;
use super::progress::PullProgress;
use super::{ImageProgress, ProgressListener};
use crate::{Engine, Error, Result};

/// The most tags that are pulled at once.
const MAX_TAGS: usize = 10_000;

/// What is pulled.
#[derive(Clone)]
pub struct ImagePull {
    /// What; with `all_tags`, of which repository.
    pub reference: Reference,
    /// Whether all tags are.
    pub all_tags: bool,
    /// For which platform; None for the machine's.
    pub platform: Option<Platform>,
    /// What opens the registry; None for what the operator configured.
    pub credential: Option<Credential>,
    /// Who is told how it goes.
    pub listener: ProgressListener,
}

/// What was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePulled {
    /// The name.
    pub reference: Reference,
    /// What it names now.
    pub digest: Digest,
    /// Whether that is something else than before, or parts of it were not here.
    pub newer: bool,
}

impl Engine {
    /// Pulls an image, and unpacks it.
    ///
    /// # Errors
    /// NotFound if the registry lacks it or has it for another platform; Unauthenticated, PermissionDenied and Unavailable from
    /// the registry; Invalid for manifests of schema 1.
    ///
    /// # Cancel safety
    /// When it is dropped, it ends; its bytes stay for the next try.
    pub async fn image_pull(&self, request: ImagePull) -> Result<Vec<ImagePulled>> {
        let references =
            if request.all_tags { self.all_tags(&request).await? } else { vec![request.reference.clone()] };
        let mut pulled = Vec::with_capacity(references.len());
        for reference in references {
            let one = self.pull_one(&request, &reference).await?;
            (request.listener)(ImageProgress::Pulled(one.clone()));
            pulled.push(one);
        }
        Ok(pulled)
    }

    async fn all_tags(&self, request: &ImagePull) -> Result<Vec<Reference>> {
        let tags = self.remote_tags(&request.reference, request.credential.clone()).await?;
        if tags.len() > MAX_TAGS {
            let text = format!("{} has {} tags, more than {MAX_TAGS}", request.reference, tags.len());
            return Err(Error::Invalid(text));
        }
        let bare = format!("{}/{}", request.reference.host(), request.reference.repository());
        let name = |tag: &String| {
            Reference::parse(&format!("{bare}:{tag}")).map_err(|error| super::names::invalid(&error))
        };
        tags.iter().map(name).collect()
    }

    async fn pull_one(&self, request: &ImagePull, reference: &Reference) -> Result<ImagePulled> {
        let platform = request.platform.clone().unwrap_or_else(|| self.shared.platform.clone());
        let wanted = Matcher(vec![platform]);
        let progress = PullProgress::new(Arc::clone(&request.listener));
        // The name is given here, so that what it named before is kept; until then a lease keeps what comes.
        let lease = self.lease().await?;
        let pull = PullRequest {
            reference: reference.clone(),
            names: Vec::new(),
            labels: Labels::new(),
            platforms: wanted.clone(),
            breadth: Breadth::default(),
            unpack: vec![Unpack { snapshotter: self.snapshotter().to_owned(), platform: wanted }],
            holder: Holder::Docker,
            access: self.access(reference, request.credential.clone()),
            reporter: progress.reporter(reference),
        };
        let before = self.image_record(&reference.to_string()).await.ok().map(|image| image.target.digest);
        let wanted = pull.platforms.0[0].clone();
        let pulled = self.shared.store.pull(lease.context.clone(), pull).await;
        let target = pulled.map_err(|error| not_there(error, reference, &wanted, &progress))?.target;
        let (engine, name) = (self.clone(), reference.to_string());
        let context = lease.context.clone();
        let digest = target.digest.clone();
        let named = async move { engine.point(&context, Some(&name), &target, Labels::new()).await };
        self.owned("giving an image its name", named).await?;
        lease.end().await;
        let id = reference.familiar();
        let labels = match self.image_by_digest(&digest).await {
            Ok(found) => found.document.config.labels,
            Err(_) => Labels::new(),
        };
        self.image_event("pull", &id, &familiar_repository(reference), labels).await;
        let newer = before.as_ref() != Some(&digest) || progress.has_worked();
        Ok(ImagePulled { reference: reference.clone(), digest, newer })
    }
}

/// What a registry lacks is said by its whole name.
fn not_there(
    error: gantry_primitives::Error,
    reference: &Reference,
    wanted: &Platform,
    progress: &PullProgress,
) -> Error {
    use gantry_primitives::Error as Stored;
    match error {
        Stored::NotFound { what: "image to unpack" | "image for platform", .. } => Error::NotFound {
            what: "platform of the image",
            name: format!("{} does not have {wanted}", reference.familiar()),
        },
        error if error.kind() == ErrorKind::NotFound && !progress.has_resolved() => {
            Error::NotFound { what: "manifest", name: reference.to_string() }
        }
        error => error.into(),
    }
}
