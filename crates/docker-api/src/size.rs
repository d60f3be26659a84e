//! Numbers of bytes: `10m`, `1.5g`, and how Docker shows them.

use crate::error::Invalid;
use crate::name::excerpt;

const LETTERS: &str = "kmgtp";
const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// Reads a size whose units are powers of 1024 (memory): `512`, `10m`, `1.5g`, `1GiB`.
///
/// # Errors
/// No number, a negative one, another unit, or more than fits.
pub fn parse_binary(text: &str) -> Result<i64, Invalid> {
    parse(text, 1024)
}

/// Reads a size whose units are powers of 1000 (disks).
///
/// # Errors
/// As [`parse_binary`].
pub fn parse_decimal(text: &str) -> Result<i64, Invalid> {
    parse(text, 1000)
}

fn parse(text: &str, base: i64) -> Result<i64, Invalid> {
    let read = || {
        let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
        let (number, unit) = text.split_at(end);
        let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
        let scale = scale(&unit, base)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(fraction) || number.ends_with('.') {
            return None;
        }
        let whole = whole.parse::<i64>().ok()?.checked_mul(scale)?;
        let part = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse::<f64>().ok()? };
        // A part of a unit is below the unit, which fits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let part = (part * scale as f64) as i64;
        whole.checked_add(part)
    };
    read().ok_or_else(|| Invalid::Size(excerpt(text)))
}

fn scale(unit: &str, base: i64) -> Option<i64> {
    if matches!(unit, "" | "b") {
        return Some(1);
    }
    let letter = unit.chars().next()?;
    let power = u32::try_from(LETTERS.find(letter)?).ok()? + 1;
    matches!(&unit[1..], "" | "b" | "ib").then(|| base.checked_pow(power)).flatten()
}

/// A size in powers of 1000 with four digits at most, as `docker images` shows it before 28.
#[must_use]
pub fn human(bytes: f64) -> String {
    human_with(bytes, 4)
}

/// The same with another number of digits; tables have three.
#[must_use]
pub fn human_with(bytes: f64, digits: usize) -> String {
    let (value, unit) = scaled(bytes, 1000.0, &DECIMAL);
    format!("{}{unit}", significant(value, digits))
}

/// A size in powers of 1024 with four digits at most, as memory is shown.
#[must_use]
pub fn human_binary(bytes: f64) -> String {
    let (value, unit) = scaled(bytes, 1024.0, &BINARY);
    format!("{}{unit}", significant(value, 4))
}

fn scaled(mut value: f64, base: f64, units: &[&'static str]) -> (f64, &'static str) {
    let mut power = 0;
    while value >= base && power + 1 < units.len() {
        value /= base;
        power += 1;
    }
    (value, units[power])
}

/// C's `%.<digits>g`.
#[must_use]
pub fn significant(value: f64, digits: usize) -> String {
    let digits = digits.max(1);
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { value.to_string() };
    }
    // Rust's exponent after rounding to the digits is what C decides by.
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').expect("the notation has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    let is_wide = exponent < -4 || exponent >= i32::try_from(digits).unwrap_or(i32::MAX);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if is_wide {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.unsigned_abs());
    }
    let decimals = usize::try_from(i32::try_from(digits).unwrap_or(i32::MAX) - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_either_base() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("10m", 10 << 20),
            ("1.5g", 3 << 29),
            ("1GiB", 1 << 30),
            ("1 kb", 1024),
            ("4B", 4),
        ] {
            assert_eq!(parse_binary(text).unwrap(), bytes, "{text}");
        }
        assert_eq!(parse_decimal("1.5kB").unwrap(), 1500);
        for text in ["", "m", "-1", "1x", "1.m", "1mm", "9999999999999g", "1e3", ".5m", "1.2.3", "1  k", "é1"]
        {
            assert!(parse_binary(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_shown_as_docker_shows_them() {
        for (bytes, three, four) in [
            (0.0, "0B", "0B"),
            (999.0, "999B", "999B"),
            (1_000.0, "1kB", "1kB"),
            (1_234_567.0, "1.23MB", "1.235MB"),
            (4_262_000.0, "4.26MB", "4.262MB"),
            (999_999.0, "1e+03kB", "1000kB"),
            (131_000_000.0, "131MB", "131MB"),
        ] {
            assert_eq!(human_with(bytes, 3), three);
            assert_eq!(human(bytes), four);
        }
        assert_eq!(human_binary(1_572_864.0), "1.5MiB");
        assert_eq!(significant(0.000_012_34, 3), "1.23e-05");
        assert_eq!(significant(0.05, 2), "0.05");
    }
}
