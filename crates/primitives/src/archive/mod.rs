//! Images as archives: OCI layouts and docker's, one tar for both.

mod docker;
mod export;
mod import;
mod read;

pub use export::{ExportImage, ExportRequest};
pub use import::{ImportRequest, Imported, Naming};

/// The name of an image in an index, as containerd writes it.
pub(crate) const ANNOTATION_NAME: &str = "io.containerd.image.name";
/// The tag, or the whole name, in an index (image specification v1.1.1, annotations.md).
pub(crate) const ANNOTATION_REF: &str = "org.opencontainers.image.ref.name";
/// The file that says that it is a layout.
pub(crate) const LAYOUT: &str = "oci-layout";
/// The index of a layout.
pub(crate) const INDEX: &str = "index.json";
/// docker's list of images.
pub(crate) const MANIFEST: &str = "manifest.json";
