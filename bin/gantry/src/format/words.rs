//! Words of tables: times, sizes, shortened texts.

use gantry_docker_api::{Timestamp, duration, size};
use jiff::tz::TimeZone;

/// How many digits of an id are shown.
const SHORT_ID: usize = 12;

/// An id without its algorithm, shortened.
pub(crate) fn short_id(id: &str) -> &str {
    let bare = id.strip_prefix("sha256:").unwrap_or(id);
    bare.get(..SHORT_ID).unwrap_or(bare)
}

/// `3 minutes ago`, of seconds since 1970.
pub(crate) fn ago(seconds: i64) -> String {
    format!("{} ago", duration::human(Timestamp::now().seconds() - seconds))
}

/// A time as Go prints it: `2006-01-02 15:04:05 +0000 UTC`.
pub(crate) fn local_time(seconds: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else { return String::new() };
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// A size with three digits.
pub(crate) fn size(bytes: i64) -> String {
    #[allow(clippy::cast_precision_loss)] // three digits are shown
    size::human_with(bytes as f64, 3)
}

/// A size with four.
pub(crate) fn size_fine(bytes: i64) -> String {
    #[allow(clippy::cast_precision_loss)] // four digits are shown
    size::human(bytes as f64)
}

/// A text with at most so many characters, the last of which tells that there are more.
pub(crate) fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    if length <= 1 {
        return text.chars().take(length).collect();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

/// A text in quotes, as Go's `%q`.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\x0b' => quoted.push_str("\\v"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shortened_and_quoted() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(ellipsis("abcd", 4), "abcd");
        assert_eq!(quoted("a \"b\"\n\u{1b}é"), r#""a \"b\"\n\x1bé""#);
    }
}
