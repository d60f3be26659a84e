//! Messages of any type, times, and the names that types have.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

/// A message with a name.
pub trait Named: Message + Default {
    /// The full name, which is also its type's address: containerd writes no host before it.
    const TYPE_URL: &'static str;
}

/// Names messages of one package.
macro_rules! named {
    ($package:literal: $($message:ident),+ $(,)?) => {
        $(impl $crate::any::Named for $message {
            const TYPE_URL: &'static str = concat!($package, ".", stringify!($message));
        })+
    };
}

/// A message of any type: `google.protobuf.Any`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A point in time: `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// Nothing: `google.protobuf.Empty`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Empty {}

/// Why a message is not of the type that was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// It is of another type.
    #[error("{found:?} is no {wanted}")]
    Type {
        /// The type asked for.
        wanted: &'static str,
        /// The message's.
        found: String,
    },
    /// It says that it is of the type, and is not.
    #[error("not a {wanted}")]
    Decode {
        /// The type asked for.
        wanted: &'static str,
        /// What is wrong.
        source: prost::DecodeError,
    },
}

impl Any {
    /// A message under its bare full name.
    pub fn pack<M: Named>(message: &M) -> Self {
        Self { type_url: M::TYPE_URL.to_owned(), value: message.encode_to_vec() }
    }

    /// JSON under the address of its type, such as [`SPEC`].
    pub fn json(type_url: &str, value: Vec<u8>) -> Self {
        Self { type_url: type_url.to_owned(), value }
    }

    /// Whether the message says that it is of this type, with or without a host before the name.
    pub fn is<M: Named>(&self) -> bool {
        self.names(M::TYPE_URL)
    }

    /// Whether the address is this one, with or without a host before it.
    pub fn names(&self, type_url: &str) -> bool {
        let host = self.type_url.strip_suffix(type_url);
        host.is_some_and(|host| host.is_empty() || host.ends_with('/'))
    }

    /// The message, if it is of this type.
    ///
    /// # Errors
    /// When it is of another type, or cannot be decoded.
    pub fn unpack<M: Named>(&self) -> Result<M, UnpackError> {
        let wanted = M::TYPE_URL;
        if !self.is::<M>() {
            return Err(UnpackError::Type { wanted, found: self.type_url.chars().take(128).collect() });
        }
        M::decode(&*self.value).map_err(|source| UnpackError::Decode { wanted, source })
    }
}

/// The address of an OCI configuration in JSON.
pub const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// The address of an OCI process in JSON.
pub const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// The address of OCI resources in JSON.
pub const RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
/// The address of an OCI runtime's features in JSON.
pub const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

const NANOS_PER_SECOND: i32 = 1_000_000_000;

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self { seconds: seconds(since), nanos: since.subsec_nanos().cast_signed() },
            // Nanoseconds count forward, before 1970 as well.
            Err(before) => {
                let until = before.duration();
                let nanos = until.subsec_nanos().cast_signed();
                let borrow = i64::from(nanos > 0);
                Self {
                    seconds: -seconds(until) - borrow,
                    nanos: (NANOS_PER_SECOND - nanos) % NANOS_PER_SECOND,
                }
            }
        }
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

impl TryFrom<Timestamp> for SystemTime {
    type Error = InvalidTimestamp;

    fn try_from(stamp: Timestamp) -> Result<Self, InvalidTimestamp> {
        let invalid = InvalidTimestamp { seconds: stamp.seconds, nanos: stamp.nanos };
        let nanos = u32::try_from(stamp.nanos).ok().filter(|_| stamp.nanos < NANOS_PER_SECOND);
        let whole = Duration::from_secs(stamp.seconds.unsigned_abs());
        let base =
            if stamp.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        let time = base.zip(nanos).and_then(|(base, nanos)| base.checked_add(Duration::new(0, nanos)));
        time.ok_or(invalid)
    }
}

/// A [`Timestamp`] that no clock can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no time: {seconds} seconds and {nanos} nanoseconds")]
pub struct InvalidTimestamp {
    seconds: i64,
    nanos: i32,
}
