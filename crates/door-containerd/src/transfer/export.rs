use std::collections::HashSet;

use gantry_primitives::{Context, ExportImage, ExportRequest, Image};
use gantry_proto_containerd::transfer::{ImageExportStream, ImageStore};
use gantry_types::platform::Matcher;
use tonic::Status;

use super::progress::Display;
use super::{TransferService, names};
use crate::status::{self, OrStatus as _};
use crate::{from_proto, streaming};

impl TransferService {
    /// From the store to an archive that the client gets.
    pub(super) async fn export(
        &self,
        context: &Context,
        from: ImageStore,
        to: ImageExportStream,
        display: &Display,
    ) -> Result<(), Status> {
        let stream = self.streams.take(&context.namespace, &to.stream)?;
        display.line("Exporting".to_owned());
        let platforms = match (to.all_platforms, to.platforms.is_empty()) {
            (true, _) => Matcher::default(),
            (false, true) => Matcher::host(),
            (false, false) => Matcher(to.platforms.into_iter().map(from_proto::platform).collect()),
        };
        let request = ExportRequest {
            images: self.exported(context, &from).await?,
            platforms,
            skip_missing: false,
            skip_foreign: to.skip_non_distributable,
            skip_docker: to.skip_compatibility_manifest,
            reporter: display.reporter("export"),
        };
        let (sink, sent) = streaming::send(stream);
        let written = self.store.export(context.clone(), Box::new(sink), request);
        let (written, sent) = tokio::join!(written, sent);
        // Who does not take the archive makes its writer fail, too.
        sent?;
        written.or_status()?;
        display.line("Completed export".to_owned());
        Ok(())
    }

    /// The images that a source names.
    async fn exported(&self, context: &Context, from: &ImageStore) -> Result<Vec<ExportImage>, Status> {
        let mut images = Vec::new();
        let main = Some(&from.name).filter(|name| !name.is_empty());
        let extra = from.extra_references.iter().filter(|reference| !reference.is_prefix);
        for name in main.into_iter().chain(extra.map(|reference| &reference.name)) {
            images.push(self.store.image_get(context.clone(), name.clone()).await.or_status()?);
        }
        for prefix in from.extra_references.iter().filter(|reference| reference.is_prefix) {
            let all = self.store.image_list(context.clone(), Vec::new()).await.or_status()?;
            let found = names::of_prefix(prefix, all);
            if found.is_empty() {
                return Err(status::not_found(format!("no image of {:?}", prefix.name)));
            }
            images.extend(found);
        }
        let mut seen = HashSet::new();
        images.retain(|image| seen.insert(image.name.clone()));
        let export = |image: Image| ExportImage { target: image.target, names: vec![image.name] };
        let images: Vec<ExportImage> = images.into_iter().map(export).collect();
        if images.is_empty() {
            return Err(status::invalid_argument("no image to export"));
        }
        Ok(images)
    }
}
