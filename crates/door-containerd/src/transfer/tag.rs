use gantry_primitives::{Context, Image, Timestamp};
use gantry_proto_containerd::transfer::ImageStore;
use tonic::Status;

use super::progress::Display;
use super::{TransferService, names};
use crate::status::OrStatus as _;

impl TransferService {
    /// Another name for an image of the store.
    pub(super) async fn tag(
        &self,
        context: &Context,
        from: ImageStore,
        to: ImageStore,
    ) -> Result<(), Status> {
        let image = self.store.image_get(context.clone(), from.name).await.or_status()?;
        for named in names::names(&to, &image.target.digest, Timestamp::now())? {
            let tagged = Image::new(named.name, image.target.clone(), named.labels);
            self.save(context, tagged, &Display::nobody()).await?;
        }
        Ok(())
    }
}
