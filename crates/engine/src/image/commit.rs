//! Images of what containers have changed, and of what builds say.
//!
//! ```text
//! snapshot ──diff against its parent──► layer ─┐
//! parent's manifest: layers ───────────────────┼─► configuration, manifest ──► a name, or the name of the nameless
//! parent's configuration, changes, a step ─────┘
//! ```
//! All of it is below a lease until the image has its name. The files that make the layer are never run, and never followed
//! out of the snapshot.

use std::sync::Arc;

use gantry_primitives::progress::Reporter;
use gantry_primitives::{Adoption, Context, DiffRequest, SnapshotLayer, SnapshotRequest, Unpack};
use gantry_types::platform::Matcher;
use gantry_types::{
    ChainId, Descriptor, DiffId, Digest, ErrorKind, Labels, Mount, Platform, Reference, labels,
};
use jiff::Timestamp;

use super::config::{Empty, Healthcheck};
use super::{Change, FoundImage, HistoryEntry, ImageDocument, ImageSettings, RootFs, names};
use crate::container::Container;
use crate::record::{ImageOf, Record, Status};
use crate::{Engine, Error, Result};

/// The diff id of a tar without entries: 1024 bytes of zeros.
const EMPTY_TAR: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// An image of what a snapshot has over its parent's image.
#[derive(Debug, Clone)]
pub struct SnapshotImage {
    /// The name of the active snapshot.
    pub snapshot: String,
    /// What it stands on; None for nothing.
    pub parent: Option<FoundImage>,
    /// The rest.
    pub image: ConfigRequest,
    /// What becomes of the snapshot.
    pub afterwards: Afterwards,
}

/// What becomes of a snapshot that an image was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Afterwards {
    /// It stays.
    #[default]
    Kept,
    /// It becomes the snapshot of the new layer, which is not unpacked then. Nothing may write to it any more.
    Given,
}

/// What an image says, beside its layers.
#[derive(Debug, Clone, Default)]
pub struct ConfigRequest {
    /// Of its containers.
    pub config: ImageSettings,
    /// How it was made. Its time is that of the image; whether it has a layer is filled in.
    pub history: HistoryEntry,
    /// By whom.
    pub author: String,
    /// What it runs on, without a parent; None for the machine's.
    pub platform: Option<Platform>,
    /// Its name; None for none.
    pub reference: Option<Reference>,
}

/// How a container becomes an image.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// Its name; None for none.
    pub reference: Option<Reference>,
    /// By whom.
    pub author: String,
    /// What they say.
    pub message: String,
    /// What the image says in place of the container.
    pub config: ImageSettings,
    /// Instructions on top of that.
    pub changes: Vec<Change>,
    /// Whether a container that runs goes on meanwhile.
    pub without_pause: bool,
}

/// A layer that is made.
struct NewLayer {
    descriptor: Descriptor,
    diff: DiffId,
}

impl Engine {
    /// Makes an image of what a snapshot has over its parent's image. A snapshot that has nothing makes no layer.
    ///
    /// # Errors
    /// NotFound for the snapshot; what the store says. Nothing is left then.
    pub async fn image_from_snapshot(&self, request: SnapshotImage) -> Result<Digest> {
        let engine = self.clone();
        self.owned("making an image", async move {
            let lease = engine.lease().await?;
            let parent = request.parent.as_ref();
            let layer = engine.layer_of(&lease.context, &request.snapshot, parent).await?;
            if let (Some(layer), Afterwards::Given) = (&layer, request.afterwards) {
                engine.give_snapshot(&lease.context, request.snapshot, parent, layer).await;
            }
            let digest = engine.make_image(&lease.context, parent, layer, request.image).await?;
            lease.end().await;
            Ok(digest)
        })
        .await
    }

    /// Makes an image with the layers of another one, or with none.
    ///
    /// # Errors
    /// What the store says. Nothing is left then.
    pub async fn image_with_config(
        &self,
        parent: Option<FoundImage>,
        request: ConfigRequest,
    ) -> Result<Digest> {
        let engine = self.clone();
        self.owned("making an image", async move {
            let lease = engine.lease().await?;
            let digest = engine.make_image(&lease.context, parent.as_ref(), None, request).await?;
            lease.end().await;
            Ok(digest)
        })
        .await
    }

