//! Go's durations, as Dockerfiles write them: `1m30s`.

/// A duration in nanoseconds; None for what is none.
pub(crate) fn nanoseconds(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut total = 0.0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let behind = &rest[digits..];
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        total += number
            * match &behind[..end] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &behind[end..];
    }
    // What is beyond an i64 is nobody's interval.
    (!text.is_empty() && total < 9.2e18).then_some(total as i64)
}

/// As Go writes it.
pub(crate) fn written(nanoseconds: i64) -> String {
    let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    if seconds == 0 {
        return match rest {
            0 => "0s".to_owned(),
            rest if rest < 1_000 => format!("{rest}ns"),
            rest if rest < 1_000_000 => format!("{}µs", fraction(rest, 1_000)),
            rest => format!("{}ms", fraction(rest, 1_000_000)),
        };
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let last = format!("{}s", fraction(seconds % 60 * 1_000_000_000 + rest, 1_000_000_000));
    match (hours, minutes) {
        (0, 0) => last,
        (0, minutes) => format!("{minutes}m{last}"),
        (hours, minutes) => format!("{hours}h{minutes}m{last}"),
    }
}

fn fraction(value: i64, unit: i64) -> String {
    let digits = unit.ilog10() as usize;
    match value % unit {
        0 => (value / unit).to_string(),
        rest => format!("{}.{}", value / unit, format!("{rest:0digits$}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, nanos, shown) in [
            ("1h2m3.5s", 3_723_500_000_000, "1h2m3.5s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1.5ms", 1_500_000, "1.5ms"),
            ("0", 0, "0s"),
            ("2h", 7_200_000_000_000, "2h0m0s"),
            ("15us", 15_000, "15µs"),
            ("7ns", 7, "7ns"),
        ] {
            assert_eq!(nanoseconds(text), Some(nanos), "{text}");
            assert_eq!(written(nanos), shown);
        }
        for text in ["", "1", "s", "1x", "1.2.3s", "-1s", "99999999999h"] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
