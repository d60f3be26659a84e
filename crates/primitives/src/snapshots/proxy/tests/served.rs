use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::stream::{self, Stream};
use gantry_proto_containerd::snapshots as api;
use gantry_proto_containerd::snapshots::snapshots_server::{Snapshots, SnapshotsServer};
use gantry_proto_containerd::types;
use gantry_snapshot::{Error, Info, Local, MemoryRecords, Overlayfs, Snapshotter};
use gantry_types::{ErrorKind, Labels, Mount, labels};
use tonic::{Code, Request, Response, Status};

use super::super::convert::{from_proto, into_proto};

/// A snapshotter of ours behind a socket, as a foreign one is.
#[derive(Clone)]
pub(in super::super::super) struct Served {
    local: Arc<Local<Overlayfs, MemoryRecords>>,
    /// The layers that it has without anybody unpacking them.
    remote: Arc<Vec<String>>,
    /// The digests of archives whose layers it gets by itself.
    archives: Arc<Vec<String>>,
    /// The labels of what it was asked to prepare.
    asked: Arc<Mutex<Vec<Labels>>>,
}

impl Served {
    pub(in super::super::super) fn new(local: Local<Overlayfs, MemoryRecords>) -> Self {
        Self {
            local: Arc::new(local),
            remote: Arc::default(),
            archives: Arc::default(),
            asked: Arc::default(),
        }
    }

    pub(super) fn with_remote_layers(mut self, layers: &[&str]) -> Self {
        self.remote = Arc::new(layers.iter().map(|layer| (*layer).to_owned()).collect());
        self
    }

    /// Gets these layers by itself, as stargz-snapshotter does: under the name that it is asked for.
    pub(in super::super::super) fn with_remote_archives(mut self, digests: Vec<String>) -> Self {
        self.archives = Arc::new(digests);
        self
    }

    pub(in super::super::super) fn asked(&self) -> Arc<Mutex<Vec<Labels>>> {
        Arc::clone(&self.asked)
    }

    /// Serves until the runtime ends.
    pub(in super::super::super) fn listen(self, runtime: &tokio::runtime::Runtime, socket: &Path) {
        let _inside = runtime.enter();
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let accepted = stream::unfold(listener, |listener| async {
            let connection = listener.accept().await.map(|(connection, _)| connection);
            Some((connection, listener))
        });
        let server = tonic::transport::Server::builder().add_service(SnapshotsServer::new(self));
        runtime.spawn(server.serve_with_incoming(accepted));
    }

    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Local<Overlayfs, MemoryRecords>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        let local = Arc::clone(&self.local);
        tokio::task::spawn_blocking(move || act(&local)).await.unwrap().map_err(|error| status(&error))
    }

    /// Does what a remote snapshotter does for a layer that it has: commits it, and says so.
    async fn remote_layer(&self, parent: Option<String>, labels: &Labels) -> Result<(), Status> {
        self.asked.lock().unwrap().push(labels.clone());
        let archive = labels.get("containerd.io/snapshot/cri.layer-digest");
        if archive.is_some_and(|digest| self.archives.contains(digest)) {
            let (name, labels) = (labels[labels::SNAPSHOT_REF].clone(), labels.clone());
            return self
                .act(move |local| {
                    let key = format!("{name}/remote");
                    local.prepare(&key, parent.as_deref(), &labels)?;
                    local.commit(&name, &key, None, &labels)?;
                    Err(Error::AlreadyExists { key: name })
                })
                .await;
        }
        let Some(layer) = labels.get(labels::SNAPSHOT_REF).filter(|layer| self.remote.contains(layer)) else {
            return Ok(());
        };
        let (name, labels) = (format!("remote/{layer}"), labels.clone());
        self.act(move |local| {
            local.prepare("remote/key", parent.as_deref(), &labels)?;
            local.commit(&name, "remote/key", None, &labels)?;
            Err(Error::AlreadyExists { key: name })
        })
        .await
    }
}

