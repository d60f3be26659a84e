//! The engine over a real store.
#![forbid(unsafe_code)]

mod harness;
mod images;
mod registry;
mod tree;
