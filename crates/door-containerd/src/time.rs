//! Times on the wire and ours.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gantry_proto_containerd::Timestamp;

/// The seconds that the wire's type has: the years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A time on the wire.
pub(crate) fn into_proto(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos().cast_signed(),
        },
        // The nanoseconds count forwards, before the epoch too.
        Err(before) => {
            let before = before.duration();
            let nanos = before.subsec_nanos();
            let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
            match nanos {
                0 => Timestamp { seconds, nanos: 0 },
                _ => Timestamp {
                    seconds: seconds.saturating_sub(1),
                    nanos: (1_000_000_000 - nanos).cast_signed(),
                },
            }
        }
    }
}

/// A time from the wire; None for what is no time.
pub(crate) fn from_proto(time: Timestamp) -> Option<SystemTime> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    if !SECONDS.contains(&time.seconds) {
        return None;
    }
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = match time.seconds {
        0.. => UNIX_EPOCH.checked_add(whole)?,
        _ => UNIX_EPOCH.checked_sub(whole)?,
    };
    whole.checked_add(Duration::from_nanos(nanos.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_as_they_went() {
        let half = Duration::from_millis(1500);
        for time in [UNIX_EPOCH, UNIX_EPOCH + half, UNIX_EPOCH - half, UNIX_EPOCH - Duration::from_secs(3)] {
            assert_eq!(from_proto(into_proto(time)), Some(time));
        }
        let proto = into_proto(UNIX_EPOCH - half);
        assert_eq!((proto.seconds, proto.nanos), (-2, 500_000_000));
    }

    #[test]
    fn what_is_no_time_is_none() {
        assert_eq!(from_proto(Timestamp { seconds: i64::MAX, nanos: 0 }), None);
        assert_eq!(from_proto(Timestamp { seconds: 0, nanos: -1 }), None);
        assert_eq!(from_proto(Timestamp { seconds: 0, nanos: 1_000_000_000 }), None);
    }
}
