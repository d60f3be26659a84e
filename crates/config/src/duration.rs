//! Durations as Go writes them: `1h30m`, `100ms`, `1.5s`.

use std::time::Duration;

const NANOS: &[(&str, f64)] = &[
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];
/// 292 years, Go's longest.
const MAX_NANOS: f64 = 9.2e18;

/// Reads a duration that is not negative.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanos = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let factor = NANOS.iter().find(|(name, _)| *name == unit)?.1;
        nanos += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    (nanos <= MAX_NANOS).then(|| Duration::from_nanos(nanos.round() as u64))
}

/// Writes one, exactly, in the largest unit that fits.
pub(crate) fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
    ];
    if nanos == 0 {
        return "0s".into();
    }
    match units.iter().find(|(_, unit)| nanos.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", nanos / unit),
        None => format!("{nanos}ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(parse(text), expect.map(Duration::from_millis), "{text}");
        };
        check("0", Some(0));
        check("0s", Some(0));
        check("100ms", Some(100));
        check("1.5s", Some(1500));
        check("1h1m1s1ms", Some(3_661_001));
        for wrong in ["", "1", "s", "1x", "-1s", "1s2", ".s", "1..2s", "300000000h"] {
            check(wrong, None);
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for nanos in
            [0u64, 1, 1_000, 1_500_000, 100_000_000, 1_000_000_000, 90_000_000_000, 86_400_000_000_000]
        {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse(&format(duration)), Some(duration), "{}", format(duration));
        }
        assert_eq!(format(Duration::from_secs(86_400)), "24h");
    }
}
