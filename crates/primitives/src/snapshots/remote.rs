//! Layers that a foreign snapshotter has, or gets by itself: nothing is fetched or unpacked for them.
//!
//! ```text
//!   Prepare, label containerd.io/snapshot.ref ──► AlreadyExists   it has committed the layer under the name in the label
//!                                             └─► mounts          it has not: the layer is fetched and applied
//! ```
//! The name in the label is one of our keys, so that the snapshot is found by its number like any other.

use std::sync::Arc;

use gantry_metadata::{SnapshotKind, snapshots};
use gantry_snapshot::{Driver, Kind, Request, SnapshotNumber};
use gantry_types::{ErrorKind, Labels, labels};

use super::SnapshotRequest;
use crate::store::Inner;
use crate::{Context, Error, Result};

impl Inner {
    /// Whether `error` is the answer of a foreign snapshotter that has the layer `request` is to become.
    pub(super) fn has_remotely(
        &self,
        driver: &dyn Driver,
        request: &SnapshotRequest,
        error: &gantry_snapshot::Error,
    ) -> bool {
        error.kind() == ErrorKind::AlreadyExists
            && self.is_foreign(driver.name())
            && request.labels.contains_key(labels::SNAPSHOT_REF)
    }

    /// Asks a foreign snapshotter for the layer that the label `containerd.io/snapshot.ref` of `request` names. Whether it
    /// has it; then the namespace has its snapshot. Blocks.
    pub(crate) fn ask_remote(
        &self,
        context: &Context,
        driver: &Arc<dyn Driver>,
        request: &SnapshotRequest,
    ) -> Result<bool> {
        let parents = self.stack_on(&context.namespace, driver.name(), &request.parent)?;
        let number = self.next_number();
        let wanted = Request { kind: Kind::Active, labels: &request.labels, volatile: false };
        let _guard = self.snapshot_locks.lock(number);
        match driver.prepare(number, &parents, &wanted) {
            Ok(()) => {
                driver.remove(&[number])?;
                Ok(false)
            }
            Err(error) if self.has_remotely(driver.as_ref(), request, &error) => {
                self.adopt_remote(context, driver.as_ref(), request, number, &parents)?;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Records what a foreign snapshotter has committed by itself. It is never shared: nobody here has seen its bytes.
    pub(super) fn adopt_remote(
        &self,
        context: &Context,
        driver: &dyn Driver,
        request: &SnapshotRequest,
        number: SnapshotNumber,
        parents: &[SnapshotNumber],
    ) -> Result<()> {
        let Some(name) = request.labels.get(labels::SNAPSHOT_REF).cloned() else {
            return Err(Error::Invalid { what: "snapshot", reason: "has no name to come".to_owned() });
        };
        let usage = driver.commit(number, parents)?;
        let (context, request, snapshotter) = (context.clone(), request.clone(), driver.name().to_owned());
        let recorded = self.write(move |change| {
            let (namespace, lease) = (&context.namespace, context.lease.as_deref());
            let parent = Some(request.parent.as_str()).filter(|parent| !parent.is_empty());
            let new = snapshots::Creation {
                driver: &snapshotter,
                key: &request.key,
                parent,
                labels: &request.labels,
                number: Some(number.0),
                lease,
            };
            snapshots::prepare(change, namespace, &new)?;
            let commit = snapshots::Commit {
                driver: &snapshotter,
                key: &request.key,
                name: &name,
                parent,
                labels: &request.labels,
                usage: gantry_metadata::Usage { size: usage.size, inodes: usage.inodes },
                chain: None,
                lease,
            };
            snapshots::commit(change, namespace, &commit)?;
            Ok(())
        });
        if recorded.is_err()
            && let Err(left) = driver.remove(&[number])
        {
            tracing::warn!(number = number.0, error = %left, "a remote snapshot without a record stays until the next cleanup");
        }
        recorded
    }

    /// Whether a committed snapshot is one that a foreign snapshotter got by itself.
    pub(crate) fn is_remote(&self, context: &Context, driver: &str, name: &str) -> Result<bool> {
        match self.read(|view| Ok(snapshots::get(view, &context.namespace, driver, name)?)) {
            Ok(found) => {
                Ok(found.kind == SnapshotKind::Committed && found.labels.contains_key(labels::SNAPSHOT_REF))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The labels of a layer that a remote snapshotter may get by itself.
pub(crate) struct RemoteLayer<'a> {
    /// The image's name.
    pub(crate) image: &'a str,
    /// The digest of its manifest.
    pub(crate) manifest: &'a str,
    /// The digests of this layer and of those above it.
    pub(crate) layers: &'a [&'a str],
    /// The layer's diff id.
    pub(crate) diff: &'a str,
    /// The name that its snapshot gets.
    pub(crate) chain: &'a str,
}

/// The most bytes of a label, with its name (containerd's `labels.Validate`).
const MAX_LABEL_BYTES: usize = 4096;
const IMAGE_LAYERS: &str = "containerd.io/snapshot/cri.image-layers";

impl RemoteLayer<'_> {
    /// As containerd's unpacker and its pulls give them.
    pub(crate) fn labels(&self) -> Labels {
        let mut layers = String::new();
        for layer in self.layers {
            let comma = usize::from(!layers.is_empty());
            if IMAGE_LAYERS.len() + layers.len() + comma + layer.len() > MAX_LABEL_BYTES {
                break;
            }
            if comma > 0 {
                layers.push(',');
            }
            layers.push_str(layer);
        }
        let own = self.layers.first().copied().unwrap_or_default();
        let labels = [
            (labels::SNAPSHOT_REF, self.chain),
            ("containerd.io/snapshot/diff-id", self.diff),
            ("containerd.io/snapshot/cri.image-ref", self.image),
            ("containerd.io/snapshot/cri.manifest-digest", self.manifest),
            ("containerd.io/snapshot/cri.layer-digest", own),
            (IMAGE_LAYERS, layers.as_str()),
        ];
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gantry_e2e::images::samples;
    use gantry_e2e::{Access as Door, Registry};
    use gantry_metadata::Holder;
    use gantry_snapshot::{Local, MemoryRecords, Overlayfs};
    use gantry_testkit::{Need, require};
    use gantry_types::Reference;
    use gantry_types::platform::Matcher;

    use super::super::proxy::tests::served::Served;
    use super::*;
    use crate::access::TreeHosts;
    use crate::progress::Reporter;
    use crate::registry::Anonymous;
    use crate::{Access, Breadth, Options, ProxySnapshotter, PullRequest, Store, Unpack};

    const NAME: &str = "distant";

    fn pull_request(name: &str) -> PullRequest {
        PullRequest {
            reference: Reference::parse(name).unwrap(),
            names: vec![name.to_owned()],
            labels: Labels::new(),
            platforms: Matcher::host(),
            breadth: Breadth::default(),
            unpack: vec![Unpack { snapshotter: NAME.into(), platform: Matcher::host() }],
            holder: Holder::Containerd("test".parse().unwrap()),
            access: Access { hosts: Arc::new(TreeHosts::new(Vec::new())), credentials: Arc::new(Anonymous) },
            reporter: Reporter::default(),
        }
    }

    fn store(root: &Path, socket: &Path, capabilities: &[&str]) -> Store {
        let mut options = Options::new(root);
        options.proxies = vec![ProxySnapshotter {
            name: NAME.into(),
            socket: socket.to_owned(),
            capabilities: capabilities.iter().map(|&name| name.to_owned()).collect(),
        }];
        Store::open(options).unwrap()
    }

    /// The digests of the layers of the sample image, the lowest first.
    fn layers(store: &Store, context: &Context, manifest: &gantry_types::Descriptor) -> Vec<String> {
        let bytes = store.inner.document(context, manifest).unwrap();
        let manifest = gantry_types::image::Manifest::read(&bytes, &manifest.media_type).unwrap();
        manifest.layers.iter().map(|layer| layer.digest.to_string()).collect()
    }

    #[test]
    fn layers_that_a_remote_snapshotter_has_are_not_fetched() {
        require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
        let registry = Registry::shared(Door::Plain);
        registry.push(&samples().layout.name("busybox"), "remote/busybox:1");
        let name = registry.name("remote/busybox:1");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let context = Context::new("test".parse().unwrap());
        let whole = tempfile::tempdir().unwrap();
        let plain = Store::open(Options::new(whole.path())).unwrap();
        let mut wanted = pull_request(&name);
        wanted.unpack.clear();
        let pulled = runtime.block_on(plain.pull(context.clone(), wanted)).unwrap();
        let layers = layers(&plain, &context, &pulled.target);
        // All of them, the lowest alone, and none, with and without a snapshotter that rebases.
        for (count, capabilities) in [(2, &[][..]), (1, &[]), (0, &[]), (2, &["rebase"]), (1, &["rebase"])] {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("socket");
            let overlayfs = Overlayfs::open(&dir.path().join("there"), gantry_snapshot::Options::default());
            let peer = Served::new(Local::new(overlayfs.unwrap(), MemoryRecords::new()).unwrap())
                .with_remote_archives(layers[..count].to_vec());
            let asked = peer.asked();
            peer.listen(&runtime, &socket);
            let store = store(&dir.path().join("store"), &socket, capabilities);
            for _ in 0..2 {
                runtime.block_on(store.pull(context.clone(), pull_request(&name))).unwrap();
                let content = runtime.block_on(store.content_list(context.clone(), Vec::new())).unwrap();
                let stored: Vec<String> = content.iter().map(|one| one.digest.to_string()).collect();
                let fetched = layers.iter().map(|layer| stored.contains(layer)).collect::<Vec<_>>();
                assert_eq!(fetched, [count < 1, count < 2], "{count} {capabilities:?}");
            }
            let list =
                || runtime.block_on(store.snapshot_list(context.clone(), NAME.into(), Vec::new())).unwrap();
            let snapshots = list();
            assert_eq!(snapshots.len(), 2, "{snapshots:?}");
            assert!(snapshots.iter().all(|one| one.kind == SnapshotKind::Committed));
            let labels = asked.lock().unwrap()[0].clone();
            assert_eq!(labels["containerd.io/snapshot/cri.image-ref"], name);
            assert_eq!(labels[IMAGE_LAYERS], layers.join(","));
            let top = snapshots.iter().find(|one| one.parent.is_some()).unwrap();
            let request = SnapshotRequest {
                snapshotter: NAME.into(),
                key: "container".into(),
                parent: top.name.clone(),
                labels: Labels::new(),
            };
            assert_eq!(runtime.block_on(store.snapshot_prepare(context.clone(), request)).unwrap().len(), 1);
            // What is left of it goes with the name, also at the peer.
            let holder = Holder::Containerd("test".parse().unwrap());
            let gone = async {
                store.snapshot_remove(context.clone(), NAME.into(), "container".into()).await?;
                store.image_delete(context.clone(), holder, name.clone(), None, true).await
            };
            runtime.block_on(gone).unwrap();
            assert!(list().is_empty());
        }
    }

    #[test]
    fn a_client_that_asks_for_a_remote_layer_finds_its_snapshot() {
        require!(Need::Root);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let overlayfs =
            Overlayfs::open(&dir.path().join("there"), gantry_snapshot::Options::default()).unwrap();
        Served::new(Local::new(overlayfs, MemoryRecords::new()).unwrap())
            .with_remote_archives(vec!["sha256:1".to_owned()])
            .listen(&runtime, &socket);
        let store = store(&dir.path().join("store"), &socket, &[]);
        let context = Context::new("test".parse().unwrap());
        let layer = RemoteLayer {
            image: "a/b:c",
            manifest: "m",
            layers: &["sha256:1"],
            diff: "d",
            chain: "sha256:chain",
        };
        let mut labels = layer.labels();
        labels.insert(labels::GC_ROOT.to_owned(), "1".to_owned());
        let request = SnapshotRequest {
            snapshotter: NAME.into(),
            key: "extract".into(),
            parent: String::new(),
            labels,
        };
        let answer = runtime.block_on(store.snapshot_prepare(context.clone(), request)).unwrap_err();
        assert_eq!(answer.kind(), ErrorKind::AlreadyExists);
        let found = store.snapshot_stat(context, NAME.into(), "sha256:chain".into());
        assert_eq!(runtime.block_on(found).unwrap().kind, SnapshotKind::Committed);
    }

    #[test]
    fn as_many_layers_are_listed_as_a_label_holds() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let layers = vec![digest.as_str(); 100];
        let layer = RemoteLayer { image: "a/b:c", manifest: "m", layers: &layers, diff: "d", chain: "c" };
        let labels = layer.labels();
        let listed = &labels[IMAGE_LAYERS];
        assert!(IMAGE_LAYERS.len() + listed.len() <= MAX_LABEL_BYTES);
        assert_eq!(listed.split(',').count(), 56);
        assert_eq!(labels["containerd.io/snapshot/cri.layer-digest"], digest);
        assert_eq!(labels[labels::SNAPSHOT_REF], "c");
    }
}
