//! Entry points of the fuzz targets in `fuzz/`. Each panics where a promise is broken.

use crate::{Channel, Decoder, DetachKeys, Scan, Scanner, encode};

/// A multiplexed stream, or anything else: cut anywhere, it gives the same.
pub fn frames(stream: &[u8]) {
    let (whole, is_whole_error) = decode(stream, stream.len().max(1));
    for step in [1, 3, 8, 13] {
        let (pieces, is_error) = decode(stream, step);
        assert_eq!((&pieces, is_error), (&whole, is_whole_error));
    }
    let (again, is_error) = decode(&encode(Channel::Stdout, stream), 5);
    assert!(!is_error && again.iter().all(|(channel, _)| *channel == Channel::Stdout));
    assert_eq!(again.into_iter().map(|(_, byte)| byte).collect::<Vec<_>>(), stream);
}

fn decode(stream: &[u8], step: usize) -> (Vec<(Channel, u8)>, bool) {
    let mut decoder = Decoder::new();
    let mut bytes = Vec::new();
    for mut input in stream.chunks(step) {
        loop {
            match decoder.next(&mut input) {
                Ok(Some(piece)) => bytes.extend(piece.bytes.iter().map(|&byte| (piece.channel, byte))),
                Ok(None) => break,
                Err(_) => return (bytes, true),
            }
        }
    }
    (bytes, false)
}

/// Detach keys in a text, and input after a zero byte: the keys are found where a plain search finds them.
pub fn detach(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let Ok(keys) = text.parse::<DetachKeys>() else { return };
    let input = parts.next().unwrap_or_default();
    let place = input.windows(keys.as_bytes().len()).position(|window| window == keys.as_bytes());
    let mut scanner = Scanner::new(&keys);
    let mut output = Vec::new();
    let found = input.chunks(3).any(|part| scanner.scan(part, &mut output) == Scan::Detached);
    assert_eq!(found, place.is_some());
    if !found {
        scanner.finish(&mut output);
    }
    assert_eq!(output, &input[..place.unwrap_or(input.len())]);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_promises_hold_on_what_is_usual() {
        for input in
            [&b""[..], b"\x01\0\0\0\0\0\0\x02ab\x02\0", b"\x09", b"a,b,a\0ababa", b"a\0bbb", b"ctrl-p\0\x10"]
        {
            super::frames(input);
            super::detach(input);
        }
    }
}
