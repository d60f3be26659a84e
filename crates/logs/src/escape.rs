//! Text in JSON strings as Docker's `ffjsonWriteJSONBytesAsString` writes it.
//!
//! HTML's characters, control characters (tabs, too) and the line separators U+2028 and U+2029 are escaped, and each byte
//! that is not UTF-8 becomes `\ufffd`.

use memchr::memchr;

const HEX: &[u8; 16] = b"0123456789abcdef";
/// How many bytes are looked at in one step: a register of every x86-64, and of aarch64.
const STEP: usize = 16;

/// Where escaped bytes go.
pub(crate) trait Sink {
    fn push(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn push(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// How many bytes at the start are ASCII that is written as it is.
fn plain_len(bytes: &[u8]) -> usize {
    let (steps, rest) = bytes.as_chunks::<STEP>();
    for (number, step) in steps.iter().enumerate() {
        let plain = plain_in(step);
        if plain < STEP {
            return number * STEP + plain;
        }
    }
    let mut last = [b' '; STEP];
    last[..rest.len()].copy_from_slice(rest);
    bytes.len() - rest.len() + plain_in(&last).min(rest.len())
}

/// The same for one step.
///
/// The loop treats every byte alike, so the compiler compares whole registers.
#[inline]
fn plain_in(step: &[u8; STEP]) -> usize {
    let mut special = [0u8; STEP];
    for (found, &byte) in special.iter_mut().zip(step) {
        let is = |found: bool| if found { 0xff } else { 0u8 };
        // As a signed number, what is not ASCII is below the space as control characters are. `<` and `>` differ in
        // one bit.
        *found = is((byte as i8) < 0x20)
            | is(byte == b'"')
            | is(byte == b'\\')
            | is(byte == b'&')
            | is(byte & 0xfd == b'<');
    }
    u128::from_le_bytes(special).trailing_zeros() as usize / 8
}

/// Writes `bytes` without the quotation marks around them.
pub(crate) fn push(sink: &mut impl Sink, bytes: &[u8]) {
    let plain = plain_len(bytes);
    sink.push(&bytes[..plain]);
    let rest = &bytes[plain..];
    if rest.is_empty() {
        return;
    }
    if rest.is_ascii() {
        return push_ascii(sink, rest);
    }
    for chunk in rest.utf8_chunks() {
        push_text(sink, chunk.valid().as_bytes());
        // Go finds one error in each byte of a sequence that is cut short.
        for _ in chunk.invalid() {
            sink.push(b"\\ufffd");
        }
    }
}

/// UTF-8, in which only U+2028 (e2 80 a8) and U+2029 (e2 80 a9) are special beside ASCII.
fn push_text(sink: &mut impl Sink, mut text: &[u8]) {
    let mut looked_at = 0;
    while let Some(found) = memchr(0xe2, &text[looked_at..]) {
        let at = looked_at + found;
        looked_at = at + 3;
        if text[at + 1] == 0x80 && matches!(text[at + 2], 0xa8 | 0xa9) {
            push_ascii(sink, &text[..at]);
            sink.push(if text[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            text = &text[looked_at..];
            looked_at = 0;
        }
    }
    push_ascii(sink, text);
}

/// Escapes ASCII; other bytes are written as they are.
fn push_ascii(sink: &mut impl Sink, mut bytes: &[u8]) {
    loop {
        let mut plain = plain_len(bytes);
        while plain < bytes.len() && bytes[plain] >= 0x80 {
            plain += 1;
            plain += plain_len(&bytes[plain..]);
        }
        sink.push(&bytes[..plain]);
        let Some(&special) = bytes.get(plain) else { return };
        push_escape(sink, special);
        bytes = &bytes[plain + 1..];
    }
}

fn push_escape(sink: &mut impl Sink, byte: u8) {
    match byte {
        b'\\' => sink.push(b"\\\\"),
        b'"' => sink.push(b"\\\""),
        b'\n' => sink.push(b"\\n"),
        b'\r' => sink.push(b"\\r"),
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]);
            sink.push(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
}

/// Escapes text for the values of `attrs`.
pub(crate) fn text(text: &str) -> String {
    let mut escaped = Vec::with_capacity(text.len());
    push(&mut escaped, text.as_bytes());
    String::from_utf8_lossy(&escaped).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut sink = Vec::new();
        push(&mut sink, bytes);
        String::from_utf8(sink).unwrap()
    }

    #[test]
    fn bytes_are_escaped_as_docker_escapes_them() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"plain text of more than sixteen bytes", "plain text of more than sixteen bytes"),
            (b"a\"b\\c\nd\re\tf", r#"a\"b\\c\nd\re\u0009f"#),
            (b"<a href=\"x\">&amp;</a>", r#"\u003ca href=\"x\"\u003e\u0026amp;\u003c/a\u003e"#),
            (b"\0\x1b[1m\x7f", "\\u0000\\u001b[1m\x7f"),
            ("grüße, 世界, 🦀".as_bytes(), "grüße, 世界, 🦀"),
            ("a\u{2028}b\u{2029}\u{2027}<".as_bytes(), "a\\u2028b\\u2029\u{2027}\\u003c"),
            (b"\xff\xfe", r"\ufffd\ufffd"),
            (b"cut \xe2\x82 short \xf0\x9f\xa6", r"cut \ufffd\ufffd short \ufffd\ufffd\ufffd"),
            (b"\xed\xa0\x80", r"\ufffd\ufffd\ufffd"),
            ("\u{fffd}".as_bytes(), "\u{fffd}"),
        ] {
            assert_eq!(escaped(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn every_byte_at_every_place_of_a_step_is_seen() {
        for byte in 0..=255u8 {
            for place in 0..40 {
                let mut bytes = [b'x'; 40];
                bytes[place] = byte;
                let mut expected = "x".repeat(place);
                let lossy = if byte < 0x80 { escaped(&[byte]) } else { "\\ufffd".into() };
                expected.push_str(&lossy);
                expected.push_str(&"x".repeat(39 - place));
                assert_eq!(escaped(&bytes), expected, "{byte:#x} at {place}");
            }
        }
    }
}
