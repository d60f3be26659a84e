use gantry_primitives::{Context, Holder, Image, ImportRequest, Timestamp};
use gantry_proto_containerd::transfer::{ImageImportStream, ImageStore};
use gantry_types::platform::Matcher;
use tonic::Status;

use super::progress::Display;
use super::{TransferService, inflate, names};
use crate::status::OrStatus as _;
use crate::{from_proto, streaming};

impl TransferService {
    /// From an archive that the client sends to the store.
    pub(super) async fn import(
        &self,
        context: &Context,
        from: ImageImportStream,
        to: ImageStore,
        display: &Display,
    ) -> Result<(), Status> {
        let stream = self.streams.take(&context.namespace, &from.stream)?;
        let source = inflate::Inflate::new(streaming::receive(stream));
        display.line("Importing".to_owned());
        let request = ImportRequest {
            platforms: Matcher(to.platforms.iter().cloned().map(from_proto::platform).collect()),
            breadth: names::breadth(&to),
            compress: from.force_compress,
            naming: names::of_archive(&to),
            index_names: names::of_index(&to),
            labels: to.labels.clone(),
            unpack: self.unpacks(&to.unpacks),
            holder: Holder::Containerd(context.namespace.clone()),
            reporter: display.reporter("import"),
        };
        let imported = self.store.import(context.clone(), Box::new(source), request).await.or_status()?;
        for image in imported.images {
            display.image("saved", &image.name, Some(&image.target));
            if !to.name.is_empty() && image.name != to.name {
                self.tie(context, image, &to).await?;
            }
        }
        display.line("Completed import".to_owned());
        Ok(())
    }

    /// Has a name last as long as that of the archive's index.
    async fn tie(&self, context: &Context, image: Image, to: &ImageStore) -> Result<(), Status> {
        let labels = names::extra_labels(to, Timestamp::now());
        let fields = names::TIES.iter().map(|label| format!("labels.{label}")).collect();
        let holder = Holder::Containerd(context.namespace.clone());
        let tied = Image { labels, ..image };
        self.store.image_update(context.clone(), holder, tied, fields, None).await.or_status()?;
        Ok(())
    }
}
