//! Times as Go's `time.RFC3339Nano` writes them.

use std::fmt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

const DAY_SECONDS: i64 = 86_400;

/// A time of the wall clock, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
}

impl Timestamp {
    /// The current time: clock_gettime(2), which makes no system call.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Realtime);
        Self::new(now.tv_sec, now.tv_nsec as u32)
    }

    /// Seconds since 1970 and nanoseconds below 1,000,000,000, confined to what four digits of a year can say.
    pub const fn new(seconds: i64, nanoseconds: u32) -> Self {
        const MIN: i64 = -62_167_219_200;
        const MAX: i64 = 253_402_300_799;
        let seconds = if seconds < MIN {
            MIN
        } else if seconds > MAX {
            MAX
        } else {
            seconds
        };
        Self { seconds, nanoseconds: if nanoseconds < 1_000_000_000 { nanoseconds } else { 999_999_999 } }
    }

    /// Seconds since 1970, and nanoseconds.
    pub fn parts(self) -> (i64, u32) {
        (self.seconds, self.nanoseconds)
    }

    /// How much later it is than `other`; nothing if it is not.
    pub fn since(self, other: Self) -> Duration {
        let nanoseconds =
            |time: Self| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
        let difference = nanoseconds(self) - nanoseconds(other);
        Duration::from_nanos(u64::try_from(difference.max(0)).unwrap_or(u64::MAX))
    }

    /// Parses RFC 3339 with any number of decimals, of which nine count.
    #[inline]
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::parse_utc(text).or_else(|| Self::parse_any(text))
    }

    /// Parses what Go writes in UTC, of which there is one in every record.
    #[inline]
    fn parse_utc(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_first_chunk::<19>()?;
        let fixed = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if fixed.iter().any(|&(place, byte)| head[place] != byte) {
            return None;
        }
        let mut wrong = 0;
        let mut two = |at: usize| {
            let (tens, ones) = (head[at].wrapping_sub(b'0'), head[at + 1].wrapping_sub(b'0'));
            wrong |= u8::from(tens > 9) | u8::from(ones > 9);
            i64::from(tens) * 10 + i64::from(ones)
        };
        let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
        let (hour, minute, second) = (two(11), two(14), two(17));
        let mut nanoseconds = 0u32;
        match rest {
            [b'Z'] => {}
            [b'.', decimals @ .., b'Z'] if (1..=9).contains(&decimals.len()) => {
                for digit in decimals {
                    let digit = digit.wrapping_sub(b'0');
                    wrong |= u8::from(digit > 9);
                    nanoseconds = nanoseconds.wrapping_mul(10).wrapping_add(digit.into());
                }
                nanoseconds = nanoseconds.wrapping_mul(10u32.pow(9 - decimals.len() as u32));
            }
            _ => return None,
        }
        let fits = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour <= 23
            && minute <= 59
            && second <= 60;
        if wrong != 0 || !fits {
            return None;
        }
        let seconds = days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
        Some(Self::new(seconds, nanoseconds))
    }

    fn parse_any(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = text.get(from..to)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let fixed = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        let fits = fixed.iter().all(|&(place, byte)| text.as_bytes()[place] == byte);
        let fits = fits && (1..=12).contains(&month) && (1..=31).contains(&day);
        if !fits || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (nanoseconds, zone) = fraction(&text[19..])?;
        let seconds = days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
        Some(Self::new(seconds - offset(zone)?, nanoseconds))
    }
}

fn fraction(rest: &str) -> Option<(u32, &str)> {
    let Some(decimals) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let len = decimals.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return None;
    }
    let (digits, zone) = decimals.split_at(len);
    let nine = digits.bytes().chain(std::iter::repeat(b'0')).take(9);
    Some((nine.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')), zone))
}

fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes() {
        b"Z" => return Some(0),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let hours: u8 = zone[1..3].parse().ok()?;
    let minutes: u8 = zone[4..6].parse().ok()?;
    Some(sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
}

/// Days since 1970 of a date of the Gregorian calendar, by Hinnant's algorithm: years begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days`].
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.seconds.div_euclid(DAY_SECONDS));
        let of_day = self.seconds.rem_euclid(DAY_SECONDS);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanoseconds != 0 {
            let (mut decimals, mut width) = (self.nanoseconds, 9);
            while decimals % 10 == 0 {
                decimals /= 10;
                width -= 1;
            }
            write!(f, ".{decimals:0width$}")?;
        }
        f.write_str("Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_709_251_199, 120_000_000, "2024-02-29T23:59:59.12Z"),
            (1_709_251_200, 1, "2024-03-01T00:00:00.000000001Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (i64::MAX, 0, "9999-12-31T23:59:59Z"),
        ] {
            let time = Timestamp::new(seconds, nanoseconds);
            assert_eq!(time.to_string(), text);
            assert_eq!(Timestamp::parse(text.as_bytes()), Some(time));
        }
    }

    #[test]
    fn zones_and_long_fractions_are_understood() {
        let time = Timestamp::new(1_709_251_200, 123_456_789);
        for text in ["2024-03-01T02:00:00.123456789012+02:00", "2024-02-29T18:30:00.123456789-05:30"] {
            assert_eq!(Timestamp::parse(text.as_bytes()), Some(time), "{text}");
        }
        for text in [
            "",
            "2024",
            "2024-03-01T00:00:00",
            "2024-13-01T00:00:00Z",
            "2024-03-01T00:00:00.Z",
            "2024-03-01T00:00:00+0200",
            "2024-03-01T24:00:00Z",
            "x024-03-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text.as_bytes()), None, "{text}");
        }
    }
}
