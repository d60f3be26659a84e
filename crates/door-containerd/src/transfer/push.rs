use gantry_primitives::{Context, PushRequest};
use gantry_proto_containerd::transfer::{ImageStore, OciRegistry};
use gantry_types::platform::Matcher;
use tonic::Status;

use super::progress::Display;
use super::{TransferService, registry};
use crate::from_proto;
use crate::status::OrStatus as _;

impl TransferService {
    /// From the store to a registry.
    pub(super) async fn push(
        &self,
        context: &Context,
        from: ImageStore,
        to: OciRegistry,
        display: &Display,
    ) -> Result<(), Status> {
        let reference = registry::reference(&to)?;
        let configured = self.access.borrow().clone();
        let access = registry::access(&to, &context.namespace, &self.streams, &configured)?;
        let image = self.store.image_get(context.clone(), from.name).await.or_status()?;
        display.line(format!("Pushing to OCI Registry ({reference})"));
        display.image("pushing content", &image.name, Some(&image.target));
        let request = PushRequest {
            target: image.target.clone(),
            reference: reference.clone(),
            platforms: Matcher(from.platforms.into_iter().map(from_proto::platform).collect()),
            parallel: self.uploads,
            access,
            reporter: display.reporter(&image.name),
        };
        self.store.push(context.clone(), request).await.or_status()?;
        display.image("pushed content", &image.name, Some(&image.target));
        display.line(format!("Completed push to OCI Registry ({reference})"));
        Ok(())
    }
}
