//! Loading: the images of an archive, with their names or without.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use gantry_primitives::progress::Reporter;
use gantry_primitives::{Breadth, Holder, ImportRequest, Unpack};
use gantry_types::platform::Matcher;
use gantry_types::{Descriptor, Digest, ErrorKind, Labels, Platform, Reference};

use super::archive;
use crate::{Engine, Error, Result};

/// How much is said of what is no archive.
const MAX_REASON: usize = 80;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// With a name, as short as people write it.
    Name(String),
    /// Without one: its id.
    Id(Digest),
}

/// The images of an archive, and the names that it has for each.
type Listed = Vec<(Descriptor, Vec<String>)>;

impl Engine {
    /// Loads the images of an archive that docker, podman or skopeo wrote, or an OCI layout; of a platform, or of all that it
    /// has. Compressions are undone.
    ///
    /// # Errors
    /// Invalid for what is none; ResourceExhausted for limits and full disks.
    pub async fn image_load(
        &self,
        source: Box<dyn Read + Send>,
        platforms: Vec<Platform>,
    ) -> Result<Vec<Loaded>> {
        let engine = self.clone();
        self.owned("loading images", async move { engine.load(source, Matcher(platforms)).await }).await
    }

    async fn load(&self, source: Box<dyn Read + Send>, platforms: Matcher) -> Result<Vec<Loaded>> {
        let unpacked = match platforms.0.is_empty() {
            true => Matcher(vec![self.shared.platform.clone()]),
            false => platforms.clone(),
        };
        let plain = archive::inflate(source);
        let lease = self.lease().await?;
        // The names are given here, so that what they named before is kept.
        let listed: Arc<Mutex<Listed>> = Arc::default();
        let (list, own) = (Arc::clone(&listed), ImportRequest::own_names());
        let naming = move |descriptor: &Descriptor| {
            let names = own(descriptor);
            list.lock().unwrap_or_else(PoisonError::into_inner).push((descriptor.clone(), names));
            Vec::new()
        };
        let request = ImportRequest {
            platforms,
            breadth: Breadth::default(),
            compress: false,
            naming: Arc::new(naming),
            index_names: Vec::new(),
            labels: Labels::new(),
            unpack: Vec::new(),
            holder: Holder::Docker,
            reporter: Reporter::default(),
        };
        self.shared
            .store
            .import(lease.context.clone(), Box::new(plain), request)
            .await
            .map_err(unrecognized)?;
        let listed = std::mem::take(&mut *listed.lock().unwrap_or_else(PoisonError::into_inner));
        let mut loaded = Vec::new();
        for (mut descriptor, names) in listed {
            descriptor.annotations.clear();
            if names.is_empty() {
                self.point(&lease.context, None, &descriptor, Labels::new()).await?;
                let digest = descriptor.digest.clone();
                self.image_event_of("load", &digest, digest.as_str()).await;
                loaded.push(Loaded::Id(digest));
            }
            for name in &names {
                let reference =
                    Reference::parse_familiar(name).map_err(|error| super::names::invalid(&error))?;
                self.point(&lease.context, Some(&reference.to_string()), &descriptor, Labels::new()).await?;
                self.image_event_of("load", &descriptor.digest, &reference.familiar()).await;
                loaded.push(Loaded::Name(reference.familiar()));
            }
            self.unpack_loaded(&lease, &descriptor, unpacked.clone()).await;
        }
        lease.end().await;
        Ok(loaded)
    }

    /// Unpacks what was loaded for this machine, or for what was asked for. What cannot be unpacked now fails when a container is made of it.
    async fn unpack_loaded(&self, lease: &super::lease::Lease, target: &Descriptor, platform: Matcher) {
        let unpack = Unpack { snapshotter: self.snapshotter().to_owned(), platform };
        let unpacked = self
            .shared
            .store
            .unpack(lease.context.clone(), target.clone(), unpack, Reporter::default())
            .await;
        match unpacked {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(image = %target.digest, %error, "a loaded image cannot be unpacked"),
            Ok(()) => {}
        }
    }
}

/// Docker's words for what is no archive of images.
fn unrecognized(error: gantry_primitives::Error) -> Error {
    match error {
        gantry_primitives::Error::Invalid { what: "archive", reason } => {
            // What the archive has in place of a header may be anything.
            let reason: String = reason.chars().take_while(|c| !c.is_control()).take(MAX_REASON).collect();
            Error::Invalid(format!("unrecognized image format: the archive {reason}"))
        }
        error => error.into(),
    }
}
