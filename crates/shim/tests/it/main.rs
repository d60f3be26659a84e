//! The streams process from outside.
// The lint's exception for tests does not see helpers.
#![allow(clippy::unwrap_used)]

mod attach;
mod fifos;
mod harness;
mod logs;
mod survival;
