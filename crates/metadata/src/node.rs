//! What the collector walks.

/// A kind of record, as the rows of `edge` and `lease_resource` have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    Content = 1,
    Snapshot = 2,
    Image = 3,
    Container = 4,
    Sandbox = 5,
    Ingest = 6,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Content, Self::Snapshot, Self::Image, Self::Container, Self::Sandbox, Self::Ingest];

    pub(crate) fn code(self) -> i64 {
        i64::from(self as u8)
    }

    pub(crate) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The table of its records.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Snapshot => "snapshot_name",
            Self::Image => "image",
            Self::Container => "container",
            Self::Sandbox => "sandbox",
            Self::Ingest => "ingest",
        }
    }
}

/// A record, by its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) id: i64,
}

impl Node {
    pub(crate) fn new(kind: Kind, id: i64) -> Self {
        Self { kind, id }
    }
}
