use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};

use gantry_types::ErrorKind;

/// Why the database does not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such record, or it is not visible to who asks.
    #[error("{what} {name:?}: not found")]
    NotFound {
        /// The kind of record.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The name is taken.
    #[error("{what} {name:?}: already exists")]
    AlreadyExists {
        /// The kind of record.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The request is malformed.
    #[error("{what}: {reason}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The record is in the wrong state for it.
    #[error("{what} {name:?} {reason}")]
    Refused {
        /// The kind of record.
        what: &'static str,
        /// Its name.
        name: String,
        /// What stands in the way.
        reason: String,
    },
    /// A kind of resource that leases cannot hold.
    #[error("resource type {0:?} not supported yet")]
    ResourceType(String),
    /// The journal does not reach back (or forward) to this cursor.
    #[error("cursor {cursor} is outside of the journal, which has {first} to {last}")]
    Cursor {
        /// What was asked for.
        cursor: u64,
        /// The first event that is there.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// A later version of Gantry wrote the file.
    #[error("{} has schema version {found}, and this version of Gantry knows up to {known}: use a newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// An earlier version of Gantry wrote the file, and it is only to be looked at.
    #[error("{} has schema version {found}, and this version of Gantry reads {known}: start its daemon first", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The file is damaged.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// SQLite refused.
    #[error("database")]
    Sql(#[source] rusqlite::Error),
    /// The file system refused.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The transaction of several requests could not be committed.
    #[error("commit: {0}")]
    Commit(String, ErrorKind),
    /// The database was closed, or one of its threads ended.
    #[error("the database is closed")]
    Closed,
}

impl Error {
    /// What went wrong, for the doors.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Self::Invalid { .. } => ErrorKind::InvalidArgument,
            Self::Refused { .. } | Self::Newer { .. } | Self::Older { .. } => ErrorKind::FailedPrecondition,
            Self::ResourceType(_) => ErrorKind::Unimplemented,
            Self::Cursor { .. } => ErrorKind::OutOfRange,
            Self::Damaged(_) => ErrorKind::DataLoss,
            Self::Sql(error) => sql_kind(error),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
                _ => ErrorKind::Internal,
            },
            Self::Commit(_, kind) => *kind,
            Self::Closed => ErrorKind::Unavailable,
        }
    }

    /// The same, with the name of the file that is damaged.
    pub(crate) fn of_file(self, path: &Path) -> Self {
        match self {
            Self::Damaged(what) => Self::Damaged(format!("{}: {what}", path.display())),
            other => other,
        }
    }

    pub(crate) fn damaged(what: String) -> Self {
        NOTICED.set(true);
        Self::Damaged(what)
    }

    pub(crate) fn not_found(what: &'static str, name: impl Into<String>) -> Self {
        Self::NotFound { what, name: name.into() }
    }

    pub(crate) fn exists(what: &'static str, name: impl Into<String>) -> Self {
        Self::AlreadyExists { what, name: name.into() }
    }

    pub(crate) fn invalid(what: &'static str, reason: impl ToString) -> Self {
        Self::Invalid { what, reason: reason.to_string() }
    }

    pub(crate) fn refused(what: &'static str, name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { what, name: name.into(), reason: reason.into() }
    }
}

thread_local! {
    /// Whether this thread met damage since somebody asked.
    static NOTICED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread met damage since the last call. What a closure of a caller makes of our errors is its own, so they
/// cannot be looked at afterwards.
pub(crate) fn take_noticed() -> bool {
    NOTICED.take()
}

// Every call into SQLite is ours and none is left out: there is nothing that a variant of its own for each would say.
impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match sql_kind(&error) {
            ErrorKind::DataLoss => Self::damaged(error.to_string()),
            _ => Self::Sql(error),
        }
    }
}

fn sql_kind(error: &rusqlite::Error) -> ErrorKind {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => ErrorKind::DataLoss,
        Some(Code::DiskFull | Code::OutOfMemory) => ErrorKind::ResourceExhausted,
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => ErrorKind::Unavailable,
        Some(Code::PermissionDenied | Code::ReadOnly) => ErrorKind::PermissionDenied,
        // A column that does not hold what this version wrote there.
        None if is_misfit(error) => ErrorKind::DataLoss,
        _ => ErrorKind::Internal,
    }
}

fn is_misfit(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    matches!(
        error,
        E::FromSqlConversionFailure(..)
            | E::InvalidColumnType(..)
            | E::IntegralValueOutOfRange(..)
            | E::Utf8Error(..)
    )
}
