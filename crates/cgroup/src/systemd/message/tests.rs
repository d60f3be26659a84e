use super::*;

/// A message as the other side would send it.
pub(in crate::systemd) fn incoming(kind: u8, fields: &[(u8, Value)], body: &[Value]) -> Vec<u8> {
    let mut content = Writer::default();
    let mut signature = String::new();
    for value in body {
        value.write_signature(&mut signature);
        content.value(value);
    }
    let mut out = Writer::default();
    out.bytes.extend([b'l', kind, 0, 1]);
    out.u32(content.bytes.len() as u32);
    out.u32(77);
    out.array("(yv)", |out| {
        for (code, value) in fields.iter().chain([&(SIGNATURE, Value::Signature(signature))]) {
            out.align(8);
            out.bytes.push(*code);
            out.variant(value);
        }
    });
    out.align(8);
    out.bytes.extend(content.bytes);
    out.bytes
}

fn sample() -> Vec<Value> {
    vec![
        Value::Bool(true),
        Value::Byte(7),
        Value::I16(-2),
        Value::U16(2),
        Value::I32(-3),
        Value::U32(3),
        Value::I64(-4),
        Value::U64(u64::MAX),
        Value::Double(1.5),
        Value::Str("ä".into()),
        Value::Path("/a/b".into()),
        Value::Signature("a(sv)".into()),
        Value::Array("t".into(), vec![]),
        Value::strings(["x", "yy"]),
        Value::Struct(vec![Value::Byte(1), Value::Variant(Box::new(Value::bytes(&[1, 2, 3])))]),
        Value::Array(
            "(ss)".into(),
            vec![Value::Struct(vec![Value::Str("p".into()), Value::Str("r".into())])],
        ),
    ]
}

#[test]
fn a_call_is_encoded_as_the_specification_shows() {
    let call =
        Call { destination: "d", path: "/p", interface: "i", member: "m", arguments: &[Value::U32(5)] };
    let bytes = call.encode(9);
    let expect: &[u8] = &[
        b'l', 1, 0, 1, 4, 0, 0, 0, 9, 0, 0, 0, 0x47, 0, 0, 0, // fixed part, 0x47 bytes of fields
        1, 1, b'o', 0, 2, 0, 0, 0, b'/', b'p', 0, 0, 0, 0, 0, 0, // path
        2, 1, b's', 0, 1, 0, 0, 0, b'i', 0, 0, 0, 0, 0, 0, 0, // interface
        3, 1, b's', 0, 1, 0, 0, 0, b'm', 0, 0, 0, 0, 0, 0, 0, // member
        6, 1, b's', 0, 1, 0, 0, 0, b'd', 0, 0, 0, 0, 0, 0, 0, // destination
        8, 1, b'g', 0, 1, b'u', 0, 0, // signature, padding
        5, 0, 0, 0,
    ];
    assert_eq!(bytes, expect);
    assert_eq!(message_bytes(bytes.first_chunk().unwrap()), Some(bytes.len()));
    assert_eq!(decode(&bytes), Some(Incoming::Other));
}

#[test]
fn every_type_survives_the_way_there_and_back() {
    let message = incoming(RETURN, &[(REPLY_SERIAL, Value::U32(9))], &sample());
    assert_eq!(decode(&message), Some(Incoming::Return { serial: 9, body: sample() }));
    let fields = [(REPLY_SERIAL, Value::U32(9)), (ERROR_NAME, Value::Str("a.B".into()))];
    let message = incoming(ERROR, &fields, &[Value::Str("no".into())]);
    assert_eq!(decode(&message), Some(Incoming::Error { serial: 9, name: "a.B".into(), text: "no".into() }));
}

#[test]
fn no_prefix_and_no_changed_byte_makes_the_reader_panic() {
    let message = incoming(RETURN, &[(REPLY_SERIAL, Value::U32(9))], &sample());
    for end in 0..message.len() {
        assert_eq!(decode(&message[..end]), None);
    }
    for at in 0..message.len() {
        for change in [0, 1, 0x7f, 0x80, 0xff, b'a', b'(', b'v', b'{'] {
            let mut hostile = message.clone();
            hostile[at] = change;
            let _ = decode(&hostile);
            if let Some(fixed) = hostile.first_chunk() {
                let _ = message_bytes(fixed);
            }
        }
    }
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    let mut fixed = [0; FIXED_BYTES];
    fixed[0] = b'l';
    fixed[3] = 1;
    fixed[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    fixed[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(message_bytes(&fixed), None);
    let mut value = Value::Byte(1);
    for _ in 0..40 {
        value = Value::Variant(Box::new(value));
    }
    let message = incoming(RETURN, &[(REPLY_SERIAL, Value::U32(9))], &[value]);
    assert_eq!(decode(&message), None);
    // Empty structs would fill memory from no bytes at all.
    assert_eq!(first_type("a()"), None);
}
