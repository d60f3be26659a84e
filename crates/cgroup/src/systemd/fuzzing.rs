use gantry_types::oci::Resources;

use super::bus::{escape, socket_of, unescape};
use super::message::{Call, FIXED_BYTES, MAX_MESSAGE_BYTES, decode, message_bytes};
use super::properties::{Properties, version_number};
use super::value::{Property, Value, first_type};
use crate::hierarchy::Mode;

/// A message of the bus: as it is, and with a head that fits, so that what is behind it is read.
pub fn bus_message(bytes: &[u8]) {
    let _ = decode(bytes);
    let mut message = bytes.to_vec();
    message.resize(message.len().max(FIXED_BYTES), 0);
    let fields = usize::from(message[12]) | usize::from(message[13]) << 8;
    let fields = fields % (message.len() - FIXED_BYTES + 1);
    let header = (FIXED_BYTES + fields).next_multiple_of(8);
    message.resize(message.len().max(header), 0);
    let body = message.len() - header;
    (message[0], message[3]) = (b'l', 1);
    message[4..8].copy_from_slice(&(body as u32).to_le_bytes());
    message[12..16].copy_from_slice(&(fields as u32).to_le_bytes());
    let _ = decode(&message);
}

/// What is text on the bus: addresses, signatures, escaped names, versions.
pub fn bus_text(text: &str) {
    let _ = socket_of(text);
    let _ = unescape(text);
    assert_eq!(unescape(&escape(text)).as_deref(), Some(text));
    let _ = version_number(text);
    if let Some((first, rest)) = first_type(text) {
        assert_eq!(first_type(first), Some((first, "")));
        assert_eq!(first.len() + rest.len(), text.len());
    }
}

/// A property of an annotation: whatever is accepted can be sent, and is read back as it was.
pub(crate) fn annotation(name: &str, value: &str) {
    let Ok(property) = Property::from_annotation(name, value) else { return };
    let variant = [Value::Struct(vec![Value::Str(property.name), Value::Variant(Box::new(property.value))])];
    let mut call =
        Call { destination: "d", path: "/p", interface: "i", member: "m", arguments: &variant }.encode(1);
    let fixed: &[u8; FIXED_BYTES] = call.first_chunk().expect("a message has a head");
    if call.len() > MAX_MESSAGE_BYTES {
        return;
    }
    assert_eq!(message_bytes(fixed), Some(call.len()));
    // As a signal, a call is one that we read.
    call[1] = 4;
    let Some(super::message::Incoming::Signal { body, .. }) = decode(&call) else {
        panic!("cannot be read back: {variant:?}");
    };
    // A number may be none, and is then not equal to itself.
    assert_eq!(format!("{body:?}"), format!("{variant:?}"));
}

/// Limits as properties, for systemds of all ages.
pub fn properties(resources: &Resources) {
    for (mode, version) in [(Mode::V2, 257), (Mode::V2, 239), (Mode::Hybrid, 247)] {
        let mut resources = resources.clone();
        let mut version = || Ok(version);
        let mut properties = Properties::new(mode, &mut version);
        let done = properties
            .early(&resources)
            .and_then(|()| properties.at_start(&resources))
            .and_then(|()| properties.late(&mut resources));
        if done.is_ok()
            && let Ok(policy) = crate::devices::policy(&resources.devices)
        {
            properties.devices(&policy);
        }
        for property in properties.list {
            let _ = first_type(&property.value.signature()).expect("a property has one type");
        }
    }
}
