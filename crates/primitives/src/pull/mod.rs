//! Pulling: from a name in a registry to a name in the store, and to snapshots that can be run.
//!
//! ```text
//!   resolve ──► documents ──► layers, all at once ──► commits in order ──► the image's name
//!               (graph)       fetch ─► store ─► inflate ─► files           (after its bytes are durable)
//!                             one flight a layer, whoever wants it
//! ```
//! Everything that a pull creates belongs to a lease until its name is there. What was stored of a pull that ended early
//! stays, and is where the next one goes on.

mod commit;
mod graph;
mod layer;
pub(crate) mod pipeline;

use std::collections::HashMap;
use std::sync::Arc;

use gantry_metadata::{Holder, Image, leases};
use gantry_registry::{Credentials, Hosts, Repository, Target};
use gantry_types::platform::Matcher;
use gantry_types::{Descriptor, Digest, Labels, Reference, labels};
use tokio::sync::Semaphore;

use crate::failpoint::hit;
use crate::progress::{Reporter, Stage};
use crate::spans::{span, within};
use crate::{Context, Error, Result, Store};

pub use commit::Adoption;
pub(crate) use commit::ChainLocks;
use graph::{Graph, ImagePlan};
pub(crate) use layer::{LayerDone, LayerKey};

/// Marks the leases of transfers, which do not outlive the daemon.
pub(crate) const TRANSFER_LABEL: &str = "io.gantry/transfer";
/// How long the lease of a transfer lasts if the daemon dies with it.
const LEASE_SECONDS: i64 = 24 * 3600;

/// How much is done at the same time, in all pulls together.
#[derive(Debug, Clone, Copy)]
pub struct Concurrency {
    /// Layers that are fetched, with or without being unpacked.
    pub layers: usize,
    /// Layers that are unpacked.
    pub unpacks: usize,
}

impl Default for Concurrency {
    /// Six layers are what most images have, and each holds a few MiB of buffers. As many are unpacked as there are processors:
    /// the largest ones first, which then have them to themselves.
    fn default() -> Self {
        Self { layers: 6, unpacks: std::thread::available_parallelism().map_or(2, usize::from) }
    }
}

impl Concurrency {
    pub(crate) fn permits(self) -> Permits {
        let permits = |count: usize| Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        Permits { layers: permits(self.layers), unpacks: permits(self.unpacks) }
    }
}

/// The right to do some of it.
pub(crate) struct Permits {
    pub(crate) layers: Arc<Semaphore>,
    pub(crate) unpacks: Arc<Semaphore>,
}

/// Which manifests of an index are fetched, within or beside those of the wanted platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breadth {
    /// Also those of other platforms, with their configurations and without their layers.
    pub all_metadata: bool,
    /// The most of one index, the preferred ones first; 0 for all.
    pub manifest_limit: usize,
}

/// Where an image is unpacked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpack {
    /// The snapshotter; empty for the usual one.
    pub snapshotter: String,
    /// Which of the image's platforms.
    pub platform: Matcher,
}

/// How registries are reached.
#[derive(Clone)]
pub struct Access {
    /// Mirrors and the like.
    pub hosts: Arc<dyn Hosts>,
    /// What opens them.
    pub credentials: Arc<dyn Credentials>,
}

/// What is pulled.
#[derive(Clone)]
pub struct PullRequest {
    /// Where from.
    pub reference: Reference,
    /// The names that it gets.
    pub names: Vec<String>,
    /// The labels that they get.
    pub labels: Labels,
    /// Which platforms of an index are fetched; none means all.
    pub platforms: Matcher,
    /// What else of an index is fetched, or less.
    pub breadth: Breadth,
    /// Where it is unpacked to.
    pub unpack: Vec<Unpack>,
    /// Who will hold the names, where they are shared.
    pub holder: Holder,
    /// How the registry is reached.
    pub access: Access,
    /// Who is told how it goes.
    pub reporter: Reporter,
}

/// What becomes of content that arrives, wherever it comes from.
#[derive(Clone)]
pub(crate) struct Arrival {
    /// What it is called in errors.
    pub(crate) origin: String,
    pub(crate) names: Vec<String>,
    pub(crate) labels: Labels,
    pub(crate) platforms: Matcher,
    pub(crate) breadth: Breadth,
    pub(crate) unpack: Vec<Unpack>,
    pub(crate) holder: Holder,
    pub(crate) reporter: Reporter,
    /// The registry and the repository that it comes from.
    pub(crate) source: Option<(String, String)>,
}

/// What was pulled.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// What the names name.
    pub target: Descriptor,
    /// The names.
    pub images: Vec<Image>,
}

impl Store {
    /// Pulls an image or an artifact.
    ///
    /// # Errors
    /// NotFound if the registry lacks it or has it for no wanted platform; Unauthenticated and PermissionDenied; Unavailable
    /// for a registry that does not answer; FailedPrecondition for content that is not what its digest says;
    /// ResourceExhausted for limits and full disks.
    ///
    /// # Cancel safety
    /// When it is dropped, it ends; its bytes stay for the next try.
    pub async fn pull(&self, context: Context, request: PullRequest) -> Result<Pulled> {
        let span = span!(
            "pull",
            image.ref = %request.reference,
            containerd.namespace = %context.namespace,
        );
        within(span, self.pull_image(context, request)).await
    }

