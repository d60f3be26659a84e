//! Unpacked layers become snapshots, the lowest first.

mod adopt;

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use gantry_metadata::{Resource, leases, snapshots};
use gantry_snapshot::{Driver, Kind, SnapshotNumber};
use gantry_types::{ChainId, Descriptor, DiffId, Digest, ErrorKind, Labels, labels};

use super::graph::ImagePlan;
use super::layer::{Files, LayerKey, Started};
use crate::failpoint::hit;
use crate::progress::{Reporter, Stage};
use crate::snapshots::{RemoteLayer, SnapshotRequest};
use crate::spans::{blob_span, blocking_within, span};
use crate::store::Inner;
use crate::{Context, Error, Result, Store};

pub use adopt::Adoption;

/// What of an image is to be unpacked for a snapshotter.
pub(crate) struct UnpackPlan {
    driver: Arc<dyn Driver>,
    image: ImagePlan,
    chain: Vec<ChainId>,
    /// How many layers, from the lowest on, are snapshots already.
    present: usize,
    /// Those of them that a foreign snapshotter got by itself.
    remote: HashSet<usize>,
}

impl UnpackPlan {
    /// Looks at what is there already. Blocks.
    pub(crate) fn new(
        inner: &Inner,
        context: &Context,
        snapshotter: &str,
        image: &ImagePlan,
        remote: Option<&str>,
    ) -> Result<Self> {
        let driver = Arc::clone(inner.driver(snapshotter)?);
        let chain = image.chain()?;
        let mut plan = Self { driver, image: image.clone(), chain, present: 0, remote: HashSet::new() };
        // The uppermost tells of all below.
        for place in (0..plan.chain.len()).rev() {
            if inner.hold_chain(context, plan.driver.name(), &plan.chain[place])? {
                plan.present = place + 1;
                break;
            }
        }
        if inner.is_foreign(plan.driver.name()) {
            if let Some(name) = remote {
                plan.ask(inner, context, name)?;
            }
            for place in 0..plan.present {
                if inner.is_remote(context, plan.driver.name(), plan.chain[place].as_str())? {
                    plan.remote.insert(place);
                }
            }
        }
        Ok(plan)
    }

    /// Asks a foreign snapshotter for the layers that it may have, or get, by itself, up to the first that it has not.
    fn ask(&mut self, inner: &Inner, context: &Context, image: &str) -> Result<()> {
        let digests: Vec<&str> = self.image.layers.iter().map(|layer| layer.digest.as_str()).collect();
        for (place, layer) in self.image.layers.iter().enumerate().skip(self.present) {
            let step = self.step(place, layer);
            let _guard = inner.chains.lock(self.driver.name(), &step.chain);
            if !inner.hold_chain(context, self.driver.name(), &step.chain)? {
                let layer = RemoteLayer {
                    image,
                    manifest: self.image.manifest.as_str(),
                    layers: &digests[place..],
                    diff: step.diff.0.as_str(),
                    chain: step.chain.as_str(),
                };
                let request = SnapshotRequest {
                    snapshotter: self.driver.name().to_owned(),
                    key: extraction_key(inner.next_number(), &step.chain),
                    parent: step.parent.as_ref().map(ChainId::to_string).unwrap_or_default(),
                    labels: layer.labels(),
                };
                if !inner.ask_remote(context, &self.driver, &request)? {
                    return Ok(());
                }
            }
            self.present = place + 1;
        }
        Ok(())
    }

    /// Whether a layer of the image with that manifest is the business of a foreign snapshotter.
    pub(crate) fn is_remote(&self, manifest: &Digest, place: usize) -> bool {
        self.image.manifest == *manifest && self.remote.contains(&place)
    }

    /// The layers that have to be unpacked on their way; none where that has to be done in turn.
    pub(crate) fn missing(&self, inner: &Inner) -> Result<Vec<(LayerKey, Descriptor)>> {
        if !inner.driver(self.driver.name())?.capabilities().rebase {
            return Ok(Vec::new());
        }
        let layers = self.image.layers.iter().enumerate().skip(self.present);
        Ok(layers.map(|(place, layer)| (self.key(place, layer), layer.clone())).collect())
    }

    fn key(&self, place: usize, layer: &Descriptor) -> LayerKey {
        LayerKey::unpacked(&layer.digest, self.driver.name(), place == 0)
    }

