//! The two ways in which logrus writes a string.

use std::fmt::Write;

/// Appends `text` as logrus' text format has a value: bare if it is made of harmless characters, else quoted as Go's
/// `strconv.Quote` does.
pub(super) fn push_logfmt(out: &mut String, text: &str) {
    let harmless =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'/' | b'@' | b'^' | b'+');
    if text.bytes().all(harmless) {
        return out.push_str(text);
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            '\0'..='\x7f' => push_escape(out, "\\x", 2, c),
            _ if c.escape_debug().count() == 1 => out.push(c),
            '\u{80}'..='\u{ffff}' => push_escape(out, "\\u", 4, c),
            _ => push_escape(out, "\\U", 8, c),
        }
    }
    out.push('"');
}

/// Appends `text` as a JSON string, with the characters escaped that Go's encoder escapes for HTML's sake.
pub(super) fn push_json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => push_escape(out, "\\u", 4, c),
            _ => out.push(c),
        }
    }
    out.push('"');
}

fn push_escape(out: &mut String, prefix: &str, digits: usize, c: char) {
    write!(out, "{prefix}{:0digits$x}", u32::from(c)).expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_values_are_quoted_as_go_quotes() {
        for (text, expect) in [
            ("", ""),
            ("plain", "plain"),
            ("a/b-c_d.e@f^g+h", "a/b-c_d.e@f^g+h"),
            ("two words", "\"two words\""),
            ("a:b", "\"a:b\""),
            ("say \"x\"", "\"say \\\"x\\\"\""),
            ("a\\b\n\t\r\x07\x1b\x7f", "\"a\\\\b\\n\\t\\r\\a\\x1b\\x7f\""),
            ("größe", "\"größe\""),
            ("a\u{ad}\u{200b}\u{e000}", "\"a\\u00ad\\u200b\\ue000\""),
            ("\u{e0001}", "\"\\U000e0001\""),
        ] {
            let mut out = String::new();
            push_logfmt(&mut out, text);
            assert_eq!(out, expect, "{text:?}");
        }
    }

    #[test]
    fn json_strings_decode_to_what_went_in() {
        for text in ["", "a<b>&\"c\"\\", "\0\x01\x1f\x7f\u{2028}", "line\nline\ttab\r\x08\x0c", "ß\u{1f600}"]
        {
            let mut out = String::new();
            push_json(&mut out, text);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
            assert!(!out.contains(['<', '>', '&', '\n']), "{out}");
        }
    }
}
