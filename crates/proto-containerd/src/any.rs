//! `google.protobuf.Any` as containerd uses it: named by the bare name of the message.

use bytes::Bytes;
use prost::{DecodeError, Message, Name};

/// A message of any kind, beside its name.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Any {
    /// The name of the message, without a prefix when it is sent.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message; JSON for the types of [`json`].
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// Names of what travels as JSON.
pub mod json {
    /// How all of them start.
    pub const PREFIX: &str = "types.containerd.io/";
    /// The OCI runtime's configuration.
    pub const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
    /// A process of it.
    pub const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    /// Resources of it.
    pub const LINUX_RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    /// What a runtime can do.
    pub const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
}

/// The name of the empty message, which has no type of its own here.
pub const EMPTY: &str = "google.protobuf.Empty";

impl Any {
    /// Wraps a message under its bare name.
    pub fn pack<M: Message + Name>(message: &M) -> Self {
        Self { type_url: M::full_name(), value: message.encode_to_vec().into() }
    }

    /// The empty message.
    #[must_use]
    pub fn empty() -> Self {
        Self { type_url: EMPTY.to_owned(), value: Bytes::new() }
    }

    /// The bare name of what it carries, whatever prefix it came with. The names of JSON types have slashes of their own.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.type_url.starts_with(json::PREFIX) {
            return &self.type_url;
        }
        self.type_url.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it carries an `M`.
    #[must_use]
    pub fn is<M: Name>(&self) -> bool {
        let (package, name) = (M::PACKAGE, M::NAME);
        self.name().strip_prefix(package).and_then(|rest| rest.strip_prefix('.')) == Some(name)
    }

    /// The `M` that it carries; None if it is of another kind. Bytes of it are shared.
    ///
    /// # Errors
    /// The bytes are no `M`.
    pub fn unpack<M: Message + Name + Default>(&self) -> Result<Option<M>, DecodeError> {
        if !self.is::<M>() {
            return Ok(None);
        }
        M::decode(self.value.clone()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{events, images, transfer};

    #[test]
    fn names_are_bare_and_prefixes_are_taken() {
        let event = images::ImageCreate { name: "a".into(), ..Default::default() };
        let mut any = Any::pack(&event);
        assert_eq!(any.type_url, "containerd.services.images.v1.ImageCreate");
        assert_eq!(any.unpack(), Ok(Some(event.clone())));
        any.type_url = format!("type.googleapis.com/{}", any.type_url);
        assert_eq!(any.unpack(), Ok(Some(event)));
        assert_eq!(any.unpack::<events::ContentCreate>(), Ok(None));
    }

    #[test]
    fn names_of_json_types_keep_their_slashes() {
        let any = Any { type_url: json::SPEC.into(), value: Bytes::new() };
        assert_eq!(any.name(), json::SPEC);
    }

    #[test]
    fn bytes_of_a_stream_are_shared() {
        let any = Any::pack(&transfer::Data { data: Bytes::from(vec![7; 1000]) });
        let data = any.unpack::<transfer::Data>().unwrap().unwrap().data;
        assert!(any.value.as_ptr_range().contains(&data.as_ptr()));
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let any = Any { type_url: "containerd.events.ContentCreate".into(), value: vec![0x0a, 9].into() };
        assert!(any.unpack::<events::ContentCreate>().is_err());
    }
}