    /// Makes the snapshots in order, as soon as each layer is there.
    pub(crate) async fn commit(
        &self,
        store: &Store,
        context: &Context,
        started: &Started,
        reporter: &Reporter,
    ) -> Result<()> {
        for (place, layer) in self.image.layers.iter().enumerate() {
            if place >= self.present {
                let key = if self.driver.capabilities().rebase {
                    self.key(place, layer)
                } else {
                    LayerKey::stored(&layer.digest)
                };
                let done = started.get(&key).await?;
                reporter.content(Stage::Extracting, layer, None, layer.size);
                let step = self.step(place, layer);
                let context = context.clone();
                let inner = Arc::clone(&store.inner);
                let files = done.as_ref().and_then(|done| done.take_files());
                let span = span!("commit", snapshotter = self.driver.name(), chain_id = %self.chain[place]);
                let work = move || blocking_within(&span, || inner.commit_layer(&context, step, files));
                tokio::task::spawn_blocking(work)
                    .await
                    .map_err(|_| Error::panicked("committing a layer"))??;
                drop(done);
            }
            reporter.content(Stage::Extracted, layer, None, layer.size);
        }
        let (context, driver) = (context.clone(), self.driver.name().to_owned());
        let (config, top) = (self.image.config.clone(), self.chain.last().cloned());
        store.blocking(move |inner| inner.finish_unpack(&context, &driver, &config, top.as_ref())).await
    }

    fn step(&self, place: usize, layer: &Descriptor) -> Step {
        let diffs =
            self.image.document.as_ref().map(|config| config.rootfs.diff_ids.as_slice()).unwrap_or_default();
        Step {
            driver: Arc::clone(&self.driver),
            layer: layer.clone(),
            diff: diffs[place].clone(),
            chain: self.chain[place].clone(),
            parent: place.checked_sub(1).map(|below| self.chain[below].clone()),
        }
    }
}

/// One layer that becomes a snapshot.
pub(crate) struct Step {
    driver: Arc<dyn Driver>,
    layer: Descriptor,
    diff: DiffId,
    chain: ChainId,
    parent: Option<ChainId>,
}

/// Chains that somebody commits: who comes second finds the snapshot.
#[derive(Default)]
pub(crate) struct ChainLocks {
    held: Mutex<HashSet<(String, ChainId)>>,
    freed: Condvar,
}

struct ChainGuard<'a>(&'a ChainLocks, (String, ChainId));

impl ChainLocks {
    fn lock(&self, driver: &str, chain: &ChainId) -> ChainGuard<'_> {
        let key = (driver.to_owned(), chain.clone());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while !held.insert(key.clone()) {
            held = self.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        ChainGuard(self, key)
    }
}

impl Drop for ChainGuard<'_> {
    fn drop(&mut self) {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
        self.0.freed.notify_all();
    }
}

