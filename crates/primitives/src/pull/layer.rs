//! One layer: fetched, stored, and unpacked on its way.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Shared};
use futures_util::{FutureExt, StreamExt};
use gantry_content::Ingest;
use gantry_layer::Whiteouts;
use gantry_metadata::Pin;
use gantry_registry::Repository;
use gantry_snapshot::{Driver, Format, Kind, Request, SnapshotNumber};
use gantry_types::{Descriptor, Digest, ErrorKind, Labels};
use tokio::sync::mpsc;
use tracing::{Instrument as _, Span};

use super::graph::Fetcher;
use super::pipeline::{self, Unpacked};
use crate::content::read_blob;
use crate::failpoint::hit;
use crate::flight::{Landing, landed};
use crate::progress::{Meter, Reporter, Stage};
use crate::recover::PULL_KEY;
use crate::spans::{blob_span, blocking_within, within};
use crate::store::Inner;
use crate::{Context, Error, Result, Store};

/// Chunks that wait between the network and the disk.
const DEPTH: usize = 4;
/// How much of a stored layer is read at once.
const READ_BYTES: usize = 256 << 10;
/// How often somebody else's download is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A layer, and what is done with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LayerKey {
    pub(crate) digest: Digest,
    /// The snapshotter that it is unpacked for.
    driver: Option<String>,
    /// Whether it is the lowest of its image: it has nothing to hide then.
    lowest: bool,
}

impl LayerKey {
    /// A layer that is fetched and not unpacked.
    pub(crate) fn stored(digest: &Digest) -> Self {
        Self { digest: digest.clone(), driver: None, lowest: false }
    }

    /// A layer that is unpacked without the layers below it.
    pub(crate) fn unpacked(digest: &Digest, driver: &str, lowest: bool) -> Self {
        Self { digest: digest.clone(), driver: Some(driver.to_owned()), lowest }
    }
}

/// A layer that is in the store, and its files if somebody wanted them.
pub(crate) type LayerDone = Arc<Layer>;

/// See [`LayerDone`].
pub(crate) struct Layer {
    /// Keeps the blob until whoever waited has a record of it.
    pub(crate) _pin: Pin,
    /// The files, for the first who commits them.
    pub(crate) files: Mutex<Option<Files>>,
}

impl Layer {
    /// Takes the files, if nobody has.
    pub(crate) fn take_files(&self) -> Option<Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A directory of files that has no record yet. Dropping it removes it.
pub(crate) struct Files {
    inner: Arc<Inner>,
    driver: Arc<dyn Driver>,
    pub(crate) number: SnapshotNumber,
    pub(crate) unpacked: Unpacked,
    kept: bool,
}

impl Files {
    /// It has a record now.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.driver.remove(&[self.number])
        {
            tracing::warn!(number = self.number.0, error = %error, "unpacked files stay until the next cleanup");
        }
        self.inner.snapshot_locks.release(self.number);
    }
}

type Flight = Shared<BoxFuture<'static, Landing<LayerDone>>>;

impl Store {
    /// Joins whoever brings this layer, or begins to.
    pub(crate) fn layer_flight(
        &self,
        repository: Option<&Repository>,
        key: &LayerKey,
        descriptor: &Descriptor,
        reporter: &Reporter,
    ) -> Flight {
        let meter = Arc::new(Meter::default());
        meter.add(reporter);
        let (store, repository, key, descriptor) =
            (self.clone(), repository.cloned(), key.clone(), descriptor.clone());
        let fetch_key = key.clone();
        self.inner.layers.join(key, move || {
            // Whoever begins it has it in his trace, whoever goes on with it.
            let caller = Span::current();
            let fetch = async move { store.fetch_layer(repository, fetch_key, descriptor, meter).await };
            fetch.boxed().instrument(caller).boxed()
        })
    }

    async fn fetch_layer(
        &self,
        repository: Option<Repository>,
        key: LayerKey,
        descriptor: Descriptor,
        meter: Arc<Meter>,
    ) -> Result<LayerDone> {
        let permits = Arc::clone(&self.inner.permits.layers);
        let _permit = permits.acquire_owned().await.map_err(|_| Error::Cancelled("the pull"))?;
        let wanted = descriptor.digest.clone();
        let pin = self.blocking(move |inner| Ok(inner.database.pin(&wanted))).await?;
        let files = loop {
            match self.begin(&descriptor).await? {
                Begun::Stored => {
                    meter.tell(Stage::Exists, &descriptor, descriptor.size);
                    break self.unpack_stored(&key, &descriptor, &meter).await?;
                }
                Begun::Elsewhere => tokio::time::sleep(LOOK).await,
                Begun::Here(ingest) => {
                    let Some(repository) = &repository else {
                        return Err(Error::NotFound { what: "content", name: descriptor.digest.to_string() });
                    };
                    // With all processors busy it is only stored on its way: the bytes wait in the page cache.
                    let unpacks = Arc::clone(&self.inner.permits.unpacks);
                    let permit = key.driver.as_ref().and_then(|_| unpacks.try_acquire_owned().ok());
                    let way =
                        key.driver.clone().filter(|_| permit.is_some()).map(|driver| (driver, key.lowest));
                    let span = blob_span!("fetch", descriptor);
                    let fetched = self.download(repository, way, &descriptor, *ingest, &meter);
                    let files = within(span, fetched).await?;
                    drop(permit);
                    break match files {
                        Some(files) => Some(files),
                        None => self.unpack_stored(&key, &descriptor, &meter).await?,
                    };
                }
            }
        };
        Ok(Arc::new(Layer { _pin: pin, files: Mutex::new(files) }))
    }

