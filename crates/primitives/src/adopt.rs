//! Content that several namespaces look at under one name: an image of the shared space has its bytes in the namespace of whoever
//! pulled it, and the others get records of the same bytes when they need them.

use gantry_types::{Descriptor, Labels};

use crate::{Context, Result, Store};

impl Store {
    /// Gives the namespace a record, with labels, of content whose bytes are there for another one. False if they are not there,
    /// or have another size, or namespaces do not share bytes. What the namespace has already gets the labels.
    ///
    /// # Errors
    /// InvalidArgument for labels; NotFound for the lease.
    pub async fn content_adopt(
        &self,
        context: Context,
        descriptor: Descriptor,
        labels: Labels,
    ) -> Result<bool> {
        self.blocking(move |inner| {
            // From before the look until the record is there: nobody unlinks the file meanwhile.
            let _pin = inner.database.pin(&descriptor.digest);
            let shares = !inner.options.isolated_content && inner.content_is_there(&descriptor.digest)?;
            if !shares || inner.content.info(&descriptor.digest)?.size != descriptor.size {
                return Ok(false);
            }
            inner.record_content(&context, &descriptor, &labels)?;
            Ok(true)
        })
        .await
    }
}
