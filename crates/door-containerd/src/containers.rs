//! `containerd.services.containers.v1`.

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, iter};
use gantry_primitives::Store;
use gantry_proto_containerd::containers::containers_server::Containers;
use gantry_proto_containerd::containers::{
    CreateContainerRequest, CreateContainerResponse, DeleteContainerRequest, GetContainerRequest,
    GetContainerResponse, ListContainerMessage, ListContainersRequest, ListContainersResponse,
    UpdateContainerRequest, UpdateContainerResponse,
};
use tonic::{Request, Response, Status};

use crate::status::OrStatus as _;
use crate::{from_proto, into_proto, request};

pub(crate) struct ContainersService {
    pub(crate) store: Store,
}

#[tonic::async_trait]
impl Containers for ContainersService {
    async fn get(
        &self,
        request: Request<GetContainerRequest>,
    ) -> Result<Response<GetContainerResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let found = self.store.container_get(namespace, request.into_inner().id).await.or_status()?;
        Ok(Response::new(GetContainerResponse { container: Some(into_proto::container(found)) }))
    }

    async fn list(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let found = self.store.container_list(namespace, request.into_inner().filters).await.or_status()?;
        let containers = found.into_iter().map(into_proto::container).collect();
        Ok(Response::new(ListContainersResponse { containers }))
    }

    type ListStreamStream = BoxStream<'static, Result<ListContainerMessage, Status>>;

    /// One container a message: a list may be longer than a message.
    async fn list_stream(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<Self::ListStreamStream>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let found = self.store.container_list(namespace, request.into_inner().filters).await.or_status()?;
        let message = |found| Ok(ListContainerMessage { container: Some(into_proto::container(found)) });
        Ok(Response::new(iter(found).map(message).boxed()))
    }

    async fn create(
        &self,
        request: Request<CreateContainerRequest>,
    ) -> Result<Response<CreateContainerResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let given = from_proto::required("container", request.into_inner().container)?;
        let container = from_proto::container(given);
        let created = self.store.container_create(namespace, container).await.or_status()?;
        Ok(Response::new(CreateContainerResponse { container: Some(into_proto::container(created)) }))
    }

    async fn update(
        &self,
        request: Request<UpdateContainerRequest>,
    ) -> Result<Response<UpdateContainerResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let UpdateContainerRequest { container, update_mask } = request.into_inner();
        let given = from_proto::required("container", container)?;
        let (container, fields) = (from_proto::container(given), from_proto::fields(update_mask));
        let updated = self.store.container_update(namespace, container, fields).await.or_status()?;
        Ok(Response::new(UpdateContainerResponse { container: Some(into_proto::container(updated)) }))
    }

    async fn delete(&self, request: Request<DeleteContainerRequest>) -> Result<Response<()>, Status> {
        let namespace = request::namespace(request.metadata())?;
        self.store.container_delete(namespace, request.into_inner().id).await.or_status()?;
        Ok(Response::new(()))
    }
}
