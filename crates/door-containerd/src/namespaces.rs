//! `containerd.services.namespaces.v1`.

use gantry_primitives::Store;
use gantry_proto_containerd::namespaces::namespaces_server::Namespaces;
use gantry_proto_containerd::namespaces::{
    CreateNamespaceRequest, CreateNamespaceResponse, DeleteNamespaceRequest, GetNamespaceRequest,
    GetNamespaceResponse, ListNamespacesRequest, ListNamespacesResponse, Namespace, UpdateNamespaceRequest,
    UpdateNamespaceResponse,
};
use gantry_types::ErrorKind;
use tonic::{Request, Response, Status};

use crate::from_proto;
use crate::status::OrStatus as _;

pub(crate) struct NamespacesService {
    pub(crate) store: Store,
}

#[tonic::async_trait]
impl Namespaces for NamespacesService {
    /// One that is not there has no labels, as with containerd: dockerd asks before anything else.
    async fn get(
        &self,
        request: Request<GetNamespaceRequest>,
    ) -> Result<Response<GetNamespaceResponse>, Status> {
        let name = request.into_inner().name;
        let labels = match self.store.namespace_get(from_proto::namespace(&name)?).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Default::default(),
            labels => labels.or_status()?,
        };
        Ok(Response::new(GetNamespaceResponse { namespace: Some(Namespace { name, labels }) }))
    }

    // containerd has no filter here either: its field is never read.
    async fn list(
        &self,
        _: Request<ListNamespacesRequest>,
    ) -> Result<Response<ListNamespacesResponse>, Status> {
        let all = self.store.namespace_list().await.or_status()?;
        let namespaces = all.into_iter().map(|(name, labels)| Namespace { name: name.into(), labels });
        Ok(Response::new(ListNamespacesResponse { namespaces: namespaces.collect() }))
    }

    async fn create(
        &self,
        request: Request<CreateNamespaceRequest>,
    ) -> Result<Response<CreateNamespaceResponse>, Status> {
        let namespace = from_proto::required("namespace", request.into_inner().namespace)?;
        let name = from_proto::namespace(&namespace.name)?;
        self.store.namespace_create(name, namespace.labels.clone()).await.or_status()?;
        Ok(Response::new(CreateNamespaceResponse { namespace: Some(namespace) }))
    }

    async fn update(
        &self,
        request: Request<UpdateNamespaceRequest>,
    ) -> Result<Response<UpdateNamespaceResponse>, Status> {
        let request = request.into_inner();
        let Namespace { name, labels } = from_proto::required("namespace", request.namespace)?;
        let fields = from_proto::fields(request.update_mask);
        let namespace = from_proto::namespace(&name)?;
        let labels = self.store.namespace_update(namespace, labels, fields).await.or_status()?;
        Ok(Response::new(UpdateNamespaceResponse { namespace: Some(Namespace { name, labels }) }))
    }

    async fn delete(&self, request: Request<DeleteNamespaceRequest>) -> Result<Response<()>, Status> {
        let namespace = from_proto::namespace(&request.into_inner().name)?;
        self.store.namespace_delete(namespace).await.or_status()?;
        Ok(Response::new(()))
    }
}
