//! Verbs on the engine itself.

pub(crate) mod context;
pub(crate) mod dial;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod prune;
pub(crate) mod usage;
pub(crate) mod version;