    /// The same with one more layer: the one at a place of another image's, which is here.
    ///
    /// # Errors
    /// Invalid for a place that it does not have; what the store says.
    pub async fn image_with_layer_of(
        &self,
        parent: Option<FoundImage>,
        layer: Option<(FoundImage, usize)>,
        request: ConfigRequest,
    ) -> Result<Digest> {
        let layer = match layer {
            None => None,
            Some((image, place)) => {
                let descriptor = image.manifest.layers.get(place).cloned();
                let diff = image.document.rootfs.diff_ids.get(place).cloned();
                let none = || Error::Invalid(format!("an image has no layer {place}"));
                let (descriptor, diff) = descriptor.zip(diff).ok_or_else(none)?;
                Some(NewLayer { descriptor, diff })
            }
        };
        let engine = self.clone();
        self.owned("making an image", async move {
            let lease = engine.lease().await?;
            let digest = engine.make_image(&lease.context, parent.as_ref(), layer, request).await?;
            lease.end().await;
            Ok(digest)
        })
        .await
    }

    async fn make_image(
        &self,
        context: &Context,
        parent: Option<&FoundImage>,
        layer: Option<NewLayer>,
        request: ConfigRequest,
    ) -> Result<Digest> {
        let (layers, document) = self.compose(parent, layer, &request);
        let target = self.write_image(context, &document, layers).await?;
        let mut marks = Labels::new();
        if let Some(parent) = parent {
            marks.insert(names::PARENT_LABEL.to_owned(), parent.image.target.digest.to_string());
        }
        let name = request.reference.as_ref().map(ToString::to_string);
        self.point(context, name.as_deref(), &target, marks).await?;
        self.unpack_made(context, &target, document.platform()).await?;
        let labels = document.config.labels;
        self.image_event("create", target.digest.as_str(), target.digest.as_str(), labels.clone()).await;
        if let Some(reference) = &request.reference {
            self.image_event("tag", target.digest.as_str(), &reference.familiar(), labels).await;
        }
        Ok(target.digest)
    }

