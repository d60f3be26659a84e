//! Builds without BuildKit behind the real docker client. Proven on dockerd: `GANTRY_DAEMON=containerd`.

pub(crate) mod base;
mod cases;
mod clients;
mod formats;
mod hostile;
mod platforms;
mod remote;
mod sessions;
mod syntax;
mod web;