    async fn begin(&self, descriptor: &Descriptor) -> Result<Begun> {
        let descriptor = descriptor.clone();
        self.blocking(move |inner| {
            let key = format!("{PULL_KEY}{}", descriptor.digest);
            match inner.content.ingest(&key, Some(descriptor.size), Some(&descriptor.digest)) {
                Ok(ingest) => {
                    hit("layer.begun");
                    Ok(Begun::Here(Box::new(ingest)))
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Begun::Stored),
                Err(error) if error.kind() == ErrorKind::Unavailable => Ok(Begun::Elsewhere),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Unpacks a layer that is in the store, if it is to be unpacked.
    async fn unpack_stored(
        &self,
        key: &LayerKey,
        descriptor: &Descriptor,
        meter: &Arc<Meter>,
    ) -> Result<Option<Files>> {
        let Some(driver) = &key.driver else { return Ok(None) };
        let unpacks = Arc::clone(&self.inner.permits.unpacks);
        let _permit = unpacks.acquire_owned().await.map_err(|_| Error::Cancelled("the pull"))?;
        let (inner, name, lowest) = (Arc::clone(&self.inner), driver.clone(), key.lowest);
        let (descriptor, meter) = (descriptor.clone(), Arc::clone(meter));
        let span = blob_span!("apply", descriptor);
        let unpack = move || {
            meter.tell(Stage::Extracting, &descriptor, 0);
            blocking_within(&span, || inner.unpack_blob(&name, lowest, &descriptor.digest)).map(Some)
        };
        tokio::task::spawn_blocking(unpack).await.map_err(|_| Error::panicked("unpacking a layer"))?
    }

    /// Fetches a layer, stores it, and unpacks it on its way if that is asked for: for a driver, as the lowest layer or not.
    async fn download(
        &self,
        repository: &Repository,
        way: Option<(String, bool)>,
        descriptor: &Descriptor,
        ingest: Ingest,
        meter: &Arc<Meter>,
    ) -> Result<Option<Files>> {
        let from = ingest.offset();
        let (send, receive) = mpsc::channel::<Result<Bytes>>(DEPTH);
        let storer = Storer { ingest, receive, meter: Arc::clone(meter), descriptor: descriptor.clone() };
        let inner = Arc::clone(&self.inner);
        let span = if way.is_some() { blob_span!("apply", descriptor) } else { Span::none() };
        let work = tokio::task::spawn_blocking(move || match way {
            None => storer.run(&mut |_| true).map(|()| None),
            Some((name, lowest)) => {
                let apply = || inner.unpack(&name, lowest, |give| storer.run(give));
                blocking_within(&span, apply).map(Some)
            }
        });
        let feed = async {
            if from >= descriptor.size {
                return;
            }
            let options = &self.inner.options;
            // One connection is enough for a near registry; a far one gives each only so much.
            let opened = match options.ranges_from {
                Some(large) if descriptor.size - from >= large => {
                    repository.blob_ranges(descriptor, from, options.ranges).await
                }
                _ => repository.blob(descriptor, from).await,
            };
            let mut stream = match opened {
                Ok(stream) => stream,
                Err(error) => return drop(send.send(Err(error.into())).await),
            };
            while let Some(chunk) = stream.next().await {
                // Whoever stores ends when something is wrong, and says what.
                if send.send(chunk.map_err(Error::from)).await.is_err() {
                    return;
                }
            }
        };
        feed.await;
        drop(send);
        let files = work.await.map_err(|_| Error::panicked("storing a layer"))??;
        meter.tell(Stage::Complete, descriptor, descriptor.size);
        Ok(files)
    }
}

/// What is to be done for a layer.
enum Begun {
    /// Nothing, it is there.
    Stored,
    /// Somebody else writes it.
    Elsewhere,
    /// To write it.
    Here(Box<Ingest>),
}

/// The first stage of the pipeline: what comes from the network goes to the disk, and on.
struct Storer {
    ingest: Ingest,
    receive: mpsc::Receiver<Result<Bytes>>,
    meter: Arc<Meter>,
    descriptor: Descriptor,
}

impl Storer {
    /// Blocks until the layer is in the store, or something is wrong; then what came stays, to be resumed.
    fn run(mut self, give: &mut dyn FnMut(Bytes) -> bool) -> Result<()> {
        let mut offset = 0;
        // What an earlier try stored goes the same way.
        while offset < self.ingest.offset() {
            let mut buffer = vec![0; READ_BYTES];
            let count = self.ingest.read_at(&mut buffer, offset)?;
            if count == 0 {
                break;
            }
            buffer.truncate(count);
            offset += count as u64;
            self.meter.advance(Stage::Downloading, &self.descriptor, count as u64);
            give(buffer.into());
        }
        while let Some(chunk) = self.receive.blocking_recv() {
            let chunk = chunk?;
            self.ingest.write(&chunk)?;
            self.meter.advance(Stage::Downloading, &self.descriptor, chunk.len() as u64);
            // If unpacking has failed, the layer is stored all the same: it is what its digest says, and no try will
            // need to fetch it again.
            give(chunk);
        }
        hit("layer.received");
        if self.ingest.offset() < self.descriptor.size {
            return Err(Error::Cancelled("the download"));
        }
        match self.ingest.commit(Some(self.descriptor.size), Some(&self.descriptor.digest)) {
            Ok(_) => {
                hit("layer.stored");
                Ok(())
            }
            Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(refused) => {
                // Wrong bytes are no start for the next try.
                if let Some(ingest) = refused.ingest {
                    ingest.abort()?;
                }
                Err(refused.error.into())
            }
        }
    }
}

impl Inner {
    /// Unpacks a stored layer into a directory of its own.
    pub(crate) fn unpack_blob(
        self: &Arc<Self>,
        driver: &str,
        lowest: bool,
        digest: &Digest,
    ) -> Result<Files> {
        let blob = self.content.open_blob(digest)?;
        self.unpack(driver, lowest, |give| {
            let mut offset = 0;
            while offset < blob.size() {
                let chunk = read_blob(&blob, offset, READ_BYTES)?;
                offset += chunk.len() as u64;
                if chunk.is_empty() || !give(chunk) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Unpacks what `feed` gives into a directory of its own, which has no parent yet.
    fn unpack(
        self: &Arc<Self>,
        driver: &str,
        lowest: bool,
        feed: impl FnOnce(&mut dyn FnMut(Bytes) -> bool) -> Result<()>,
    ) -> Result<Files> {
        let driver = Arc::clone(self.driver(driver)?);
        let number = self.next_number();
        self.snapshot_locks.reserve(number);
        let empty = Labels::new();
        let request = Request { kind: Kind::Active, labels: &empty, volatile: false };
        let mut files = Files {
            inner: Arc::clone(self),
            driver: Arc::clone(&driver),
            number,
            unpacked: Unpacked::nothing(),
            kept: false,
        };
        driver.prepare(number, &[], &request)?;
        hit("unpack.prepared");
        let target = driver.layers(number, &[])?;
        let whiteouts = match target.format {
            // Below the lowest layer is nothing that could be hidden.
            _ if lowest => Whiteouts::Delete,
            Format::Overlay { user_xattr } => Whiteouts::Overlay { userxattr: user_xattr },
            Format::Plain => Whiteouts::Delete,
        };
        let target = gantry_layer::Target { root: target.upper.as_fd(), whiteouts, lower: &[] };
        files.unpacked = pipeline::run(&target, &self.layer_limits(), feed)?.1;
        hit("unpack.applied");
        Ok(files)
    }

    /// What layers may not exceed.
    pub(crate) fn layer_limits(&self) -> pipeline::Limits {
        pipeline::Limits {
            inflate: self.options.inflate,
            apply: gantry_layer::ApplyOptions { limits: self.options.layer, ..Default::default() },
        }
    }
}

/// The layers of one pull that are on their way.
#[derive(Default)]
pub(crate) struct Started {
    flights: HashMap<LayerKey, (Descriptor, Flight)>,
}

impl Started {
    pub(crate) fn add(&mut self, key: LayerKey, descriptor: Descriptor, flight: Flight) {
        self.flights.insert(key, (descriptor, flight));
    }

    /// Waits for a layer; nothing if it is not on its way.
    pub(crate) async fn get(&self, key: &LayerKey) -> Result<Option<LayerDone>> {
        let Some((_, flight)) = self.flights.get(key) else { return Ok(None) };
        landed(flight.clone().await).map(Some)
    }

    /// Waits for all, and records each for the namespace as soon as it is there.
    pub(crate) async fn record_all(&self, store: &Store, context: &Context, fetcher: &Fetcher) -> Result<()> {
        let record = |descriptor: &Descriptor, flight: &Flight| {
            let (store, context, descriptor) = (store.clone(), context.clone(), descriptor.clone());
            let (flight, source) = (flight.clone(), fetcher.source_label());
            async move {
                // Its pin keeps the blob until the record does.
                let layer = landed(flight.await)?;
                let recorded =
                    store.blocking(move |inner| inner.record_content(&context, &descriptor, &source)).await;
                hit("layer.recorded");
                drop(layer);
                recorded
            }
        };
        let all = self.flights.values().map(|(descriptor, flight)| record(descriptor, flight));
        futures_util::future::try_join_all(all).await.map(drop)
    }
}
