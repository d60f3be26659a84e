//! Importing: the files of a tar become an image of one layer.

use std::io::Read;

use gantry_primitives::Unpack;
use gantry_primitives::progress::Reporter;
use gantry_types::platform::Matcher;
use gantry_types::{Digest, Labels, Platform, Reference};
use jiff::Timestamp;

use super::{Change, HistoryEntry, ImageDocument, RootFs};
use crate::{Engine, Error, Result};

/// What is imported.
pub struct ImageImport {
    /// A tar of files, whatever its compression.
    pub source: Box<dyn Read + Send>,
    /// The name; None for none.
    pub reference: Option<Reference>,
    /// What its maker says.
    pub message: String,
    /// Instructions that make its configuration.
    pub changes: Vec<Change>,
    /// What it runs on; None for the machine's.
    pub platform: Option<Platform>,
}

impl Engine {
    /// Makes an image of files.
    ///
    /// # Errors
    /// Invalid for changes, and for what is no tar.
    pub async fn image_import(&self, request: ImageImport) -> Result<Digest> {
        if request.reference.as_ref().is_some_and(|reference| reference.digest().is_some()) {
            return Err(Error::Invalid("cannot import digest reference".to_owned()));
        }
        let platform = request.platform.clone().unwrap_or_else(|| self.shared.platform.clone());
        let mut document = ImageDocument {
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone(),
            ..ImageDocument::default()
        };
        Change::apply(&request.changes, &mut document.config)?;
        let engine = self.clone();
        self.owned("importing an image", async move { engine.import(request, document, platform).await })
            .await
    }

    async fn import(
        &self,
        request: ImageImport,
        mut document: ImageDocument,
        platform: Platform,
    ) -> Result<Digest> {
        let lease = self.lease().await?;
        let (layer, diff) = self.write_layer(&lease.context, request.source).await?;
        let now = Timestamp::now().to_string();
        let comment = if request.message.is_empty() { "Imported from -".to_owned() } else { request.message };
        document.created = Some(now.clone());
        document.history = vec![HistoryEntry { created: Some(now), comment, ..HistoryEntry::default() }];
        document.rootfs = RootFs { kind: "layers".to_owned(), diff_ids: vec![diff] };
        let target = self.write_image(&lease.context, &document, vec![layer]).await?;
        // What is no tar is known now, and gets no name.
        let unpack = Unpack { snapshotter: self.snapshotter().to_owned(), platform: Matcher(vec![platform]) };
        let store = &self.shared.store;
        store.unpack(lease.context.clone(), target.clone(), unpack, Reporter::default()).await?;
        let name = request.reference.as_ref().map(ToString::to_string);
        self.point(&lease.context, name.as_deref(), &target, Labels::new()).await?;
        lease.end().await;
        let labels = document.config.labels;
        if let Some(reference) = &request.reference {
            self.image_event("tag", target.digest.as_str(), &reference.familiar(), labels.clone()).await;
        }
        self.image_event("import", target.digest.as_str(), target.digest.as_str(), labels).await;
        Ok(target.digest)
    }
}
