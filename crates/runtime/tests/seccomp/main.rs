//! The seccomp compiler against an interpreter, libseccomp and the kernel.
#![allow(clippy::unwrap_used)] // All of it is tests.

mod action;
mod calls;
mod differential;
mod kernel;
mod model;
mod oracle;
