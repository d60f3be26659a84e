//! `containerd.services.sandbox.v1.Store`: records of sandboxes.

use gantry_primitives::Store as Records;
use gantry_proto_containerd::sandbox::store_server::Store;
use gantry_proto_containerd::sandbox::{
    StoreCreateRequest, StoreCreateResponse, StoreDeleteRequest, StoreDeleteResponse, StoreGetRequest,
    StoreGetResponse, StoreListRequest, StoreListResponse, StoreUpdateRequest, StoreUpdateResponse,
};
use tonic::{Request, Response, Status};

use crate::status::OrStatus as _;
use crate::{from_proto, into_proto, request};

pub(crate) struct StoreService {
    pub(crate) store: Records,
}

#[tonic::async_trait]
impl Store for StoreService {
    async fn create(
        &self,
        request: Request<StoreCreateRequest>,
    ) -> Result<Response<StoreCreateResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let given = from_proto::required("sandbox", request.into_inner().sandbox)?;
        let created = self.store.sandbox_create(namespace, from_proto::sandbox(given)).await.or_status()?;
        Ok(Response::new(StoreCreateResponse { sandbox: Some(into_proto::sandbox(created)) }))
    }

    async fn update(
        &self,
        request: Request<StoreUpdateRequest>,
    ) -> Result<Response<StoreUpdateResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let StoreUpdateRequest { sandbox, fields } = request.into_inner();
        let sandbox = from_proto::sandbox(from_proto::required("sandbox", sandbox)?);
        let updated = self.store.sandbox_update(namespace, sandbox, fields).await.or_status()?;
        Ok(Response::new(StoreUpdateResponse { sandbox: Some(into_proto::sandbox(updated)) }))
    }

    async fn delete(
        &self,
        request: Request<StoreDeleteRequest>,
    ) -> Result<Response<StoreDeleteResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        self.store.sandbox_delete(namespace, request.into_inner().sandbox_id).await.or_status()?;
        Ok(Response::new(StoreDeleteResponse {}))
    }

    async fn list(&self, request: Request<StoreListRequest>) -> Result<Response<StoreListResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let found = self.store.sandbox_list(namespace, request.into_inner().filters).await.or_status()?;
        Ok(Response::new(StoreListResponse { list: found.into_iter().map(into_proto::sandbox).collect() }))
    }

    async fn get(&self, request: Request<StoreGetRequest>) -> Result<Response<StoreGetResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let found = self.store.sandbox_get(namespace, request.into_inner().sandbox_id).await.or_status()?;
        Ok(Response::new(StoreGetResponse { sandbox: Some(into_proto::sandbox(found)) }))
    }
}
