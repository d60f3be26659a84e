//! What calls on containers answer, and the body of an update.

use serde::{Deserialize, Serialize};

use crate::wire::{List, wire};

use super::{Resources, RestartPolicy};

wire! {
    /// The answer to a creation.
    pub struct ContainerCreateResponse {
        put "Id" id: String,
        put "Warnings" warnings: List<String>,
    }
}

wire! {
    /// The answer to `POST /containers/{id}/wait`.
    pub struct ContainerWaitResponse {
        omit "Error" error: Option<WaitError>,
        put "StatusCode" status_code: i64,
    }
}

wire! {
    /// Why a wait failed.
    pub struct WaitError {
        omit "Message" message: String,
    }
}

wire! {
    /// The answer to `GET /containers/{id}/top`.
    pub struct ContainerTopResponse {
        put "Processes" processes: List<List<String>>,
        put "Titles" titles: List<String>,
    }
}

/// What happened to a path; on the wire its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Change {
    /// 0.
    #[default]
    Modified,
    /// 1.
    Added,
    /// 2.
    Deleted,
}

impl Change {
    /// The letter that people see.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Modified => 'C',
            Self::Added => 'A',
            Self::Deleted => 'D',
        }
    }
}

impl Serialize for Change {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Self::Modified),
            1 => Ok(Self::Added),
            2 => Ok(Self::Deleted),
            other => Err(serde::de::Error::custom(format!("{other} is no kind of change"))),
        }
    }
}

wire! {
    /// An element of the answer to `GET /containers/{id}/changes`.
    pub struct PathChange {
        put "Path" path: String,
        put "Kind" kind: Change,
    }
}

wire! {
    /// The body of `POST /containers/{id}/update`.
    pub struct ContainerUpdateRequest {
        /// Its fields stand among the others.
        flat resources: Resources,
        put "RestartPolicy" restart_policy: RestartPolicy,
    }
}

wire! {
    /// The answer to an update.
    pub struct ContainerUpdateResponse {
        put "Warnings" warnings: List<String>,
    }
}

wire! {
    /// The answer to `POST /containers/prune`.
    pub struct ContainerPruneResponse {
        put "ContainersDeleted" containers_deleted: List<String>,
        put "SpaceReclaimed" space_reclaimed: u64,
    }
}

wire! {
    /// What `X-Docker-Container-Path-Stat` says, in base64.
    pub struct PathStat {
        put "name" name: String,
        put "size" size: i64,
        /// Go's `fs.FileMode`: permissions, and [`PathStat::DIRECTORY`], [`PathStat::SYMLINK`] and others.
        put "mode" mode: u32,
        put "mtime" mtime: String,
        put "linkTarget" link_target: String,
    }
}

impl PathStat {
    /// The bit of directories.
    pub const DIRECTORY: u32 = 1 << 31;
    /// The bit of symbolic links.
    pub const SYMLINK: u32 = 1 << 27;
    /// The bit of devices.
    pub const DEVICE: u32 = 1 << 26;
    /// The bit of FIFOs.
    pub const FIFO: u32 = 1 << 25;
    /// The bit of sockets.
    pub const SOCKET: u32 = 1 << 24;
    /// Set user id.
    pub const SETUID: u32 = 1 << 23;
    /// Set group id.
    pub const SETGID: u32 = 1 << 22;
    /// The bit of character devices, beside [`Self::DEVICE`].
    pub const CHARACTER: u32 = 1 << 21;
    /// Sticky.
    pub const STICKY: u32 = 1 << 20;

    /// From the kernel's `st_mode`.
    #[must_use]
    pub fn mode_of_unix(mode: u32) -> u32 {
        let kind = match mode & 0o170_000 {
            0o040_000 => Self::DIRECTORY,
            0o120_000 => Self::SYMLINK,
            0o060_000 => Self::DEVICE,
            0o020_000 => Self::DEVICE | Self::CHARACTER,
            0o010_000 => Self::FIFO,
            0o140_000 => Self::SOCKET,
            _ => 0,
        };
        let bit = |unix: u32, go: u32| if mode & unix == 0 { 0 } else { go };
        kind | mode & 0o777
            | bit(0o4000, Self::SETUID)
            | bit(0o2000, Self::SETGID)
            | bit(0o1000, Self::STICKY)
    }
}
