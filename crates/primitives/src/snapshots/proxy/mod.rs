//! Snapshotters of other programs, over gRPC on a unix socket: `containerd.services.snapshots.v1`.
//!
//! Meets the contract of [`gantry_snapshot::Snapshotter`], asynchronously ([`Proxy`]) and for blocking callers
//! ([`Blocking`]). Remote snapshotters are among them: they answer AlreadyExists to a
//! [`prepare`](Proxy::prepare) whose label `containerd.io/snapshot.ref` names a layer that they have, and the layer is
//! found by its label then, under a name of theirs.
//!
//! Keys are the caller's to choose, unique among all namespaces: a foreign snapshotter may know none. Dropping a call's
//! future cancels it at the peer, which may have carried it out all the same.

mod blocking;
mod convert;
#[cfg(test)]
pub(super) mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_proto_containerd::header::{MAX_MESSAGE_BYTES, NAMESPACE, NAMESPACE_TTRPC};
use gantry_proto_containerd::snapshots::snapshots_client::SnapshotsClient;
use gantry_proto_containerd::{FieldMask, snapshots as api};
use gantry_snapshot::{Error, Info, Usage};
use gantry_types::{ErrorKind, Labels, Mount, labels};
use hyper_util::rt::TokioIo;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status, Streaming};

pub use blocking::Blocking;
use convert::{from_proto, into_proto, mounts_from_proto, status_error};

/// How long a peer may take to accept the connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A snapshotter of another program. Clones share the connection, which is made when it is first needed, and again
/// after it broke.
#[derive(Debug, Clone)]
pub struct Proxy {
    client: SnapshotsClient<Channel>,
    snapshotter: String,
    namespace: Option<AsciiMetadataValue>,
}

impl Proxy {
    /// The snapshotter of that name behind a socket. Needs a tokio runtime; connects later.
    #[must_use]
    pub fn new(socket: &Path, snapshotter: &str) -> Self {
        let socket: PathBuf = socket.to_owned();
        // The address is never resolved; it only has to be one.
        let endpoint = Endpoint::from_static("http://snapshotter").connect_timeout(CONNECT);
        let connect = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let client = SnapshotsClient::new(endpoint.connect_with_connector_lazy(connect))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { client, snapshotter: snapshotter.to_owned(), namespace: None }
    }

    /// The same, with calls in a namespace of containerd's.
    ///
    /// # Errors
    /// InvalidArgument for a name that no header can carry.
    pub fn in_namespace(&self, namespace: &str) -> Result<Self, Error> {
        let header = namespace.parse().map_err(|_| Error::Invalid {
            what: "namespace",
            text: namespace.to_owned(),
            reason: "it is not printable ASCII",
        })?;
        Ok(Self { namespace: Some(header), ..self.clone() })
    }

    /// The snapshotter's name, in the words of its peer.
    #[must_use]
    pub fn snapshotter(&self) -> &str {
        &self.snapshotter
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(namespace) = &self.namespace {
            request.metadata_mut().insert(NAMESPACE, namespace.clone());
            request.metadata_mut().insert(NAMESPACE_TTRPC, namespace.clone());
        }
        request
    }

    /// The words of the peer, with its name before them.
    fn failed(&self) -> impl FnOnce(Status) -> Error {
        let snapshotter = self.snapshotter.clone();
        move |status| status_error(&snapshotter, status)
    }

    fn incomplete(&self, what: &'static str) -> Error {
        Error::Peer {
            kind: ErrorKind::Internal,
            message: format!("snapshotter {}: the answer has no {what}", self.snapshotter),
            source: None,
        }
    }

    /// See [`Snapshotter::stat`](gantry_snapshot::Snapshotter::stat).
    ///
    /// # Errors
    /// As there; Unavailable without the peer.
    pub async fn stat(&self, key: &str) -> Result<Info, Error> {
        let message = api::StatSnapshotRequest { snapshotter: self.snapshotter.clone(), key: key.to_owned() };
        let answer = self.client.clone().stat(self.request(message)).await.map_err(self.failed())?;
        answer.into_inner().info.map(from_proto).ok_or_else(|| self.incomplete("snapshot"))
    }

