use super::connection::Caller;
use super::dispatch::Reply;
use super::process::Exit;
use super::{Identity, Pod};
use crate::failure::Failure;
use crate::stdio::Role;
use gantry_proto_shim::own::ReopenLogRequest;
use std::os::fd::OwnedFd;

#[derive(Debug, Default)]
pub(super) struct Streams {}

impl Streams {
    pub(super) fn new(_identity: &Identity) -> Self {
        Self {}
    }
    pub(super) fn quit(&mut self) {}
    pub(super) fn pid(&self) -> u32 {
        0
    }
}

impl Pod {
    pub(super) fn add_streams(
        &mut self,
        _id: &str,
        _exec_id: &str,
        _fds: Vec<(Role, OwnedFd)>,
    ) -> Result<(), Failure> {
        Ok(())
    }
    pub(super) fn close_streamed_input(&mut self, _id: &str, _exec_id: &str) {}
    pub(super) fn ended_streams(&mut self, _id: &str, _exec_id: &str, _exit: Exit) {}
    pub(super) fn drop_streams(&mut self, _id: &str, _exec_id: &str) {}
    pub(super) fn drop_all_streams(&mut self, _id: &str) {}
    pub(super) fn streams_event(&mut self) {}
    pub(super) fn reopen_log(
        &mut self,
        _caller: Caller,
        _request: &ReopenLogRequest,
    ) -> Result<Reply, Failure> {
        Reply::empty()
    }
}
