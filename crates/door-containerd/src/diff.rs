//! `containerd.services.diff.v1`.

use gantry_primitives::{DiffRequest, Store};
use gantry_proto_containerd::diff as proto;
use gantry_proto_containerd::diff::diff_server::Diff;
use gantry_proto_containerd::diff::{ApplyRequest, ApplyResponse, DiffResponse};
use tonic::{Request, Response, Status};

use crate::status::{self, OrStatus as _};
use crate::{from_proto, into_proto, request};

pub(crate) struct DiffService {
    pub(crate) store: Store,
}

#[tonic::async_trait]
impl Diff for DiffService {
    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        let context = request::context(request.metadata())?;
        let ApplyRequest { diff, mounts, payloads, sync_fs } = request.into_inner();
        // What a decoder outside would need; we have none that takes any.
        if let Some(kind) = payloads.keys().next() {
            return Err(status::unimplemented(format!("payload {kind:?} for a layer's decoder")));
        }
        let layer = from_proto::descriptor(from_proto::required("diff", diff)?)?;
        let mounts = from_proto::mounts(mounts);
        let applied = self.store.diff_apply(context, layer, mounts, sync_fs).await.or_status()?;
        Ok(Response::new(ApplyResponse { applied: Some(into_proto::descriptor(&applied)) }))
    }

    async fn diff(&self, request: Request<proto::DiffRequest>) -> Result<Response<DiffResponse>, Status> {
        let context = request::context(request.metadata())?;
        let given = request.into_inner();
        let wanted = DiffRequest {
            left: from_proto::mounts(given.left),
            right: from_proto::mounts(given.right),
            media_type: given.media_type,
            reference: given.r#ref,
            labels: given.labels,
            source_date_epoch: given.source_date_epoch.map(|time| time.seconds),
        };
        let made = self.store.diff_create(context, wanted).await.or_status()?;
        Ok(Response::new(DiffResponse { diff: Some(into_proto::descriptor(&made)) }))
    }
}