    async fn pull_image(&self, context: Context, request: PullRequest) -> Result<Pulled> {
        let reporter = request.reporter.clone();
        let name = request.reference.to_string();
        reporter.step(Stage::Begun, &name);
        reporter.step(Stage::Resolving, &name);
        let access = &request.access;
        let repository = self.inner.registry.repository(
            &request.reference,
            Arc::clone(&access.hosts),
            Arc::clone(&access.credentials),
        );
        let target = within(span!("resolve"), resolve(&repository, &request.reference)).await?;
        reporter.content(Stage::Resolved, &target, None, 0);
        hit("pull.resolved");
        let lease = self.transfer_lease(&context).await?;
        hit("pull.leased");
        let leased = lease.context.clone();
        let arrival = Arrival {
            source: Some((request.reference.host().to_owned(), request.reference.repository().to_owned())),
            origin: name.clone(),
            names: request.names,
            labels: request.labels,
            platforms: request.platforms,
            breadth: request.breadth,
            unpack: request.unpack,
            holder: request.holder,
            reporter: request.reporter,
        };
        let result = self.arrive(&leased, Some(&repository), target, &arrival).await;
        // Also after an error: what nobody else keeps goes, but for the bytes of interrupted layers.
        lease.end().await;
        hit("pull.ended");
        if result.is_ok() {
            reporter.step(Stage::Done, &name);
        }
        result
    }

    /// Unpacks what the namespace has.
    ///
    /// # Errors
    /// NotFound for content that is not there, or for no image that suits; else as of [`pull`](Self::pull).
    pub async fn unpack(
        &self,
        context: Context,
        target: Descriptor,
        unpack: Unpack,
        reporter: Reporter,
    ) -> Result<()> {
        let lease = self.transfer_lease(&context).await?;
        let arrival = Arrival {
            origin: target.digest.to_string(),
            names: Vec::new(),
            labels: Labels::new(),
            platforms: unpack.platform.clone(),
            breadth: Breadth::default(),
            unpack: vec![unpack],
            holder: Holder::Containerd(context.namespace.clone()),
            reporter,
            source: None,
        };
        let leased = lease.context.clone();
        let span = span!("unpack", image.digest = %target.digest);
        let result = within(span, self.arrive(&leased, None, target, &arrival)).await;
        lease.end().await;
        result.map(drop)
    }

    /// Brings everything below `target` into the store, from the registry or from what is there, unpacks it and names it.
    pub(crate) async fn arrive(
        &self,
        context: &Context,
        repository: Option<&Repository>,
        target: Descriptor,
        arrival: &Arrival,
    ) -> Result<Pulled> {
        let fetcher = graph::Fetcher {
            store: self.clone(),
            context: context.clone(),
            repository: repository.cloned(),
            platforms: arrival.platforms.clone(),
            breadth: arrival.breadth,
            source: arrival.source.clone(),
            reporter: arrival.reporter.clone(),
        };
        let graph = fetcher.documents(&target).await?;
        self.layers(context, repository, &graph, arrival, &fetcher).await?;
        let mut images = Vec::new();
        for name in &arrival.names {
            let image = Image::new(name.clone(), target.clone(), arrival.labels.clone());
            images.push(self.image_put(context.clone(), arrival.holder.clone(), image).await?);
            hit("image.named");
            arrival.reporter.step(Stage::Saved, name);
        }
        Ok(Pulled { target, images })
    }

    /// Fetches all layers and other blobs of a graph, and unpacks what is to be unpacked.
    async fn layers(
        &self,
        context: &Context,
        repository: Option<&Repository>,
        graph: &Graph,
        arrival: &Arrival,
        fetcher: &graph::Fetcher,
    ) -> Result<()> {
        let unpacks = self.plan_unpacks(context, graph, arrival).await?;
        let mut wanted: HashMap<LayerKey, Descriptor> = HashMap::new();
        for unpack in &unpacks {
            for (key, descriptor) in unpack.missing(&self.inner)? {
                wanted.entry(key).or_insert(descriptor);
            }
        }
        // What is not unpacked is fetched all the same, for pushes and exports; but not what another program fetches.
        let is_remote =
            |manifest: &Digest, place| unpacks.iter().any(|unpack| unpack.is_remote(manifest, place));
        for blob in graph.blobs(is_remote) {
            if !wanted.keys().any(|key| key.digest == blob.digest) {
                wanted.insert(LayerKey::stored(&blob.digest), blob.clone());
            }
        }
        let mut order: Vec<(LayerKey, Descriptor)> = wanted.into_iter().collect();
        // The largest first: the last one to end should be a small one.
        order.sort_by_key(|(key, descriptor)| (std::cmp::Reverse(descriptor.size), key.digest.clone()));
        let mut flights = layer::Started::default();
        for (key, descriptor) in order {
            let parent = graph.parent_of(&descriptor.digest);
            arrival.reporter.content(Stage::Waiting, &descriptor, parent.as_deref(), 0);
            let flight = self.layer_flight(repository, &key, &descriptor, &arrival.reporter);
            flights.add(key, descriptor, flight);
        }
        let recorded = flights.record_all(self, context, fetcher);
        let committed = async {
            for unpack in &unpacks {
                unpack.commit(self, context, &flights, &arrival.reporter).await?;
            }
            Ok(())
        };
        tokio::try_join!(recorded, committed)?;
        Ok(())
    }

