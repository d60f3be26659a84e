//! Builds without BuildKit behind the real docker client. Proven on dockerd: `GANTRY_DAEMON=containerd`.

mod base;
mod cases;
mod formats;
mod hostile;
mod sessions;
