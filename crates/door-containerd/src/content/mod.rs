//! `containerd.services.content.v1`.

mod read;
mod write;

use futures_util::stream::BoxStream;
use gantry_primitives::Store;
use gantry_proto_containerd::content::content_server::Content;
use gantry_proto_containerd::content::{
    AbortRequest, DeleteContentRequest, InfoRequest, InfoResponse, ListContentRequest, ListContentResponse,
    ListStatusesRequest, ListStatusesResponse, ReadContentRequest, ReadContentResponse, StatusRequest,
    StatusResponse, UpdateRequest, UpdateResponse, WriteContentRequest, WriteContentResponse,
};
use tonic::{Request, Response, Status, Streaming};

use crate::status::OrStatus as _;
use crate::{batch, from_proto, into_proto, request};

pub(crate) struct ContentService {
    pub(crate) store: Store,
}

#[tonic::async_trait]
impl Content for ContentService {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let context = request::context(request.metadata())?;
        let digest = from_proto::digest(&request.into_inner().digest)?;
        let content = self.store.content_info(context, digest).await.or_status()?;
        Ok(Response::new(InfoResponse { info: Some(into_proto::content(content)) }))
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        let context = request::context(request.metadata())?;
        let request = request.into_inner();
        let info = from_proto::required("info", request.info)?;
        let fields = from_proto::fields(request.update_mask);
        let digest = from_proto::digest(&info.digest)?;
        let content = self.store.content_update(context, digest, info.labels, fields).await.or_status()?;
        Ok(Response::new(UpdateResponse { info: Some(into_proto::content(content)) }))
    }

    type ListStream = BoxStream<'static, Result<ListContentResponse, Status>>;

    async fn list(&self, request: Request<ListContentRequest>) -> Result<Response<Self::ListStream>, Status> {
        let context = request::context(request.metadata())?;
        let found = self.store.content_list(context, request.into_inner().filters).await.or_status()?;
        let answer = |found| ListContentResponse { info: found };
        Ok(Response::new(batch::stream(found, into_proto::content, answer)))
    }

    async fn delete(&self, request: Request<DeleteContentRequest>) -> Result<Response<()>, Status> {
        let context = request::context(request.metadata())?;
        let digest = from_proto::digest(&request.into_inner().digest)?;
        self.store.content_delete(context, digest).await.or_status()?;
        Ok(Response::new(()))
    }

    type ReadStream = BoxStream<'static, Result<ReadContentResponse, Status>>;

    async fn read(&self, request: Request<ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let context = request::context(request.metadata())?;
        let ReadContentRequest { digest, offset, size } = request.into_inner();
        let reader = self.store.content_reader(context, from_proto::digest(&digest)?).await.or_status()?;
        let range = read::range(reader.size(), offset, size)?;
        Ok(Response::new(read::stream(reader, range)))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let context = request::context(request.metadata())?;
        let status = self.store.ingest_status(context, request.into_inner().r#ref).await.or_status()?;
        Ok(Response::new(StatusResponse { status: Some(into_proto::ingest(status)) }))
    }

    async fn list_statuses(
        &self,
        request: Request<ListStatusesRequest>,
    ) -> Result<Response<ListStatusesResponse>, Status> {
        let context = request::context(request.metadata())?;
        let found = self.store.ingest_list(context, request.into_inner().filters).await.or_status()?;
        let statuses = found.into_iter().map(into_proto::ingest).collect();
        Ok(Response::new(ListStatusesResponse { statuses }))
    }

    type WriteStream = BoxStream<'static, Result<WriteContentResponse, Status>>;

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let context = request::context(request.metadata())?;
        Ok(Response::new(write::session(self.store.clone(), context, request.into_inner())))
    }

    async fn abort(&self, request: Request<AbortRequest>) -> Result<Response<()>, Status> {
        let context = request::context(request.metadata())?;
        self.store.ingest_abort(context, request.into_inner().r#ref).await.or_status()?;
        Ok(Response::new(()))
    }
}
