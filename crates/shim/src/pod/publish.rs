use std::time::Instant;
use gantry_proto_shim::events::Event;
use super::epoll::{Epoll, Source};
use super::{Identity, Pod};
use crate::log::Log;

#[derive(Debug, Default)]
pub(super) struct Publishing {}

impl Publishing {
    pub(super) fn open(_identity: &Identity, _epoll: &Epoll, _log: &Log) -> Self { Self {} }
    pub(super) fn deadline(&self) -> Option<Instant> { None }
    pub(super) fn is_idle(&self) -> bool { true }
    pub(super) fn waiting(&self) -> u64 { 0 }
    pub(super) fn dropped(&self) -> u64 { 0 }
}

impl Pod {
    pub(super) fn publish<E: Event>(&mut self, _event: &E) {}
    pub(super) fn drive_publisher(&mut self) {}
    pub(super) fn publisher_event(&mut self, _source: Source) {}
}
