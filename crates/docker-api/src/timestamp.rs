//! Points in time as clients give them for `since` and `until`.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::duration;
use crate::error::Invalid;
use crate::name::excerpt;

/// A point in time: nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i128);

impl Timestamp {
    /// From seconds and nanoseconds since 1970.
    #[must_use]
    pub fn new(seconds: i64, nanoseconds: u32) -> Self {
        Self(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
    }

    /// The clock's.
    #[must_use]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_nanosecond())
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> i64 {
        i64::try_from(self.0.div_euclid(1_000_000_000)).unwrap_or(i64::MAX)
    }

    /// What is left of them.
    #[must_use]
    pub fn subsec_nanoseconds(self) -> u32 {
        u32::try_from(self.0.rem_euclid(1_000_000_000)).unwrap_or_default()
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub fn as_nanoseconds(self) -> i128 {
        self.0
    }

    /// Reads `1700000000`, `1700000000.5` (a decimal fraction), a date with or without a time and a zone, or a duration before `now`. A date
    /// without a zone is in `zone`.
    ///
    /// # Errors
    /// None of these.
    pub fn parse(text: &str, now: Self, zone: &TimeZone) -> Result<Self, Invalid> {
        Self::parse_unix(text)
            .or_else(|| duration::parse(text).ok().map(|ago| Self(now.0 - i128::from(ago))))
            .or_else(|| parse_date(text, zone))
            .ok_or_else(|| Invalid::Time(excerpt(text)))
    }

    /// Reads what clients send: seconds since 1970, with a fraction.
    #[must_use]
    pub fn parse_unix(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let (sign, digits) = whole.strip_prefix('-').map_or((1, whole), |digits| (-1, digits));
        if !is_number(digits) || !is_number(fraction) || fraction.len() > 9 {
            return None;
        }
        let seconds = digits.parse::<i64>().ok()?;
        // Docker's fraction is decimal: trailing zeros do not count.
        let nanoseconds: i128 = format!("{fraction:0<9}").parse().ok()?;
        Some(Self(sign * (i128::from(seconds) * 1_000_000_000 + nanoseconds)))
    }

    /// Reads RFC 3339.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|time| Self(time.as_nanosecond()))
    }

    /// Seconds and nine digits, as clients send it.
    #[must_use]
    pub fn to_unix(self) -> String {
        format!("{}.{:09}", self.seconds(), self.subsec_nanoseconds())
    }

    /// RFC 3339 in UTC with as many digits as there are, as Go's `RFC3339Nano`. What has no date is Go's zero time.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        jiff::Timestamp::from_nanosecond(self.0).map_or_else(|_| ZERO.to_owned(), |time| time.to_string())
    }
}

/// Go's zero time: what Docker writes for what has not happened.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

fn parse_date(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Some(time) = Timestamp::parse_rfc3339(text) {
        return Some(time);
    }
    // Docker takes dates with a zone and without seconds, or even without a time.
    let (local, is_utc) = match text.strip_suffix('Z') {
        Some(local) => (local, true),
        None => (text, false),
    };
    if let Some((local, offset)) = split_offset(local) {
        let full = format!("{}{offset}", full_date(local)?);
        return Timestamp::parse_rfc3339(&full);
    }
    let date: DateTime = full_date(local)?.parse().ok()?;
    let zone = if is_utc { &TimeZone::UTC } else { zone };
    let time = zone.to_ambiguous_zoned(date).compatible().ok()?.timestamp();
    Some(Timestamp(time.as_nanosecond()))
}

/// Splits `+02:00` off; a date's own dashes are before the `T`.
fn split_offset(text: &str) -> Option<(&str, &str)> {
    let time = text.find('T').unwrap_or(10);
    let sign = text.get(time..)?.find(['+', '-'])? + time;
    Some(text.split_at(sign))
}

/// Fills what is left out at the end of `2006-01-02T15:04:05`.
fn full_date(text: &str) -> Option<String> {
    Some(match text.len() {
        10 => format!("{text}T00:00:00"),
        13 => format!("{text}:00:00"),
        16 => format!("{text}:00"),
        19.. => text.to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Invalid> {
        let now = Timestamp::new(1_700_000_000, 0);
        Timestamp::parse(text, now, &TimeZone::UTC).map(Timestamp::to_unix)
    }

    #[test]
    fn every_form_of_a_time_is_read() {
        for (text, unix) in [
            ("1136073600", "1136073600.000000000"),
            ("1136073600.000000001", "1136073600.000000001"),
            ("1136073600.5", "1136073600.500000000"),
            ("0", "0.000000000"),
            ("2006-01-01", "1136073600.000000000"),
            ("2006-01-01T00:00", "1136073600.000000000"),
            ("2006-01-01T00:00:00", "1136073600.000000000"),
            ("2006-01-01T00:00:00Z", "1136073600.000000000"),
            ("2006-01-01T02:00:00+02:00", "1136073600.000000000"),
            ("2006-01-01T02:00+02:00", "1136073600.000000000"),
            ("2006-01-01T00:00:00.25Z", "1136073600.250000000"),
            ("10m", "1699999400.000000000"),
            ("-10s", "1700000010.000000000"),
        ] {
            assert_eq!(read(text).unwrap(), unix, "{text}");
        }
        for text in [
            "",
            "yesterday",
            "1.2.3",
            "1.1234567890",
            "2006-01",
            "2006-13-01",
            "2006-01-01T25:00:00",
            "é-01-01T",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(Timestamp::new(1_136_073_600, 250_000_000).to_rfc3339(), "2006-01-01T00:00:00.25Z");
        assert_eq!(Timestamp::new(0, 0).to_string(), "1970-01-01T00:00:00Z");
    }
}