    /// Which images of the graph go to which snapshotter.
    async fn plan_unpacks(
        &self,
        context: &Context,
        graph: &Graph,
        arrival: &Arrival,
    ) -> Result<Vec<commit::UnpackPlan>> {
        let mut plans = Vec::new();
        for unpack in &arrival.unpack {
            let suits = |image: &&ImagePlan| {
                image.is_runnable() && unpack.platform.rank(Some(&image.platform)).is_some()
            };
            let best = graph
                .images
                .iter()
                .filter(suits)
                .min_by_key(|image| unpack.platform.rank(Some(&image.platform)));
            // An artifact has nothing to unpack, and is whole without.
            if !graph.images.iter().any(|image| image.is_runnable() || image.is_partial) {
                continue;
            }
            let Some(image) = best else {
                let name = &arrival.origin;
                let wanted: Vec<String> = unpack.platform.0.iter().map(ToString::to_string).collect();
                let reason = format!("has no image for {}", wanted.join(", "));
                return Err(Error::NotFound {
                    what: "image to unpack",
                    name: format!("{name}, which {reason}"),
                });
            };
            let (snapshotter, image, context) = (unpack.snapshotter.clone(), image.clone(), context.clone());
            // What comes from elsewhere is here already.
            let remote = arrival.source.as_ref().map(|_| arrival.origin.clone());
            let plan = self.blocking(move |inner| {
                commit::UnpackPlan::new(inner, &context, &snapshotter, &image, remote.as_deref())
            });
            plans.push(plan.await?);
        }
        Ok(plans)
    }

    /// A lease for one transfer: the request's own, or one that ends with it.
    pub(crate) async fn transfer_lease(&self, context: &Context) -> Result<TransferLease> {
        if context.lease.is_some() {
            return Ok(TransferLease { store: self.clone(), context: context.clone(), owned: false });
        }
        let id = transfer_id();
        let expires = gantry_metadata::Timestamp::now()
            .checked_add(jiff::SignedDuration::from_secs(LEASE_SECONDS))
            .unwrap_or(gantry_metadata::Timestamp::MAX);
        let marks = [(labels::GC_EXPIRE, expires.to_string()), (TRANSFER_LABEL, "true".to_owned())];
        let labels: Labels = marks.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let (store, context) = (self.clone(), context.with_lease(id.clone()));
        self.blocking(move |inner| {
            let namespace = context.namespace.clone();
            inner.write(move |change| {
                leases::create(change, &namespace, &id, &labels)?;
                Ok(())
            })?;
            // Made here, so that the lease ends also if nobody waits for it any more.
            Ok(TransferLease { store, context, owned: true })
        })
        .await
    }
}

/// A name that no other transfer has.
fn transfer_id() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = gantry_metadata::Timestamp::now().as_nanosecond();
    format!("transfer-{now:x}-{:x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Keeps what a transfer creates. Dropping it ends the lease in the background.
pub(crate) struct TransferLease {
    store: Store,
    pub(crate) context: Context,
    owned: bool,
}

impl TransferLease {
    /// Ends the lease, and waits for that.
    pub(crate) async fn end(mut self) {
        if let Some(deletion) = self.deletion()
            && let Err(error) = tokio::task::spawn_blocking(deletion).await.unwrap_or(Ok(()))
        {
            tracing::warn!(error = crate::error::chain(&error), "a transfer's lease stays until it expires");
        }
    }

    fn deletion(&mut self) -> Option<impl FnOnce() -> Result<()> + Send + use<>> {
        let id = self.context.lease.clone().filter(|_| std::mem::take(&mut self.owned))?;
        let (inner, namespace) = (Arc::clone(&self.store.inner), self.context.namespace.clone());
        Some(move || inner.write(move |change| Ok(leases::delete(change, &namespace, &id)?)))
    }
}

impl Drop for TransferLease {
    fn drop(&mut self) {
        if let Some(deletion) = self.deletion()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(deletion);
        }
    }
}

/// What the reference is now: its digest if it has one, else its tag.
async fn resolve(repository: &Repository, reference: &Reference) -> Result<Descriptor> {
    let target = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Target::Digest(digest.clone()),
        (None, Some(tag)) => Target::Tag(tag.to_owned()),
        (None, None) => {
            let reason = format!("{reference} needs a tag or a digest");
            return Err(Error::Invalid { what: "image reference", reason });
        }
    };
    Ok(repository.resolve(&target).await?)
}