    /// Layers and configuration: the parent's, and what is new.
    fn compose(
        &self,
        parent: Option<&FoundImage>,
        layer: Option<NewLayer>,
        request: &ConfigRequest,
    ) -> (Vec<Descriptor>, ImageDocument) {
        let platform = match (parent, &request.platform) {
            (Some(parent), _) => parent.document.platform(),
            (None, Some(platform)) => platform.clone(),
            (None, None) => self.shared.platform.clone(),
        };
        let below = parent.map(|parent| &parent.document);
        let mut layers = parent.map(|parent| parent.manifest.layers.clone()).unwrap_or_default();
        let mut diffs = below.map(|document| document.rootfs.diff_ids.clone()).unwrap_or_default();
        let mut history = below.map(|document| document.history.clone()).unwrap_or_default();
        let created = request.history.created.clone().unwrap_or_else(|| Timestamp::now().to_string());
        let step = HistoryEntry {
            created: Some(created.clone()),
            empty_layer: layer.is_none(),
            author: request.author.clone(),
            ..request.history.clone()
        };
        history.push(step);
        if let Some(layer) = layer {
            layers.push(layer.descriptor);
            diffs.push(layer.diff);
        }
        let document = ImageDocument {
            created: Some(created),
            author: request.author.clone(),
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            os_version: platform.os_version,
            os_features: platform.os_features,
            config: request.config.clone(),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: diffs },
            history,
        };
        (layers, document)
    }

    /// Has a snapshot become that of the layer that was made of it. Where that cannot be, the layer is unpacked.
    async fn give_snapshot(
        &self,
        context: &Context,
        key: String,
        parent: Option<&FoundImage>,
        layer: &NewLayer,
    ) {
        let mut diffs = parent.map(|parent| parent.document.rootfs.diff_ids.clone()).unwrap_or_default();
        diffs.push(layer.diff.clone());
        let mut chains = ChainId::chain(&diffs);
        let Some(chain) = chains.pop() else { return };
        let snapshotter = self.snapshotter().to_owned();
        let adoption = Adoption { snapshotter, key, parent: chains.pop(), chain };
        if let Err(error) = self.shared.store.snapshot_adopt(context.clone(), adoption).await {
            tracing::debug!(%error, "the layer of a snapshot is unpacked");
        }
    }

    /// What a snapshot has over its parent's image, as a layer; None for nothing.
    async fn layer_of(
        &self,
        context: &Context,
        snapshot: &str,
        parent: Option<&FoundImage>,
    ) -> Result<Option<NewLayer>> {
        let store = &self.shared.store;
        let snapshotter = self.snapshotter().to_owned();
        let made = store.snapshot_layer(context.clone(), snapshotter.clone(), snapshot.to_owned()).await?;
        match made {
            SnapshotLayer::Empty => return Ok(None),
            SnapshotLayer::Stored(descriptor) => return new_layer(*descriptor),
            SnapshotLayer::Unknown => {}
        }
        let right = store.snapshot_mounts(context.clone(), snapshotter.clone(), snapshot.to_owned()).await?;
        let chain = parent.map(|parent| parent.of.chain.clone()).unwrap_or_default();
        let view = format!("diff-{}", crate::names::id());
        let left: Vec<Mount> = if chain.is_empty() {
            Vec::new()
        } else {
            let request = SnapshotRequest {
                snapshotter: snapshotter.clone(),
                key: view.clone(),
                parent: chain,
                labels: Labels::new(),
            };
            store.snapshot_view(context.clone(), request).await?
        };
        let has_view = !left.is_empty();
        let made =
            store.diff_create(context.clone(), DiffRequest { left, right, ..DiffRequest::default() }).await;
        if has_view && let Err(error) = store.snapshot_remove(context.clone(), snapshotter, view).await {
            tracing::warn!(%error, "a view stays until its lease ends");
        }
        new_layer(made?)
    }

    /// Unpacks an image that was made here: the next step of a build begins with it.
    async fn unpack_made(&self, context: &Context, target: &Descriptor, platform: Platform) -> Result<()> {
        let unpack = Unpack { snapshotter: self.snapshotter().to_owned(), platform: Matcher(vec![platform]) };
        match self.shared.store.unpack(context.clone(), target.clone(), unpack, Reporter::default()).await {
            // Without layers there is nothing to unpack.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => Ok(result?),
        }
    }

    /// Makes an image of a container as it is.
    ///
    /// # Errors
    /// Conflict for a container that is being removed, and where its image is not here any more; Invalid for changes.
    pub async fn container_commit(
        &self,
        container: &Arc<Container>,
        request: CommitRequest,
    ) -> Result<Digest> {
        container.require_own()?;
        let record = container.record();
        if matches!(record.state.status, Status::Removing | Status::Dead) {
            let text = format!(
                "You cannot commit container {} which is {}",
                record.id,
                record.state.status.as_str()
            );
            return Err(Error::Conflict(text));
        }
        let parent = self.image_of(&record.image).await?;
        let config = commit_settings(&record, &parent.document.config, &request)?;
        let history = HistoryEntry {
            created_by: record.process.cmd.join(" "),
            comment: request.message.clone(),
            ..HistoryEntry::default()
        };
        let image = ConfigRequest {
            config,
            history,
            author: request.author.clone(),
            platform: None,
            reference: request.reference.clone(),
        };
        let pauses = record.state.status == Status::Running && !request.without_pause;
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned("committing a container", async move {
            let lease = engine.lease().await?;
            let pauses = pauses && engine.freeze_if_running(&container).await?;
            let layer = engine.layer_of(&lease.context, &container.id, Some(&parent)).await;
            if pauses
                && let Err(error) = engine.container_unpause(&container).await
            {
                tracing::warn!(container = %container.id, %error, "a container stays paused after its commit");
            }
            let reference = image.reference.clone();
            let digest = engine.make_image(&lease.context, Some(&parent), layer?, image).await?;
            lease.end().await;
            let mut event = crate::container::event_of(&container.record(), "commit");
            event.attributes.insert("comment".to_owned(), request.message);
            event.attributes.insert("imageID".to_owned(), digest.to_string());
            let reference = reference.map(|reference| reference.familiar()).unwrap_or_default();
            event.attributes.insert("imageRef".to_owned(), reference);
            engine.announce(&event).await;
            Ok(digest)
        })
        .await
    }

    /// The image that a container was made of.
    ///
    /// # Errors
    /// Conflict if it is not here any more.
    pub async fn image_of(&self, of: &ImageOf) -> Result<FoundImage> {
        let gone = || {
            let text =
                format!("the image {} of the container is not here any more: pull it again", of.reference);
            Error::Conflict(text)
        };
        let target = of.target.as_ref().ok_or_else(gone)?;
        let image = self.names_of(target).await?.into_iter().next().ok_or_else(gone)?;
        let platform: Option<Platform> = of.platform.parse().ok();
        let found = self.image_documents(&of.reference, image, platform.as_ref()).await;
        found.map_err(|error| if error.kind() == ErrorKind::NotFound { gone() } else { error })
    }
}

