use gantry_ttrpc::server::Call;
use super::Pod;
use super::connection::Caller;
use super::dispatch::Reply;
use super::process::Exit;
use crate::failure::Failure;
use crate::worker::Done;

#[derive(Debug, Default)]
pub(super) struct Sandbox {}

impl Sandbox { pub(super) fn is_alive(&self) -> bool { false } }

impl Pod {
    pub(super) fn sandbox_call(&mut self, _caller: Caller, call: &Call) -> Result<Reply, Failure> {
        Err(Failure::new(gantry_types::ErrorKind::Unimplemented, format!("service {}", call.service)))
    }
    pub(super) fn sandbox_started(&mut self, _caller: Option<Caller>, _verdict: Result<Done, Failure>) {}
    pub(super) fn sandbox_stopped(&mut self, _caller: Option<Caller>, _verdict: Result<Done, Failure>) {}
    pub(super) fn sandbox_reaped(&mut self, _pid: i32, _exit: Exit) {}
}