    /// See [`Snapshotter::update`](gantry_snapshot::Snapshotter::update).
    ///
    /// # Errors
    /// As there; Unavailable without the peer.
    pub async fn update(&self, info: &Info, fields: &[String]) -> Result<Info, Error> {
        let message = api::UpdateSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            info: Some(into_proto(info)),
            update_mask: Some(FieldMask { paths: fields.to_vec() }),
        };
        let answer = self.client.clone().update(self.request(message)).await.map_err(self.failed())?;
        answer.into_inner().info.map(from_proto).ok_or_else(|| self.incomplete("snapshot"))
    }

    /// See [`Snapshotter::usage`](gantry_snapshot::Snapshotter::usage).
    ///
    /// # Errors
    /// As there; Unavailable without the peer.
    pub async fn usage(&self, key: &str) -> Result<Usage, Error> {
        let message = api::UsageRequest { snapshotter: self.snapshotter.clone(), key: key.to_owned() };
        let answer = self.client.clone().usage(self.request(message)).await.map_err(self.failed())?;
        let usage = answer.into_inner();
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        Ok(Usage { size: count(usage.size), inodes: count(usage.inodes) })
    }

    /// See [`Snapshotter::mounts`](gantry_snapshot::Snapshotter::mounts).
    ///
    /// # Errors
    /// As there; Unavailable without the peer.
    pub async fn mounts(&self, key: &str) -> Result<Vec<Mount>, Error> {
        let message = api::MountsRequest { snapshotter: self.snapshotter.clone(), key: key.to_owned() };
        let answer = self.client.clone().mounts(self.request(message)).await.map_err(self.failed())?;
        Ok(mounts_from_proto(answer.into_inner().mounts))
    }

    /// See [`Snapshotter::prepare`](gantry_snapshot::Snapshotter::prepare).
    ///
    /// # Errors
    /// As there; Unavailable without the peer.
    pub async fn prepare(
        &self,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<Vec<Mount>, Error> {
        let message = api::PrepareSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.unwrap_or_default().to_owned(),
            labels: labels.clone(),
        };
        let answer = self.client.clone().prepare(self.request(message)).await.map_err(self.failed())?;
        Ok(mounts_from_proto(answer.into_inner().mounts))
    }

    /// See [`Snapshotter::view`](gantry_snapshot::Snapshotter::view).
    ///
    /// # Errors
    /// As there; Unavailable without the peer.
    pub async fn view(&self, key: &str, parent: Option<&str>, labels: &Labels) -> Result<Vec<Mount>, Error> {
        let message = api::ViewSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.unwrap_or_default().to_owned(),
            labels: labels.clone(),
        };
        let answer = self.client.clone().view(self.request(message)).await.map_err(self.failed())?;
        Ok(mounts_from_proto(answer.into_inner().mounts))
    }

    /// See [`Snapshotter::commit`](gantry_snapshot::Snapshotter::commit).
    ///
    /// # Errors
    /// As there; Unavailable without the peer.
    pub async fn commit(
        &self,
        name: &str,
        key: &str,
        parent: Option<&str>,
        labels: &Labels,
    ) -> Result<(), Error> {
        let message = api::CommitSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            parent: parent.unwrap_or_default().to_owned(),
            labels: labels.clone(),
        };
        self.client.clone().commit(self.request(message)).await.map(drop).map_err(self.failed())
    }

    /// See [`Snapshotter::remove`](gantry_snapshot::Snapshotter::remove).
    ///
    /// # Errors
    /// As there; Unavailable without the peer.
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        let message =
            api::RemoveSnapshotRequest { snapshotter: self.snapshotter.clone(), key: key.to_owned() };
        self.client.clone().remove(self.request(message)).await.map(drop).map_err(self.failed())
    }

    /// See [`Snapshotter::walk`](gantry_snapshot::Snapshotter::walk): the snapshots come in batches.
    ///
    /// # Errors
    /// As there; Unavailable without the peer.
    pub async fn list(&self, filters: &[String]) -> Result<Listing, Error> {
        let message =
            api::ListSnapshotsRequest { snapshotter: self.snapshotter.clone(), filters: filters.to_vec() };
        let answer = self.client.clone().list(self.request(message)).await.map_err(self.failed())?;
        Ok(Listing { stream: answer.into_inner(), snapshotter: self.snapshotter.clone() })
    }

    /// See [`Snapshotter::cleanup`](gantry_snapshot::Snapshotter::cleanup).
    ///
    /// # Errors
    /// As there; Unavailable without the peer.
    pub async fn cleanup(&self) -> Result<(), Error> {
        let message = api::CleanupRequest { snapshotter: self.snapshotter.clone() };
        self.client.clone().cleanup(self.request(message)).await.map(drop).map_err(self.failed())
    }

    /// The committed snapshot on `parent` that a remote snapshotter has for a layer: what its AlreadyExists was about.
    ///
    /// # Errors
    /// NotFound, if it has none after all; those of [`list`](Self::list).
    pub async fn target(&self, reference: &str, parent: Option<&str>) -> Result<Info, Error> {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let label = quoted(labels::SNAPSHOT_REF);
        let filter =
            format!("labels.{label}=={},parent=={}", quoted(reference), quoted(parent.unwrap_or_default()));
        let mut listing = self.list(&[filter]).await?;
        while let Some(batch) = listing.next().await? {
            // The peer may not know filters.
            let found = batch.into_iter().find(|info| {
                info.kind == gantry_snapshot::Kind::Committed
                    && info.parent.as_deref() == parent
                    && info.labels.get(labels::SNAPSHOT_REF).map(String::as_str) == Some(reference)
            });
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Err(Error::NotFound { key: reference.to_owned() })
    }
}

/// A walk that is under way.
#[derive(Debug)]
pub struct Listing {
    stream: Streaming<api::ListSnapshotsResponse>,
    snapshotter: String,
}

impl Listing {
    /// The next snapshots; none at the end.
    ///
    /// # Errors
    /// InvalidArgument for a filter; Unavailable without the peer.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Vec<Info>>, Error> {
        let batch = self.stream.message().await.map_err(|status| status_error(&self.snapshotter, status))?;
        Ok(batch.map(|batch| batch.info.into_iter().map(from_proto).collect()))
    }
}
