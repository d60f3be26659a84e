//! What a source or a destination is.

use gantry_proto_containerd::transfer::{ImageExportStream, ImageImportStream, ImageStore, OciRegistry};
use gantry_proto_containerd::{Any, Message, Name};
use tonic::Status;

use crate::status;

/// One end of a transfer.
pub(super) enum Endpoint {
    /// An image in a registry.
    Registry(OciRegistry),
    /// Images of the store.
    Store(ImageStore),
    /// An archive that the client sends.
    Import(ImageImportStream),
    /// An archive that the client gets.
    Export(ImageExportStream),
    /// Something that we do not know.
    Other(String),
}

impl Endpoint {
    /// # Errors
    /// InvalidArgument for damaged bytes.
    pub(super) fn parse(any: Any) -> Result<Self, Status> {
        if let Some(registry) = unpack(&any)? {
            return Ok(Self::Registry(registry));
        }
        if let Some(store) = unpack(&any)? {
            return Ok(Self::Store(store));
        }
        if let Some(import) = unpack(&any)? {
            return Ok(Self::Import(import));
        }
        if let Some(export) = unpack(&any)? {
            return Ok(Self::Export(export));
        }
        Ok(Self::Other(any.name().to_owned()))
    }

    /// For messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Registry(_) => OciRegistry::NAME,
            Self::Store(_) => ImageStore::NAME,
            Self::Import(_) => ImageImportStream::NAME,
            Self::Export(_) => ImageExportStream::NAME,
            Self::Other(name) => name,
        }
    }
}

fn unpack<M: Message + Name + Default>(any: &Any) -> Result<Option<M>, Status> {
    any.unpack().map_err(|error| status::invalid_argument(format!("{}: {error}", any.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_by_their_names() {
        let store = ImageStore { name: "a".into(), ..Default::default() };
        assert!(matches!(Endpoint::parse(Any::pack(&store)), Ok(Endpoint::Store(found)) if found == store));
        let other = Any { type_url: "x.Y".into(), value: Default::default() };
        assert_eq!(Endpoint::parse(other).unwrap().name(), "x.Y");
        let damaged = Any { value: vec![0x0a, 9].into(), ..Any::pack(&store) };
        assert!(Endpoint::parse(damaged).is_err());
    }
}