impl Inner {
    /// Whether the namespace has the snapshot of a chain; the shared one is given to it. The lease of the request keeps it
    /// from then on, so that no collection takes it from below who builds on it.
    fn hold_chain(&self, context: &Context, driver: &str, chain: &ChainId) -> Result<bool> {
        let (context, driver, chain) = (context.clone(), driver.to_owned(), chain.clone());
        self.write(move |change| {
            let (namespace, lease) = (&context.namespace, context.lease.as_deref());
            if snapshots::find_chain(change, &driver, &chain)?.is_some() {
                match snapshots::share(change, namespace, &driver, &chain, &Labels::new(), lease) {
                    // The name is that of a snapshot of its own.
                    Err(error) if error.kind() == ErrorKind::FailedPrecondition => {}
                    result => return Ok(result.map(|_| true)?),
                }
            }
            match snapshots::get(change, namespace, &driver, chain.as_str()) {
                Ok(found) if found.kind == gantry_metadata::SnapshotKind::Committed => {}
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            if let Some(lease) = lease {
                let resource = Resource::Snapshot { driver, key: chain.to_string() };
                leases::add(change, namespace, lease, &resource)?;
            }
            Ok(true)
        })
    }

    /// Makes a snapshot of a layer, whose files are there if it was unpacked on its way. Blocks.
    pub(crate) fn commit_layer(
        self: &Arc<Self>,
        context: &Context,
        step: Step,
        files: Option<Files>,
    ) -> Result<()> {
        let driver = step.driver.name();
        let _guard = self.chains.lock(driver, &step.chain);
        if !self.hold_chain(context, driver, &step.chain)? {
            let files = match files {
                Some(files) => Some(files),
                // Another image took them, on top of something else.
                None if step.driver.capabilities().rebase => {
                    let unpack = || self.unpack_blob(driver, step.parent.is_none(), &step.layer.digest);
                    Some(blocking_within(&blob_span!("apply", step.layer), unpack)?)
                }
                None => None,
            };
            match files {
                Some(files) => self.commit_files(context, &step, files)?,
                None => self.unpack_in_turn(context, &step)?,
            }
        }
        let with = Labels::from([(labels::UNCOMPRESSED.to_owned(), step.diff.to_string())]);
        let _pin = self.database.pin(&step.layer.digest);
        self.record_content(context, &step.layer, &with)
    }

    fn check_diff(step: &Step, found: &DiffId) -> Result<()> {
        if *found == step.diff {
            return Ok(());
        }
        Err(Error::Mismatch {
            what: format!("the diff id of layer {}", step.layer.digest),
            found: found.to_string(),
            expected: step.diff.to_string(),
        })
    }

    fn commit_files(&self, context: &Context, step: &Step, files: Files) -> Result<()> {
        Self::check_diff(step, &files.unpacked.diff_id)?;
        let driver = step.driver.as_ref();
        let parent = step.parent.as_ref().map(|parent| parent.as_str().to_owned()).unwrap_or_default();
        let below = self.stack_on(&context.namespace, driver.name(), &parent)?;
        self.rebase(driver, files.number, &below, &files.unpacked.applied.implied)?;
        hit("commit.rebased");
        let usage = driver.commit(files.number, &below)?;
        hit("commit.counted");
        self.record_chain(context, step, files.number, usage, None)?;
        hit("commit.recorded");
        files.keep();
        Ok(())
    }

    /// Records a directory as the snapshot of its chain.
    fn record_chain(
        &self,
        context: &Context,
        step: &Step,
        number: SnapshotNumber,
        usage: gantry_snapshot::Usage,
        prepared: Option<String>,
    ) -> Result<()> {
        let (context, driver) = (context.clone(), step.driver.name().to_owned());
        let (chain, parent) = (step.chain.clone(), step.parent.clone());
        self.write(move |change| {
            let empty = Labels::new();
            let (namespace, lease) = (&context.namespace, context.lease.as_deref());
            let parent = parent.as_ref().map(ChainId::as_str);
            let key = match prepared {
                Some(key) => key,
                None => {
                    let key = extraction_key(number, &chain);
                    let new = snapshots::Creation {
                        driver: &driver,
                        key: &key,
                        parent,
                        labels: &empty,
                        number: Some(number.0),
                        lease,
                    };
                    snapshots::prepare(change, namespace, &new)?;
                    key
                }
            };
            let commit = snapshots::Commit {
                driver: &driver,
                key: &key,
                name: chain.as_str(),
                parent,
                labels: &empty,
                usage: gantry_metadata::Usage { size: usage.size, inodes: usage.inodes },
                chain: Some(&chain),
                lease,
            };
            snapshots::commit(change, namespace, &commit)?;
            Ok(())
        })
    }

    /// For a snapshotter that cannot rebase: prepares on the parent, applies the stored layer, commits.
    fn unpack_in_turn(self: &Arc<Self>, context: &Context, step: &Step) -> Result<()> {
        let number = self.next_number();
        let request = SnapshotRequest {
            snapshotter: step.driver.name().to_owned(),
            key: extraction_key(number, &step.chain),
            parent: step.parent.as_ref().map(|parent| parent.as_str().to_owned()).unwrap_or_default(),
            labels: Labels::new(),
        };
        let (number, _) = self.make_snapshot(context, &request, Kind::Active)?;
        let unpacked = self.apply_in_turn(context, step, &request, number);
        if unpacked.is_err() {
            let (context, driver, key) = (context.clone(), request.snapshotter.clone(), request.key.clone());
            let removed = self.write(move |change| {
                let lease = context.lease.as_deref();
                snapshots::remove(change, &context.namespace, &driver, &key, lease)?;
                Ok(())
            });
            if let Err(error) = removed {
                tracing::warn!(
                    error = crate::error::chain(&error),
                    "a half unpacked layer stays until it is collected"
                );
            }
        }
        unpacked
    }

    fn apply_in_turn(
        self: &Arc<Self>,
        context: &Context,
        step: &Step,
        request: &SnapshotRequest,
        number: SnapshotNumber,
    ) -> Result<()> {
        let driver = step.driver.as_ref();
        let below = self.stack_on(&context.namespace, driver.name(), &request.parent)?;
        let target = driver.layers(number, &below)?;
        let blob = self.content.open_blob(&step.layer.digest)?;
        let span = blob_span!("apply", step.layer);
        let applied = blocking_within(&span, || self.apply_blob(&blob, &target))?;
        Self::check_diff(step, &applied.diff_id)?;
        let usage = driver.commit(number, &below)?;
        self.record_chain(context, step, number, usage, Some(request.key.clone()))
    }

    /// Has the image's configuration keep its snapshots.
    fn finish_unpack(
        &self,
        context: &Context,
        driver: &str,
        config: &Descriptor,
        top: Option<&ChainId>,
    ) -> Result<()> {
        let Some(top) = top else { return Ok(()) };
        let key = format!("{}.{driver}", labels::GC_REF_SNAPSHOT);
        self.record_content(context, config, &Labels::from([(key, top.to_string())]))?;
        hit("unpack.finished");
        Ok(())
    }
}

/// The name of a snapshot that is being unpacked, in containerd's form.
fn extraction_key(number: SnapshotNumber, chain: &ChainId) -> String {
    snapshots::extraction_key(number.0, chain.as_str())
}
