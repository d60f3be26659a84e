//! Lengths of time in Go's notation: `1h30m`, `1.5s`, `300ms`.

use crate::error::Invalid;
use crate::name::excerpt;

/// Units from the longest to the shortest, in nanoseconds.
const UNITS: [(&str, i128); 8] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];

/// Reads a duration as nanoseconds; it may be negative.
///
/// # Errors
/// Not Go's notation, or more than 292 years.
pub fn parse(text: &str) -> Result<i64, Invalid> {
    let read = || {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        if unsigned == "0" {
            return Some(0);
        }
        let total = parse_unsigned(unsigned)?;
        i64::try_from(if text.starts_with('-') { -total } else { total }).ok()
    };
    read().ok_or_else(|| Invalid::Duration(excerpt(text)))
}

fn parse_unsigned(mut rest: &str) -> Option<i128> {
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, after) = rest.split_at(end);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        // 19 digits are more than fit, and what is finer than that is nothing.
        if whole.is_empty() && fraction.is_empty() || whole.len() > 19 || fraction.contains('.') {
            return None;
        }
        let (unit, scale) = UNITS.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        total += if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? * scale };
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            total +=
                fraction.parse::<i128>().ok()? * scale / 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        }
        rest = &after[unit.len()..];
        if total > i128::from(i64::MAX) + 1 {
            return None;
        }
    }
    Some(total)
}

/// Writes nanoseconds in Go's notation.
#[must_use]
pub fn format(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    if total < 1_000_000_000 {
        let (scale, unit) = match total {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{sign}{}{unit}", decimal(total, scale));
    }
    let minutes = total / 60_000_000_000;
    let seconds = decimal(total % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

fn decimal(value: u64, scale: u64) -> String {
    let digits = scale.to_string().len() - 1;
    let (whole, fraction) = (value / scale, value % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    format!("{whole}.{fraction:0digits$}").trim_end_matches('0').to_owned()
}

/// A length of time in a person's words, as in `Up 5 minutes`.
#[must_use]
pub fn human(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, nanoseconds, written) in [
            ("0", 0, "0s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("-300ms", -300_000_000, "-300ms"),
            ("1us", 1_000, "1µs"),
            (".5m", 30_000_000_000, "30s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1m0.25s", 60_250_000_000, "1m0.25s"),
            ("12ns", 12, "12ns"),
        ] {
            assert_eq!(parse(text).unwrap(), nanoseconds, "{text}");
            assert_eq!(format(nanoseconds), written);
        }
        for text in ["", "1", "s", "1x", "1.2.3s", "1h-1m", ".s", "99999999999h", "1 s", "-"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse(&format(i64::MIN)).unwrap(), i64::MIN);
    }

    #[test]
    fn words_for_time_are_dockers() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (3_599, "59 minutes"),
            (3_600, "About an hour"),
            (5_400, "2 hours"),
            (200_000, "2 days"),
            (86_400 * 20, "2 weeks"),
            (86_400 * 100, "3 months"),
            (86_400 * 800, "2 years"),
        ] {
            assert_eq!(human(seconds), words);
        }
    }
}
