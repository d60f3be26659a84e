//! `containerd.services.images.v1`.

use gantry_primitives::{Holder, Image, Store};
use gantry_proto_containerd::images as proto;
use gantry_proto_containerd::images::images_server::Images;
use gantry_proto_containerd::images::{
    CreateImageRequest, CreateImageResponse, DeleteImageRequest, GetImageRequest, GetImageResponse,
    ListImagesRequest, ListImagesResponse, UpdateImageRequest, UpdateImageResponse,
};
use gantry_types::{Descriptor, Digest};
use tonic::{Request, Response, Status};

use crate::status::{self, OrStatus as _};
use crate::{from_proto, into_proto, request};

pub(crate) struct ImagesService {
    pub(crate) store: Store,
}

#[tonic::async_trait]
impl Images for ImagesService {
    async fn get(&self, request: Request<GetImageRequest>) -> Result<Response<GetImageResponse>, Status> {
        let context = request::context(request.metadata())?;
        let image = self.store.image_get(context, request.into_inner().name).await.or_status()?;
        Ok(Response::new(GetImageResponse { image: Some(into_proto::image(image)) }))
    }

    async fn list(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        let context = request::context(request.metadata())?;
        let found = self.store.image_list(context, request.into_inner().filters).await.or_status()?;
        Ok(Response::new(ListImagesResponse { images: found.into_iter().map(into_proto::image).collect() }))
    }

    async fn create(
        &self,
        request: Request<CreateImageRequest>,
    ) -> Result<Response<CreateImageResponse>, Status> {
        let context = request::context(request.metadata())?;
        let request = request.into_inner();
        let given = from_proto::required("image", request.image)?;
        let target = from_proto::descriptor(from_proto::required("image target", given.target)?)?;
        let image = Image::new(named(given.name)?, target, given.labels);
        let epoch = from_proto::time(request.source_date_epoch)?;
        let holder = Holder::Containerd(context.namespace.clone());
        let image = self.store.image_create(context, holder, image, epoch).await.or_status()?;
        Ok(Response::new(CreateImageResponse { image: Some(into_proto::image(image)) }))
    }

    async fn update(
        &self,
        request: Request<UpdateImageRequest>,
    ) -> Result<Response<UpdateImageResponse>, Status> {
        let context = request::context(request.metadata())?;
        let request = request.into_inner();
        let given = from_proto::required("image", request.image)?;
        let fields = from_proto::fields(request.update_mask);
        let target = target(&given, &fields)?;
        let image = Image::new(named(given.name)?, target, given.labels);
        let epoch = from_proto::time(request.source_date_epoch)?;
        let holder = Holder::Containerd(context.namespace.clone());
        let image = self.store.image_update(context, holder, image, fields, epoch).await.or_status()?;
        Ok(Response::new(UpdateImageResponse { image: Some(into_proto::image(image)) }))
    }

    async fn delete(&self, request: Request<DeleteImageRequest>) -> Result<Response<()>, Status> {
        let context = request::context(request.metadata())?;
        let DeleteImageRequest { name, sync, target } = request.into_inner();
        let target = target.map(|target| from_proto::digest(&target.digest)).transpose()?;
        let holder = Holder::Containerd(context.namespace.clone());
        self.store.image_delete(context, holder, name, target, sync).await.or_status()?;
        Ok(Response::new(()))
    }
}

fn named(name: String) -> Result<String, Status> {
    if name.is_empty() { Err(status::invalid_argument("image name is required")) } else { Ok(name) }
}

/// The target of an update. Where it is not changed, clients send none.
fn target(given: &proto::Image, fields: &[String]) -> Result<Descriptor, Status> {
    let is_changed = fields.is_empty() || fields.iter().any(|field| field == "target");
    let target = given.target.clone();
    if is_changed {
        return from_proto::descriptor(from_proto::required("image target", target)?);
    }
    let unchanged = Descriptor::new("", Digest::sha256(b""), 0);
    Ok(Descriptor { annotations: target.unwrap_or_default().annotations, ..unchanged })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_labels_needs_no_target() {
        let image = proto::Image { name: "a".into(), ..Default::default() };
        assert!(target(&image, &["labels.x".into()]).is_ok());
        for fields in [vec![], vec!["target".to_owned()]] {
            assert_eq!(target(&image, &fields).unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }
}