/// A layer with its diff id; None for one without entries.
fn new_layer(descriptor: Descriptor) -> Result<Option<NewLayer>> {
    let diff = descriptor.annotations.get(labels::UNCOMPRESSED).and_then(|digest| Digest::parse(digest).ok());
    let diff = DiffId(diff.ok_or(Error::Panicked("making a layer"))?);
    Ok((diff.0.as_str() != EMPTY_TAR).then_some(NewLayer { descriptor, diff }))
}

/// What the image of a container says: what is asked for, else what the container does.
fn commit_settings(record: &Record, image: &ImageSettings, request: &CommitRequest) -> Result<ImageSettings> {
    let process = &record.process;
    let mut made = request.config.clone();
    let given = made.env.clone();
    // The container's come first, so that changes can build on them.
    let is_given = |entry: &&String| {
        let key = entry.split('=').next();
        given.iter().any(|other| other.split('=').next() == key)
    };
    made.env = process.env.iter().filter(|entry| !is_given(entry)).chain(&given).cloned().collect();
    Change::apply(&request.changes, &mut made)?;
    let or = |own: String, other: &str| if own.is_empty() { other.to_owned() } else { own };
    made.user = or(made.user, &process.user);
    made.working_dir = or(made.working_dir, &process.working_dir);
    made.stop_signal = or(made.stop_signal, &process.stop_signal);
    if made.entrypoint.is_empty() {
        if made.cmd.is_empty() {
            made.cmd.clone_from(&process.cmd);
        }
        made.entrypoint.clone_from(&process.entrypoint);
    }
    made.exposed_ports.extend(process.exposed.iter().map(|port| (port.clone(), Empty {})));
    made.volumes.extend(process.volumes.iter().map(|path| (path.clone(), Empty {})));
    for (key, value) in &record.labels {
        made.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    made.healthcheck = made.healthcheck.or_else(|| process.health.as_ref().map(Healthcheck::from));
    if made.shell.is_empty() {
        made.shell.clone_from(&image.shell);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Command, State};

    fn record() -> Record {
        Record {
            id: "0".repeat(64),
            name: "name".into(),
            created: Timestamp::UNIX_EPOCH,
            image: ImageOf::default(),
            options: crate::Options::default(),
            process: Command {
                entrypoint: vec!["/e".into()],
                cmd: vec!["/c".into()],
                env: vec!["A=1".into(), "B=2".into()],
                working_dir: "/w".into(),
                exposed: vec!["80/tcp".into()],
                ..Command::default()
            },
            mounts: Vec::new(),
            state: State::default(),
            endpoint: None,
            userns: None,
            restart_count: 0,
            log_path: None,
            labels: [("k".to_owned(), "v".to_owned())].into(),
        }
    }

    #[test]
    fn what_is_not_asked_for_is_the_containers() {
        let request = CommitRequest::default();
        let made = commit_settings(&record(), &ImageSettings::default(), &request).unwrap();
        assert_eq!((made.entrypoint, made.cmd), (vec!["/e".to_owned()], vec!["/c".to_owned()]));
        assert_eq!(made.env, ["A=1", "B=2"]);
        assert_eq!((made.working_dir.as_str(), made.labels["k"].as_str()), ("/w", "v"));
        assert!(made.exposed_ports.contains_key("80/tcp"));
    }

    #[test]
    fn changes_go_before_the_container() {
        let changes = ["CMD [\"/x\"]", "ENV A=$A$B", "LABEL k=w"].map(str::to_owned);
        let request = CommitRequest { changes: Change::parse(&changes).unwrap(), ..CommitRequest::default() };
        let made = commit_settings(&record(), &ImageSettings::default(), &request).unwrap();
        assert_eq!((made.entrypoint, made.cmd), (vec!["/e".to_owned()], vec!["/x".to_owned()]));
        assert_eq!(made.env, ["B=2", "A=12"]);
        assert_eq!(made.labels["k"], "w");
        let changes = ["ENTRYPOINT [\"/y\"]".to_owned()];
        let request = CommitRequest { changes: Change::parse(&changes).unwrap(), ..CommitRequest::default() };
        let made = commit_settings(&record(), &ImageSettings::default(), &request).unwrap();
        assert_eq!((made.entrypoint, made.cmd), (vec!["/y".to_owned()], Vec::<String>::new()));
    }
}
