//! When to ask again, and how long to wait before.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, StatusCode, header};

use crate::transport::{is_refusal, text as header_text};
use crate::{Error, Retry};

/// The most attempts to connect: who is not there is not there.
const CONNECTIONS: u32 = 3;

/// Whether an answer of this status may be another one the next time.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Whether a request that ended like this after its `attempt`th time (from 1) is sent again, if it may be sent `attempts` times.
pub(crate) fn is_worth_it(error: &Error, attempt: u32, attempts: u32) -> bool {
    match error {
        Error::Connect { source, .. } | Error::Broken { source, .. } if is_refusal(source.as_ref()) => false,
        Error::Connect { .. } => attempt < attempts.min(CONNECTIONS),
        // A connection that was kept may have been closed by the other side just then: once more in any case.
        Error::Broken { .. } => attempt < attempts.max(2),
        Error::Timeout { .. } => attempt < attempts,
        _ => false,
    }
}

/// The pause after the `attempt`th attempt, from 1.
pub(crate) fn pause(attempt: u32, retry: &Retry) -> Duration {
    let doubled = retry.pause.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let pause = doubled.min(retry.longest_pause);
    // Half of it by chance, so that many clients do not come back all at once.
    let chance = RandomState::new().hash_one(attempt) % 1024;
    pause / 2 + pause.mul_f64(chance as f64 / 2048.0)
}

/// What `Retry-After` asks for: seconds, or a date, counted from the server's own clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = header_text(headers, header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let until = http_date(text)?;
    let now = header_text(headers, header::DATE).and_then(http_date).or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(now.as_secs())
    })?;
    Some(Duration::from_secs(until.saturating_sub(now)))
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7, IMF-fixdate) as seconds since 1970.
pub(crate) fn http_date(text: &str) -> Option<u64> {
    let (_, rest) = text.trim().split_once(", ")?;
    let mut parts = rest.split(' ');
    let day: u64 = parts.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = parts.next()?.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if parts.next() != Some("GMT") || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 0000-03-01, so that the leap day is the last of its year.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn dates_are_seconds() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(http_date(text), expect, "{text}");
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000));
        for wrong in [
            "",
            "x",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 40 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 0000 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_servers_clock() {
        let mut headers = HeaderMap::new();
        let check = |headers: &HeaderMap, expect: Option<u64>| {
            assert_eq!(retry_after(headers), expect.map(Duration::from_secs));
        };
        check(&headers, None);
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        check(&headers, Some(7));
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:47 GMT"));
        headers.insert(header::DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        check(&headers, Some(10));
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("-1"));
        check(&headers, None);
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let retry = Retry {
            pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(1),
            ..Retry::default()
        };
        for attempt in 1..40 {
            let longest = Duration::from_millis(100)
                .saturating_mul(1 << (attempt - 1).min(10))
                .min(Duration::from_secs(1));
            let found = pause(attempt, &retry);
            assert!(found >= longest / 2 && found <= longest, "{attempt}: {found:?}");
        }
    }
}
