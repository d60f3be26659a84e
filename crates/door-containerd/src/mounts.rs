//! `containerd.services.mounts.v1`: mounts that need more than mount(2), which the daemon makes for a client.
//!
//! None of our snapshotters gives any: theirs are overlays and binds, which containerd's daemon leaves to its clients, too. So
//! every activation is refused with the code that sends a client to mount(2), and there is none to be found.

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, empty};
use gantry_proto_containerd::mounts::mounts_server::Mounts;
use gantry_proto_containerd::mounts::{
    ActivateRequest, ActivateResponse, DeactivateRequest, InfoRequest, InfoResponse, ListMessage,
    ListRequest, UpdateRequest, UpdateResponse,
};
use tonic::{Request, Response, Status};

use crate::{from_proto, request, status};

pub(crate) struct MountsService;

fn not_found(name: &str) -> Status {
    status::not_found(format!("activation {name:?}: not found"))
}

#[tonic::async_trait]
impl Mounts for MountsService {
    async fn activate(
        &self,
        request: Request<ActivateRequest>,
    ) -> Result<Response<ActivateResponse>, Status> {
        request::context(request.metadata())?;
        let ActivateRequest { name, mounts, .. } = request.into_inner();
        if name.is_empty() {
            return Err(status::invalid_argument("an activation needs a name"));
        }
        let kinds: Vec<&str> = mounts.iter().map(|mount| mount.r#type.as_str()).collect();
        Err(status::unimplemented(format!("mounts of type {} are the client's", kinds.join(", "))))
    }

    async fn deactivate(&self, request: Request<DeactivateRequest>) -> Result<Response<()>, Status> {
        request::context(request.metadata())?;
        Err(not_found(&request.into_inner().name))
    }

    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        request::context(request.metadata())?;
        Err(not_found(&request.into_inner().name))
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        request::context(request.metadata())?;
        let info = from_proto::required("info", request.into_inner().info)?;
        Err(not_found(&info.name))
    }

    type ListStream = BoxStream<'static, Result<ListMessage, Status>>;

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        request::context(request.metadata())?;
        Ok(Response::new(empty().boxed()))
    }
}
