//! What clients are told, in docker's words.

mod config;
mod event;
mod inspect;
mod mounts;
mod network;
mod stats;
mod summary;
mod volume;

pub(crate) use event::{event, media_type as event_media_type};
pub(crate) use inspect::{Beside, inspect};
pub(crate) use network::{BRIDGE, HOST, NONE, endpoint_id, network_id};
pub(crate) use stats::{empty as no_stats, stats};
pub(crate) use summary::{Beside as BesideSummary, summary};
pub(crate) use volume::volume;

use gantry_docker_api::timestamp::ZERO;
use gantry_engine::Record;
use jiff::Timestamp;

/// What keeps the files of containers and images.
pub(crate) const DRIVER: &str = "overlayfs";

/// A time as Go's `RFC3339Nano`; Go's zero time for none.
pub(crate) fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| ZERO.to_owned(), |time| time.to_string())
}

/// What names the image of a container: what the image's name named then.
pub(crate) fn image_id(record: &Record) -> String {
    let digest = record.image.target.as_ref().or(record.image.manifest.as_ref());
    digest.map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
mod tests;
