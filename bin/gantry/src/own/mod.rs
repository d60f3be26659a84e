//! What docker lacks.

pub(crate) mod completion;
pub(crate) mod doctor;
pub(crate) mod install;
pub(crate) mod man;
pub(crate) mod why;
