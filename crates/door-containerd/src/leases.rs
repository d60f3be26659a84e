//! `containerd.services.leases.v1`.

use gantry_primitives::{Resource, Store};
use gantry_proto_containerd::leases as proto;
use gantry_proto_containerd::leases::leases_server::Leases;
use gantry_proto_containerd::leases::{
    AddResourceRequest, CreateRequest, CreateResponse, DeleteRequest, DeleteResourceRequest, ListRequest,
    ListResourcesRequest, ListResourcesResponse, ListResponse,
};
use tonic::{Request, Response, Status};

use crate::status::{self, OrStatus as _};
use crate::{from_proto, into_proto, request};

/// How many random bytes a lease's id has that nobody named.
const ID_BYTES: usize = 16;

pub(crate) struct LeasesService {
    pub(crate) store: Store,
}

#[tonic::async_trait]
impl Leases for LeasesService {
    async fn create(&self, request: Request<CreateRequest>) -> Result<Response<CreateResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let CreateRequest { id, labels } = request.into_inner();
        let id = if id.is_empty() { random_id()? } else { id };
        let lease = self.store.lease_create(namespace, id, labels).await.or_status()?;
        Ok(Response::new(CreateResponse { lease: Some(into_proto::lease(lease)) }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<()>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let DeleteRequest { id, sync } = request.into_inner();
        self.store.lease_delete(namespace, id, sync).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let found = self.store.lease_list(namespace, request.into_inner().filters).await.or_status()?;
        Ok(Response::new(ListResponse { leases: found.into_iter().map(into_proto::lease).collect() }))
    }

    async fn add_resource(&self, request: Request<AddResourceRequest>) -> Result<Response<()>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let AddResourceRequest { id, resource } = request.into_inner();
        self.store.lease_add(namespace, id, parse(resource)?).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn delete_resource(&self, request: Request<DeleteResourceRequest>) -> Result<Response<()>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let DeleteResourceRequest { id, resource } = request.into_inner();
        self.store.lease_remove(namespace, id, parse(resource)?).await.or_status()?;
        Ok(Response::new(()))
    }

    async fn list_resources(
        &self,
        request: Request<ListResourcesRequest>,
    ) -> Result<Response<ListResourcesResponse>, Status> {
        let namespace = request::namespace(request.metadata())?;
        let found = self.store.lease_resources(namespace, request.into_inner().id).await.or_status()?;
        let resource = |found: Resource| proto::Resource { id: found.id().to_owned(), r#type: found.kind() };
        Ok(Response::new(ListResourcesResponse { resources: found.into_iter().map(resource).collect() }))
    }
}

fn parse(resource: Option<proto::Resource>) -> Result<Resource, Status> {
    let resource = from_proto::required("resource", resource)?;
    Resource::parse(&resource.r#type, &resource.id).map_err(gantry_primitives::Error::from).or_status()
}

/// An id that nobody has.
pub(crate) fn random_id() -> Result<String, Status> {
    use std::io::Read as _;
    let mut bytes = [0_u8; ID_BYTES];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|error| status::internal(format!("/dev/urandom: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
