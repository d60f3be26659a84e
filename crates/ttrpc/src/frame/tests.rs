use proptest::prelude::*;

use super::*;

fn frame(stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut bytes = Header { length, stream, kind: kind.into(), flags: 0 }.to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// What a decoder finds in bytes that come in these parts.
fn decode<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<(Header, Option<Vec<u8>>)> {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    for mut part in parts {
        while let Some(decoded) = decoder.decode(&mut part) {
            found.push(match decoded {
                Decoded::Frame(header, payload) => (header, Some(payload.into_owned())),
                Decoded::Oversized(header) => (header, None),
            });
        }
        assert!(part.is_empty());
    }
    found
}

#[test]
fn header_is_big_endian() {
    let header = Header { length: 0x0102_0304, stream: 0x0506_0708, kind: Kind::Data, flags: 9 };
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 3, 9];
    assert_eq!(header.to_bytes(), bytes);
    assert_eq!(Header::from_bytes(bytes), header);
}

#[test]
fn halves_of_frames_are_put_together() {
    let bytes = [frame(1, 1, b"hello"), frame(3, 1, b""), frame(5, 77, &[7; 9000])].concat();
    let whole = decode(std::iter::once(&bytes[..]));
    assert_eq!(whole.len(), 3);
    assert_eq!(whole[0].1.as_deref(), Some(&b"hello"[..]));
    assert_eq!(whole[2].0.kind, Kind::Unknown(77));
    for size in [1, 2, 9, 10, 11, 4095, 9000] {
        assert_eq!(decode(bytes.chunks(size)), whole, "in parts of {size}");
    }
}

#[test]
fn whole_frame_is_not_copied() {
    let bytes = frame(1, 1, b"hello");
    let decoded = Decoder::new().decode(&mut &bytes[..]);
    assert!(matches!(decoded, Some(Decoded::Frame(_, Cow::Borrowed(b"hello")))));
}

#[test]
fn length_of_four_gigabytes_costs_nothing() {
    let mut decoder = Decoder::new();
    let mut input: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1, 0];
    assert!(matches!(decoder.decode(&mut input), Some(Decoded::Oversized(Header { stream: 1, .. }))));
    let block = vec![0; 1 << 20];
    for _ in 0..4095 {
        assert_eq!(decoder.decode(&mut &block[..]), None);
    }
    // One byte less than 4 GiB: the last of the block begins a new header.
    assert_eq!(decoder.decode(&mut &block[..]), None);
    let rest = frame(3, 1, b"x");
    // That byte was zero, and so is the first of the next header.
    let found = decoder.decode(&mut &rest[1..]);
    assert!(matches!(found, Some(Decoded::Frame(Header { stream: 3, .. }, _))), "{found:?}");
    assert!(!decoder.is_within_frame());
}

#[test]
fn longest_message_passes_and_one_byte_more_does_not() {
    let found = decode(frame(1, 1, &vec![1; MAX_MESSAGE_BYTES]).chunks(65536));
    assert_eq!(found[0].1.as_ref().map(Vec::len), Some(MAX_MESSAGE_BYTES));
    let bytes = [frame(1, 1, &vec![1; MAX_MESSAGE_BYTES + 1]), frame(3, 1, b"next")].concat();
    let found = decode(bytes.chunks(65536));
    assert_eq!(found[0].1, None);
    assert_eq!(found[1].1.as_deref(), Some(&b"next"[..]));
}

#[test]
fn header_of_a_long_message_sets_little_aside() {
    let mut decoder = Decoder::new();
    let header = frame(1, 1, &vec![0; MAX_MESSAGE_BYTES]);
    assert_eq!(decoder.decode(&mut &header[..11]), None);
    let State::Payload { bytes, .. } = &decoder.state else { panic!("a payload has begun") };
    assert!(bytes.capacity() <= FIRST_BYTES);
}

proptest! {
    #[test]
    fn parts_do_not_matter(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in 1_usize..20) {
        prop_assert_eq!(decode(bytes.chunks(size)), decode(std::iter::once(&bytes[..])));
    }
}
