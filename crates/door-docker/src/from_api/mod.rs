//! What clients say, in the engine's words. Wishes that contradict themselves or docker's rules are refused here, in docker's
//! words; what the host has to do with it is the engine's to say.

mod container;
mod gates;
mod limits;
mod mounts;
mod network;

pub(crate) use container::{container, restart_policy, timeout};
pub(crate) use limits::{check as check_limits, limits};
