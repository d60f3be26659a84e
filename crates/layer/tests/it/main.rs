//! Layers through the public interface: forged archives, hostile ones, and the tools that others use.
#![allow(missing_docs, clippy::unwrap_used)]

mod apply;
mod diff;
mod files;
mod forge;
mod hostile;
mod place;
mod rebase;
