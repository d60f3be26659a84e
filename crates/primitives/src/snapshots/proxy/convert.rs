use std::time::{Duration, SystemTime};

use gantry_proto_containerd::{Timestamp, snapshots as api, types};
use gantry_snapshot::{Error, Info, Kind};
use gantry_types::{ErrorKind, Mount};
use tonic::{Code, Status};

pub(super) fn from_proto(info: api::Info) -> Info {
    let kind = match info.kind() {
        api::Kind::View => Kind::View,
        api::Kind::Active => Kind::Active,
        // As containerd reads what it does not know.
        api::Kind::Committed | api::Kind::Unknown => Kind::Committed,
    };
    Info {
        name: info.name,
        parent: Some(info.parent).filter(|parent| !parent.is_empty()),
        kind,
        labels: info.labels,
        created: time(info.created_at),
        updated: time(info.updated_at),
    }
}

pub(super) fn into_proto(info: &Info) -> api::Info {
    let kind = match info.kind {
        Kind::View => api::Kind::View,
        Kind::Active => api::Kind::Active,
        Kind::Committed => api::Kind::Committed,
    };
    api::Info {
        name: info.name.clone(),
        parent: info.parent.clone().unwrap_or_default(),
        kind: kind.into(),
        created_at: Some(timestamp(info.created)),
        updated_at: Some(timestamp(info.updated)),
        labels: info.labels.clone(),
    }
}

pub(super) fn mounts_from_proto(mounts: Vec<types::Mount>) -> Vec<Mount> {
    let mount = |mount: types::Mount| Mount {
        kind: mount.r#type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    mounts.into_iter().map(mount).collect()
}

/// The time of a message; 1970 where it has none, or one that no clock shows.
fn time(timestamp: Option<Timestamp>) -> SystemTime {
    let Some(Timestamp { seconds, nanos }) = timestamp else { return SystemTime::UNIX_EPOCH };
    let nanos = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    at.and_then(|at| at.checked_add(nanos)).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn timestamp(time: SystemTime) -> Timestamp {
    let (before, distance) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (false, after),
        Err(error) => (true, error.duration()),
    };
    let seconds = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
    // Below 10^9 always.
    let nanos = distance.subsec_nanos().cast_signed();
    match (before, nanos) {
        (false, _) => Timestamp { seconds, nanos },
        (true, 0) => Timestamp { seconds: -seconds, nanos },
        // Nanoseconds count forwards, also from a second before 1970.
        (true, _) => Timestamp { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    }
}

pub(super) fn status_error(snapshotter: &str, status: Status) -> Error {
    Error::Peer {
        kind: kind(status.code()),
        message: format!("snapshotter {snapshotter}: {}", status.message()),
        source: std::error::Error::source(&status).is_some().then(|| Box::new(status) as _),
    }
}

fn kind(code: Code) -> ErrorKind {
    match code {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::InvalidArgument => ErrorKind::InvalidArgument,
        Code::FailedPrecondition => ErrorKind::FailedPrecondition,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::Unimplemented => ErrorKind::Unimplemented,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::Aborted => ErrorKind::Aborted,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::ResourceExhausted => ErrorKind::ResourceExhausted,
        Code::OutOfRange => ErrorKind::OutOfRange,
        Code::DataLoss => ErrorKind::DataLoss,
        Code::Ok | Code::Unknown | Code::Internal => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_wire() {
        let check = |seconds, nanos| {
            let wire = Timestamp { seconds, nanos };
            assert_eq!(timestamp(time(Some(wire))), wire);
        };
        check(0, 0);
        check(1_700_000_000, 123_456_789);
        check(-1, 999_999_999);
        check(-62_135_596_800, 0);
        assert_eq!(time(None), SystemTime::UNIX_EPOCH);
        check(i64::MAX, 1);
        check(-i64::MAX, 999_999_999);
        assert_eq!(
            time(Some(Timestamp { seconds: 5, nanos: -1 })),
            SystemTime::UNIX_EPOCH + Duration::from_secs(5)
        );
    }

    #[test]
    fn every_kind_survives_the_wire() {
        for kind in [Kind::View, Kind::Active, Kind::Committed] {
            let info = Info {
                name: "n".into(),
                parent: Some("p".into()),
                kind,
                labels: [("k".to_owned(), "v".to_owned())].into(),
                created: SystemTime::now(),
                updated: SystemTime::now(),
            };
            assert_eq!(from_proto(into_proto(&info)), info);
        }
        let unknown = api::Info { kind: 77, ..api::Info::default() };
        assert_eq!(from_proto(unknown).kind, Kind::Committed);
    }
}
