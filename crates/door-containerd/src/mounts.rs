//! `containerd.services.mounts.v1`: mounts that the daemon makes for a client.
//!
//! Our snapshotters give overlays and binds, which containerd's daemon leaves to its clients, too: an activation that is not
//! temporary is refused with the code that sends a client to mount(2).

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use gantry_primitives::{Activation, Store};
use gantry_proto_containerd::mounts::mounts_server::Mounts;
use gantry_proto_containerd::mounts::{
    ActivateRequest, ActivateResponse, DeactivateRequest, InfoRequest, InfoResponse, ListMessage,
    ListRequest, UpdateRequest, UpdateResponse,
};
use gantry_proto_containerd::types::{ActivationInfo, ActiveMount};
use tonic::{Request, Response, Status};

use crate::status::{self, OrStatus as _};
use crate::{from_proto, into_proto, request, time};

pub(crate) struct MountsService {
    pub(crate) store: Store,
}

fn info(activation: Activation) -> ActivationInfo {
    let active = activation.active.into_iter().map(|active| ActiveMount {
        mount: into_proto::mounts(vec![active.mount]).pop(),
        mounted_at: Some(time::into_proto(active.since)),
        mount_point: active.point.to_string_lossy().into_owned(),
        ..ActiveMount::default()
    });
    ActivationInfo {
        name: activation.name,
        active: active.collect(),
        system: into_proto::mounts(activation.system),
        labels: activation.labels,
    }
}

#[tonic::async_trait]
impl Mounts for MountsService {
    async fn activate(
        &self,
        request: Request<ActivateRequest>,
    ) -> Result<Response<ActivateResponse>, Status> {
        let context = request::context(request.metadata())?;
        let ActivateRequest { name, mounts, labels, temporary } = request.into_inner();
        if name.is_empty() {
            return Err(status::invalid_argument("an activation needs a name"));
        }
        let mounts = from_proto::mounts(mounts);
        let wanted = gantry_primitives::ActivateRequest { name, mounts, labels, temporary };
        let made = self.store.mount_activate(context, wanted).await.or_status()?;
        Ok(Response::new(ActivateResponse { info: Some(info(made)) }))
    }

    async fn deactivate(&self, request: Request<DeactivateRequest>) -> Result<Response<()>, Status> {
        let context = request::context(request.metadata())?;
        self.store.mount_deactivate(context, request.into_inner().name).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let context = request::context(request.metadata())?;
        let found = self.store.mount_info(context, request.into_inner().name).await.or_status()?;
        Ok(Response::new(InfoResponse { info: Some(info(found)) }))
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        let context = request::context(request.metadata())?;
        let UpdateRequest { info: wanted, update_mask } = request.into_inner();
        let wanted = from_proto::required("info", wanted)?;
        let fields = update_mask.map(|mask| mask.paths).unwrap_or_default();
        let updated = self.store.mount_update(context, wanted.name, wanted.labels, fields).await;
        Ok(Response::new(UpdateResponse { info: Some(info(updated.or_status()?)) }))
    }

    type ListStream = BoxStream<'static, Result<ListMessage, Status>>;

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let context = request::context(request.metadata())?;
        let all = self.store.mount_list(context, request.into_inner().filters).await.or_status()?;
        let messages = all.into_iter().map(|one| Ok(ListMessage { info: Some(info(one)) }));
        Ok(Response::new(stream::iter(messages).boxed()))
    }
}
