//! `containerd.services.events.ttrpc.v1`: how a shim hands its events over.
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::any::{Any, Timestamp};
use crate::events::Event;

/// The service.
pub const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";
/// Its only method.
pub const FORWARD: &str = "Forward";

/// Hands one event over.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ForwardRequest {
    #[prost(message, optional, tag = "1")]
    pub envelope: Option<Envelope>,
}
/// An event with its time, namespace and topic.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Envelope {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "3")]
    pub topic: String,
    #[prost(message, optional, tag = "4")]
    pub event: Option<Any>,
}

impl Envelope {
    /// The envelope of an event.
    pub fn of<E: Event>(namespace: &str, timestamp: Timestamp, event: &E) -> Self {
        Self {
            timestamp: Some(timestamp),
            namespace: namespace.to_owned(),
            topic: E::TOPIC.to_owned(),
            event: Some(Any::pack(event)),
        }
    }
}

impl ForwardRequest {
    /// The encoding of a request around an envelope that is encoded already.
    pub fn around(envelope: &[u8]) -> Vec<u8> {
        const FIELD: u32 = 1;
        let mut bytes = Vec::with_capacity(envelope.len() + 6);
        encode_key(FIELD, WireType::LengthDelimited, &mut bytes);
        encode_varint(envelope.len() as u64, &mut bytes);
        bytes.extend_from_slice(envelope);
        bytes
    }
}

named!("containerd.types": Envelope);
named!("containerd.services.events.ttrpc.v1": ForwardRequest);
