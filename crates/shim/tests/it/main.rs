//! The streams process from outside.

mod attach;
mod fifos;
mod harness;
mod logs;
mod survival;
