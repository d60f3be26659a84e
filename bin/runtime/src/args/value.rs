use std::time::Duration;

/// Why a flag's value is refused, in the words of Go's `flag` package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadValue {
    Syntax,
    Range,
}

/// Reads a truth value as Go's `strconv.ParseBool` does.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a whole number as Go's `strconv.ParseInt` does with base 0: decimal, `0x`, `0o`, `0b`, or a leading zero for
/// octal.
pub(crate) fn parse_integer(text: &str) -> Result<i64, BadValue> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let prefixed =
        |lower: &str, upper: &str| digits.strip_prefix(lower).or_else(|| digits.strip_prefix(upper));
    let (radix, digits) = if let Some(rest) = prefixed("0x", "0X") {
        (16, rest)
    } else if let Some(rest) = prefixed("0o", "0O") {
        (8, rest)
    } else if let Some(rest) = prefixed("0b", "0B") {
        (2, rest)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    if digits.is_empty() || !digits.bytes().all(|b| char::from(b).is_digit(radix)) {
        return Err(BadValue::Syntax);
    }
    let magnitude = i128::from_str_radix(digits, radix).map_err(|_| BadValue::Range)?;
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| BadValue::Range)
}

/// Reads a length of time as Go's `time.ParseDuration` does: `300ms`, `1.5h`, `2h45m`, or a bare `0`.
///
/// A negative one is refused by the caller; it reads as zero.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanoseconds: u128 = 0;
    while !rest.is_empty() {
        let (amount, after) = split_while(rest, |b| b.is_ascii_digit() || b == b'.');
        let (unit, after) = split_while(after, |b| !b.is_ascii_digit() && b != b'.');
        nanoseconds += decimal_times(amount, unit_nanoseconds(unit)?)?;
        if nanoseconds > i64::MAX as u128 {
            return None;
        }
        rest = after;
    }
    Some(if negative { Duration::ZERO } else { Duration::from_nanos(nanoseconds as u64) })
}

fn split_while(text: &str, fits: fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|b| !fits(b)).unwrap_or(text.len());
    text.split_at(end)
}

fn unit_nanoseconds(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Multiplies a decimal fraction such as `1.5`, of at most 18 digits on either side, with `unit`.
fn decimal_times(amount: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 18 || fraction.len() > 18 {
        return None;
    }
    let number = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    Some(number(whole)? * unit + number(fraction)? * unit / 10u128.pow(fraction.len() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_values_are_those_of_go() {
        for (text, expect) in
            [("1", Some(true)), ("True", Some(true)), ("f", Some(false)), ("FALSE", Some(false))]
        {
            assert_eq!(parse_bool(text), expect, "{text}");
        }
        for text in ["", "yes", "tRUE", "2", " true"] {
            assert_eq!(parse_bool(text), None, "{text}");
        }
    }

    #[test]
    fn integers_take_prefixes_and_signs() {
        for (text, expect) in [
            ("0", 0),
            ("7", 7),
            ("-7", -7),
            ("+7", 7),
            ("0x1f", 31),
            ("0o17", 15),
            ("017", 15),
            ("0b101", 5),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse_integer(text), Ok(expect), "{text}");
        }
    }

    #[test]
    fn integers_out_of_range_or_malformed_are_told_apart() {
        for text in
            ["9223372036854775808", "-9223372036854775809", "99999999999999999999999999999999999999999999"]
        {
            assert_eq!(parse_integer(text), Err(BadValue::Range), "{text}");
        }
        for text in ["", "-", "+", "0x", "x", "1 ", " 1", "1.0", "--1", "08", "0x-1", "１"] {
            assert_eq!(parse_integer(text), Err(BadValue::Syntax), "{text}");
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, milliseconds) in [
            ("0", 0),
            ("5s", 5_000),
            ("100ms", 100),
            ("1.5s", 1_500),
            (".5s", 500),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("+1s", 1_000),
            ("-1s", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "1x", "-", ".", ".s", "1 s", "1..5s", "9999999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
