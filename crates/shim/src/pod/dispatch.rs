//! From a call to what serves it.

use gantry_proto_shim::{Message, own, sandbox, task};
use gantry_ttrpc::server::Call;
use gantry_types::ErrorKind;

use super::Pod;
use super::connection::Caller;
use super::container::MAX_QUEUED;
use crate::failure::Failure;

/// What a call comes to at once.
#[derive(Debug)]
pub(super) enum Reply {
    /// The answer.
    Now(Vec<u8>),
    /// Somebody will answer.
    Later,
}

impl Reply {
    /// An answer.
    pub(super) fn message(message: &impl Message) -> Result<Self, Failure> {
        Ok(Reply::Now(message.encode_to_vec()))
    }

    /// The answer that says nothing.
    pub(super) fn empty() -> Result<Self, Failure> {
        Ok(Reply::Now(Vec::new()))
    }
}

/// A call's message.
pub(super) fn decode<M: Message + Default>(call: &Call) -> Result<M, Failure> {
    M::decode(&*call.payload)
        .map_err(|error| Failure::invalid(format!("{}.{}: {error}", call.service, call.method)))
}

impl Pod {
    /// Serves a call, now or later.
    pub(super) fn call(&mut self, caller: Caller, call: Call) {
        let timeout = call.timeout;
        let reply = match call.service.as_str() {
            task::SERVICE_V2 | task::SERVICE_V3 => self.task(caller, call),
            sandbox::SERVICE => self.sandbox_call(caller, &call),
            own::SERVICE => self.own_call(caller, &call),
            service => {
                Err(Failure::new(ErrorKind::Unimplemented, format!("service {service} is not served")))
            }
        };
        match reply {
            Ok(Reply::Now(payload)) => self.answer(caller, Ok(payload)),
            Ok(Reply::Later) => {
                if let Some(timeout) = timeout {
                    self.limit(caller, timeout);
                }
            }
            Err(failure) => self.answer(caller, Err(failure)),
        }
    }

    fn task(&mut self, caller: Caller, call: Call) -> Result<Reply, Failure> {
        use task::method;
        // What changes a container comes one after the other.
        let changes = matches!(
            call.method.as_str(),
            method::START
                | method::DELETE
                | method::PAUSE
                | method::RESUME
                | method::CHECKPOINT
                | method::UPDATE
        );
        if changes && let Some(id) = self.busy_subject(&call) {
            if call.method == method::DELETE {
                self.end_creation(&id);
            }
            return self.enqueue(&id, caller, call);
        }
        match call.method.as_str() {
            method::CREATE => self.create(caller, decode(&call)?),
            method::START => self.start(caller, &decode(&call)?),
            method::DELETE => self.delete(caller, &decode(&call)?),
            method::EXEC => self.exec(decode(&call)?),
            method::STATE => self.state(&decode(&call)?),
            method::PIDS => self.pids(caller, &decode(&call)?),
            method::PAUSE => self.pause(caller, &decode(&call)?),
            method::RESUME => self.resume(caller, &decode(&call)?),
            method::KILL => self.kill(caller, &decode(&call)?),
            method::CHECKPOINT => self.checkpoint(caller, decode(&call)?),
            method::RESIZE_PTY => self.resize(&decode(&call)?),
            method::CLOSE_IO => self.close_io(&decode(&call)?),
            method::UPDATE => self.update(caller, decode(&call)?),
            method::WAIT => self.wait(caller, &decode(&call)?),
            method::STATS => self.stats(caller, &decode(&call)?),
            method::CONNECT => self.connect(&decode(&call)?),
            method::SHUTDOWN => self.shutdown(caller),
            name => Err(Failure::new(ErrorKind::Unimplemented, format!("method {name} is not served"))),
        }
    }

    /// The container of a call, if the call has to wait for an operation on it.
    fn busy_subject(&self, call: &Call) -> Option<String> {
        // Every request has the container's id as its first field.
        let id = task::PauseRequest::decode(&*call.payload).ok()?.id;
        let container = self.containers.get(&id)?;
        let starting = || container.execs.values().any(|exec| exec.process.starting);
        let waits = match call.method.as_str() {
            // A process that is being set up would be frozen in the middle of it, and its maker with it.
            task::method::PAUSE | task::method::CHECKPOINT => container.busy || starting(),
            // The end of an exec is its own.
            task::method::DELETE => container.busy && !names_exec(call),
            _ => container.busy,
        };
        waits.then_some(id)
    }

    fn enqueue(&mut self, id: &str, caller: Caller, call: Call) -> Result<Reply, Failure> {
        let Some(container) = self.containers.get_mut(id) else {
            return Err(Failure::not_found("container", id));
        };
        if container.queue.len() >= MAX_QUEUED {
            return Err(Failure::new(
                ErrorKind::ResourceExhausted,
                format!("more than {MAX_QUEUED} calls wait for container {id}"),
            ));
        }
        container.queue.push_back((caller, call));
        Ok(Reply::Later)
    }

    /// Goes on with what waited for a container's operation. What has to wait for the next one waits on.
    pub(super) fn resume_queue(&mut self, id: &str) {
        let waiting = self.containers.get(id).map_or(0, |container| container.queue.len());
        for _ in 0..waiting {
            let Some(container) = self.containers.get_mut(id).filter(|container| !container.busy) else {
                return;
            };
            let Some((caller, call)) = container.queue.pop_front() else { return };
            self.call(caller, call);
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.queue.shrink_to_fit();
        }
    }
}

/// Whether a call to start or delete a process is about an exec.
fn names_exec(call: &Call) -> bool {
    task::StartRequest::decode(&*call.payload).is_ok_and(|request| !request.exec_id.is_empty())
}

impl Pod {
    fn own_call(&mut self, caller: Caller, call: &Call) -> Result<Reply, Failure> {
        match call.method.as_str() {
            own::method::REPORT => self.report(),
            own::method::UPGRADE => self.upgrade(caller, &decode(call)?),
            own::method::REOPEN_LOG => self.reopen_log(caller, &decode(call)?),
            name => Err(Failure::new(ErrorKind::Unimplemented, format!("method {name} is not served"))),
        }
    }
}
