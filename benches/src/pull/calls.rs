//! Calls of containerd's API, timed one by one.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use gantry_proto_containerd::header;
use gantry_proto_containerd::images::images_client::ImagesClient;
use gantry_proto_containerd::images::{CreateImageRequest, GetImageRequest, Image, ListImagesRequest};
use gantry_proto_containerd::snapshots::snapshots_client::SnapshotsClient;
use gantry_proto_containerd::snapshots::{
    CommitSnapshotRequest, ListSnapshotsRequest, PrepareSnapshotRequest, RemoveSnapshotRequest,
    StatSnapshotRequest,
};
use gantry_proto_containerd::types::Descriptor;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Longer than the messages that a full list of everything takes.
const MESSAGE_LIMIT: usize = 256 << 20;
const SNAPSHOTTER: &str = "overlayfs";

/// A connection in one namespace.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    images: ImagesClient<Channel>,
    snapshots: SnapshotsClient<Channel>,
    namespace: &'static str,
}

type Answer<T> = Result<T, Status>;

impl Calls {
    pub(crate) async fn connect(socket: &Path, namespace: &'static str) -> Result<Self, String> {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://daemon");
        let channel =
            endpoint.connect_with_connector(connector).await.map_err(|error| format!("{error:?}"))?;
        Ok(Self {
            images: ImagesClient::new(channel.clone()).max_decoding_message_size(MESSAGE_LIMIT),
            snapshots: SnapshotsClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT),
            namespace,
        })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value = tonic::metadata::MetadataValue::from_static(self.namespace);
        request.metadata_mut().insert(header::NAMESPACE, value);
        request
    }

    pub(crate) async fn create_image(&mut self, name: String) -> Answer<()> {
        let target = Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            digest: format!("sha256:{:064x}", 1),
            size: 1,
            ..Descriptor::default()
        };
        let image = Image { name, target: Some(target), ..Image::default() };
        let message = CreateImageRequest { image: Some(image), ..CreateImageRequest::default() };
        self.images.create(self.request(message)).await.map(drop)
    }

    pub(crate) async fn image(&mut self, name: String) -> Answer<()> {
        self.images.get(self.request(GetImageRequest { name })).await.map(drop)
    }

    /// The number of images that the filters leave.
    pub(crate) async fn images(&mut self, filters: Vec<String>) -> Answer<usize> {
        let answer = self.images.list(self.request(ListImagesRequest { filters })).await?;
        Ok(answer.into_inner().images.len())
    }

    pub(crate) async fn prepare(&mut self, key: String, parent: String) -> Answer<()> {
        let labels = HashMap::from([("containerd.io/gc.root".to_owned(), "bench".to_owned())]);
        let message = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key,
            parent,
            labels: labels.into_iter().collect(),
        };
        self.snapshots.prepare(self.request(message)).await.map(drop)
    }

    pub(crate) async fn commit(&mut self, name: String, key: String) -> Answer<()> {
        let labels = HashMap::from([("containerd.io/gc.root".to_owned(), "bench".to_owned())]);
        let message = CommitSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            name,
            key,
            labels: labels.into_iter().collect(),
            ..CommitSnapshotRequest::default()
        };
        self.snapshots.commit(self.request(message)).await.map(drop)
    }

    pub(crate) async fn stat(&mut self, key: String) -> Answer<()> {
        let message = StatSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key };
        self.snapshots.stat(self.request(message)).await.map(drop)
    }

    pub(crate) async fn remove(&mut self, key: String) -> Answer<()> {
        let message = RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key };
        self.snapshots.remove(self.request(message)).await.map(drop)
    }

    /// The number of snapshots that the filters leave.
    pub(crate) async fn snapshots(&mut self, filters: Vec<String>) -> Answer<usize> {
        let message = ListSnapshotsRequest { snapshotter: SNAPSHOTTER.into(), filters };
        let mut stream = self.snapshots.list(self.request(message)).await?.into_inner();
        let mut count = 0;
        while let Some(part) = stream.message().await? {
            count += part.info.len();
        }
        Ok(count)
    }
}

/// How long each of some calls took.
#[derive(Debug, Default, Clone)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// Adds the time of one call, which has to succeed.
    pub(crate) async fn add<T>(&mut self, call: impl Future<Output = Answer<T>>) -> Result<T, String> {
        let begin = Instant::now();
        let answer = call.await.map_err(|status| status.to_string())?;
        self.0.push(begin.elapsed());
        Ok(answer)
    }

    /// The time below which `percent` of them lie, in milliseconds.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
