//! The status file of an ingest.

use std::time::{Duration, SystemTime};

use gantry_types::Digest;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Status;
use crate::layout::{GROWING, Layout};

/// The largest status file that is read: a key may be six times as long in JSON.
const MAX_BYTES: usize = 64 << 10;

/// What is known of an ingest but for its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<Digest>,
    #[serde(with = "nanoseconds")]
    pub(crate) started_at: SystemTime,
    #[serde(with = "nanoseconds")]
    pub(crate) updated_at: SystemTime,
    /// The boot under which the bytes were written.
    pub(crate) boot: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<Checkpoint>,
}

/// The digest of the bytes up to `offset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) offset: u64,
    pub(crate) digest: Digest,
}

impl Record {
    /// Reads a status file's bytes; nothing if they are no status.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Reads the status of the ingest in the directory `name`; nothing if there is none that can be read.
    pub(crate) fn read(layout: &Layout, name: &str) -> Result<Option<Self>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = format!("{name}/status");
        let file = match rustix::fs::openat(layout.ingest(), path.as_str(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let mut bytes = vec![0; MAX_BYTES];
        let mut length = 0;
        while length < bytes.len() {
            match rustix::io::read(&file, &mut bytes[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(Errno::INTR) => {}
                Err(Errno::ISDIR) => return Ok(None),
                Err(errno) => return Err(errno),
            }
        }
        Ok(Self::parse(&bytes[..length]))
    }

    /// Writes the status of an ingest that has none.
    pub(crate) fn create(&self, layout: &Layout, name: &str) -> Result<(), Errno> {
        self.write(layout, &format!("{name}/status"))
    }

    /// Puts this in the place of the status of the ingest in the directory `name`.
    pub(crate) fn replace(&self, layout: &Layout, name: &str) -> Result<(), Errno> {
        let (new, old) = (format!("{name}/status.new"), format!("{name}/status"));
        // Of somebody who was killed right here.
        let _ = rustix::fs::unlinkat(layout.ingest(), new.as_str(), AtFlags::empty());
        let written = self.write(layout, &new);
        crate::failpoint::hit("status.replace");
        let replaced = written.and_then(|()| {
            rustix::fs::renameat(layout.ingest(), new.as_str(), layout.ingest(), old.as_str())
        });
        if replaced.is_err() {
            let _ = rustix::fs::unlinkat(layout.ingest(), new.as_str(), AtFlags::empty());
        }
        replaced
    }

    fn write(&self, layout: &Layout, path: &str) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(layout.ingest(), path, flags, GROWING)?;
        let bytes = serde_json::to_vec(self).map_err(|_| Errno::INVAL)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match rustix::io::write(&file, rest) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// As others see it. `modified` is the time of the data, which is later if nobody noted the last write.
    pub(crate) fn status(&self, offset: u64, modified: SystemTime) -> Status {
        Status {
            key: self.key.clone(),
            offset,
            total: self.total,
            expected: self.expected.clone(),
            started_at: self.started_at,
            updated_at: self.updated_at.max(modified),
        }
    }
}

mod nanoseconds {
    use super::{Duration, SystemTime};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        to.serialize_u64(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        Ok(SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::deserialize(from)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let record = Record {
            key: "layer-\u{0}\"\n/../ü".to_owned(),
            total: Some(7),
            expected: Some(Digest::sha256(b"x")),
            started_at: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_891),
            updated_at: SystemTime::UNIX_EPOCH,
            boot: "a".to_owned(),
            checkpoint: Some(Checkpoint { offset: 3, digest: Digest::sha256(b"y") }),
        };
        assert_eq!(Record::parse(&serde_json::to_vec(&record).unwrap()), Some(record));
    }

    #[test]
    fn half_a_status_is_none() {
        for text in
            ["", "{", "{}", r#"{"key":"a"}"#, r#"{"key":"a","expected":"md5:1","boot":""}"#, "\u{0}\u{0}"]
        {
            assert_eq!(Record::parse(text.as_bytes()), None, "{text}");
        }
    }
}
