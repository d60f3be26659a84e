//! `containerd.services.snapshots.v1`.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use gantry_primitives::{Snapshot, SnapshotKind, SnapshotRequest, Store};
use gantry_proto_containerd::snapshots as proto;
use gantry_proto_containerd::snapshots::snapshots_server::Snapshots;
use gantry_proto_containerd::snapshots::{
    CleanupRequest, CommitSnapshotRequest, Info, Kind, ListSnapshotsRequest, ListSnapshotsResponse,
    MountsRequest, MountsResponse, PrepareSnapshotRequest, PrepareSnapshotResponse, RemoveSnapshotRequest,
    StatSnapshotRequest, StatSnapshotResponse, UpdateSnapshotRequest, UpdateSnapshotResponse, UsageRequest,
    UsageResponse, ViewSnapshotRequest, ViewSnapshotResponse,
};
use tonic::{Request, Response, Status};

use crate::status::{self, OrStatus as _};
use crate::{batch, from_proto, into_proto, request};

pub(crate) struct SnapshotsService {
    pub(crate) store: Store,
    /// Those that requests may name.
    pub(crate) names: Arc<[String]>,
}

impl SnapshotsService {
    /// One that there is. Clients take a wrong name for a mistake of theirs, and a missing snapshot for NotFound.
    fn snapshotter(&self, name: String) -> Result<String, Status> {
        if name.is_empty() {
            return Err(status::invalid_argument("snapshotter argument missing"));
        }
        if !self.names.contains(&name) {
            let known = self.names.join(", ");
            return Err(status::invalid_argument(format!(
                "snapshotter not loaded: {name} (there are: {known})"
            )));
        }
        Ok(name)
    }
}

#[tonic::async_trait]
impl Snapshots for SnapshotsService {
    async fn prepare(
        &self,
        request: Request<PrepareSnapshotRequest>,
    ) -> Result<Response<PrepareSnapshotResponse>, Status> {
        let context = request::context(request.metadata())?;
        let PrepareSnapshotRequest { snapshotter, key, parent, labels } = request.into_inner();
        let snapshotter = self.snapshotter(snapshotter)?;
        let wanted = SnapshotRequest { snapshotter, key, parent, labels };
        let mounts = self.store.snapshot_prepare(context, wanted).await.or_status()?;
        Ok(Response::new(PrepareSnapshotResponse { mounts: into_proto::mounts(mounts) }))
    }

    async fn view(
        &self,
        request: Request<ViewSnapshotRequest>,
    ) -> Result<Response<ViewSnapshotResponse>, Status> {
        let context = request::context(request.metadata())?;
        let ViewSnapshotRequest { snapshotter, key, parent, labels } = request.into_inner();
        let snapshotter = self.snapshotter(snapshotter)?;
        let wanted = SnapshotRequest { snapshotter, key, parent, labels };
        let mounts = self.store.snapshot_view(context, wanted).await.or_status()?;
        Ok(Response::new(ViewSnapshotResponse { mounts: into_proto::mounts(mounts) }))
    }

    async fn mounts(&self, request: Request<MountsRequest>) -> Result<Response<MountsResponse>, Status> {
        let context = request::context(request.metadata())?;
        let MountsRequest { snapshotter, key } = request.into_inner();
        let snapshotter = self.snapshotter(snapshotter)?;
        let mounts = self.store.snapshot_mounts(context, snapshotter, key).await.or_status()?;
        Ok(Response::new(MountsResponse { mounts: into_proto::mounts(mounts) }))
    }

    async fn commit(&self, request: Request<CommitSnapshotRequest>) -> Result<Response<()>, Status> {
        let context = request::context(request.metadata())?;
        let CommitSnapshotRequest { snapshotter, name, key, labels, parent } = request.into_inner();
        let snapshotter = self.snapshotter(snapshotter)?;
        let committed = self.store.snapshot_commit(context, snapshotter, name, key, parent, labels);
        committed.await.or_status()?;
        Ok(Response::new(()))
    }

    async fn remove(&self, request: Request<RemoveSnapshotRequest>) -> Result<Response<()>, Status> {
        let context = request::context(request.metadata())?;
        let RemoveSnapshotRequest { snapshotter, key } = request.into_inner();
        let snapshotter = self.snapshotter(snapshotter)?;
        self.store.snapshot_remove(context, snapshotter, key).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn stat(
        &self,
        request: Request<StatSnapshotRequest>,
    ) -> Result<Response<StatSnapshotResponse>, Status> {
        let context = request::context(request.metadata())?;
        let StatSnapshotRequest { snapshotter, key } = request.into_inner();
        let snapshotter = self.snapshotter(snapshotter)?;
        let snapshot = self.store.snapshot_stat(context, snapshotter, key).await.or_status()?;
        Ok(Response::new(StatSnapshotResponse { info: Some(info(snapshot)) }))
    }

    async fn update(
        &self,
        request: Request<UpdateSnapshotRequest>,
    ) -> Result<Response<UpdateSnapshotResponse>, Status> {
        let context = request::context(request.metadata())?;
        let request = request.into_inner();
        let snapshotter = self.snapshotter(request.snapshotter)?;
        let given = from_proto::required("info", request.info)?;
        let fields = from_proto::fields(request.update_mask);
        let updated = self.store.snapshot_update(context, snapshotter, given.name, given.labels, fields);
        let snapshot = updated.await.or_status()?;
        Ok(Response::new(UpdateSnapshotResponse { info: Some(info(snapshot)) }))
    }

    type ListStream = BoxStream<'static, Result<ListSnapshotsResponse, Status>>;

    async fn list(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let context = request::context(request.metadata())?;
        let ListSnapshotsRequest { snapshotter, filters } = request.into_inner();
        let snapshotter = self.snapshotter(snapshotter)?;
        let found = self.store.snapshot_list(context, snapshotter, filters).await.or_status()?;
        Ok(Response::new(batch::stream(found, info, |info| ListSnapshotsResponse { info })))
    }

    async fn usage(&self, request: Request<UsageRequest>) -> Result<Response<UsageResponse>, Status> {
        let context = request::context(request.metadata())?;
        let UsageRequest { snapshotter, key } = request.into_inner();
        let snapshotter = self.snapshotter(snapshotter)?;
        let usage = self.store.snapshot_usage(context, snapshotter, key).await.or_status()?;
        let (size, inodes) = (into_proto::length(usage.size), into_proto::length(usage.inodes));
        Ok(Response::new(UsageResponse { size, inodes }))
    }

    async fn cleanup(&self, request: Request<CleanupRequest>) -> Result<Response<()>, Status> {
        let snapshotter = self.snapshotter(request.into_inner().snapshotter)?;
        self.store.snapshot_cleanup(snapshotter).await.or_status()?;
        Ok(Response::new(()))
    }
}

fn info(snapshot: Snapshot) -> Info {
    let kind = match snapshot.kind {
        SnapshotKind::View => Kind::View,
        SnapshotKind::Active => Kind::Active,
        SnapshotKind::Committed => Kind::Committed,
    };
    proto::Info {
        name: snapshot.name,
        parent: snapshot.parent.unwrap_or_default(),
        kind: kind.into(),
        created_at: into_proto::timestamp(snapshot.created),
        updated_at: into_proto::timestamp(snapshot.updated),
        labels: snapshot.labels,
    }
}
