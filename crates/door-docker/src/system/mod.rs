//! The engine itself: who it is, what it has, what happens.

pub(crate) mod ping;