fn status(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::Unimplemented => Code::Unimplemented,
        _ => Code::Internal,
    };
    Status::new(code, error.to_string())
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn mounts(mounts: Vec<Mount>) -> Vec<types::Mount> {
    let mount = |mount: Mount| types::Mount {
        r#type: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    mounts.into_iter().map(mount).collect()
}

type Infos = Pin<Box<dyn Stream<Item = Result<api::ListSnapshotsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Snapshots for Served {
    type ListStream = Infos;

    async fn prepare(
        &self,
        request: Request<api::PrepareSnapshotRequest>,
    ) -> Result<Response<api::PrepareSnapshotResponse>, Status> {
        let message = request.into_inner();
        let parent = some(message.parent);
        self.remote_layer(parent.clone(), &message.labels).await?;
        let made =
            self.act(move |local| local.prepare(&message.key, parent.as_deref(), &message.labels)).await?;
        Ok(Response::new(api::PrepareSnapshotResponse { mounts: mounts(made) }))
    }

    async fn view(
        &self,
        request: Request<api::ViewSnapshotRequest>,
    ) -> Result<Response<api::ViewSnapshotResponse>, Status> {
        let message = request.into_inner();
        let parent = some(message.parent);
        let made =
            self.act(move |local| local.view(&message.key, parent.as_deref(), &message.labels)).await?;
        Ok(Response::new(api::ViewSnapshotResponse { mounts: mounts(made) }))
    }

    async fn mounts(
        &self,
        request: Request<api::MountsRequest>,
    ) -> Result<Response<api::MountsResponse>, Status> {
        let key = request.into_inner().key;
        let found = self.act(move |local| local.mounts(&key)).await?;
        Ok(Response::new(api::MountsResponse { mounts: mounts(found) }))
    }

    async fn commit(&self, request: Request<api::CommitSnapshotRequest>) -> Result<Response<()>, Status> {
        let message = request.into_inner();
        let parent = some(message.parent);
        let act = move |local: &Local<_, _>| {
            local.commit(&message.name, &message.key, parent.as_deref(), &message.labels)
        };
        self.act(act).await.map(Response::new)
    }

    async fn remove(&self, request: Request<api::RemoveSnapshotRequest>) -> Result<Response<()>, Status> {
        let key = request.into_inner().key;
        self.act(move |local| local.remove(&key)).await.map(Response::new)
    }

    async fn stat(
        &self,
        request: Request<api::StatSnapshotRequest>,
    ) -> Result<Response<api::StatSnapshotResponse>, Status> {
        let key = request.into_inner().key;
        let info = self.act(move |local| local.stat(&key)).await?;
        Ok(Response::new(api::StatSnapshotResponse { info: Some(into_proto(&info)) }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateSnapshotRequest>,
    ) -> Result<Response<api::UpdateSnapshotResponse>, Status> {
        let message = request.into_inner();
        let info: Info = from_proto(message.info.unwrap());
        let fields = message.update_mask.unwrap_or_default().paths;
        let info = self.act(move |local| local.update(&info, &fields)).await?;
        Ok(Response::new(api::UpdateSnapshotResponse { info: Some(into_proto(&info)) }))
    }

    /// Knows no filters, as some foreign ones.
    async fn list(
        &self,
        _request: Request<api::ListSnapshotsRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let mut all = Vec::new();
        let all = self
            .act(move |local| {
                local.walk(&[], &mut |info| {
                    all.push(into_proto(info));
                    Ok(())
                })?;
                Ok(all)
            })
            .await?;
        let batches = all.chunks(100).map(|batch| Ok(api::ListSnapshotsResponse { info: batch.to_vec() }));
        Ok(Response::new(Box::pin(stream::iter(batches.collect::<Vec<_>>()))))
    }

    async fn usage(
        &self,
        request: Request<api::UsageRequest>,
    ) -> Result<Response<api::UsageResponse>, Status> {
        let key = request.into_inner().key;
        let usage = self.act(move |local| local.usage(&key)).await?;
        let count = |value: u64| i64::try_from(value).unwrap();
        Ok(Response::new(api::UsageResponse { size: count(usage.size), inodes: count(usage.inodes) }))
    }

    async fn cleanup(&self, _request: Request<api::CleanupRequest>) -> Result<Response<()>, Status> {
        self.act(Snapshotter::cleanup).await.map(Response::new)
    }
}
