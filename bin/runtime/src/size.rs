//! Amounts of memory as people write them.

/// Reads an amount in bytes as docker's `RAMInBytes` does: `512`, `64m`, `1.5 GiB`, in powers of 1024.
///
/// Unlike there, an amount beyond 64 bits is refused instead of wrapped.
pub(crate) fn parse_size(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)? + 1;
    let (number, suffix) = text.split_at(end);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.len() <= 18 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return Err(invalid());
    }
    let unit = unit_bytes(suffix).ok_or_else(|| format!("invalid suffix: '{suffix}'"))?;
    let value = |part: &str| part.parse::<u128>().unwrap_or(0);
    let bytes = value(whole) * unit + value(fraction) * unit / 10u128.pow(fraction.len() as u32);
    i64::try_from(bytes).map_err(|_| invalid())
}

/// The bytes of a suffix: nothing, `b`, or a letter of `kmgtp` with or without `b` or `ib` after it.
fn unit_bytes(suffix: &str) -> Option<u128> {
    let lower = suffix.to_ascii_lowercase();
    let mut letters = lower.chars();
    let exponent = match letters.next() {
        None => return Some(1),
        Some('b') => return letters.next().is_none().then_some(1),
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return None,
    };
    matches!(letters.as_str(), "" | "b" | "ib").then_some(1 << (10 * exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_docker() {
        for (text, expect) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("64MB", 64 << 20),
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1.5g", 3 << 29),
            (".5k", 512),
            ("2.", 2),
            ("7p", 7 << 50),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(parse_size(text), Ok(expect), "{text}");
        }
    }

    #[test]
    fn nonsense_and_overflow_are_refused() {
        for text in [
            "", "m", "-1", "-5m", "1x", "1kbb", "1bb", "1kib2", "1,5g", "++1", "9999p", "1e3", "１", "1 2",
            " ",
        ] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }
}
