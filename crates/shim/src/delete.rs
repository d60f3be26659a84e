//! `delete`: removes what is left of a container whose shim is gone.

use std::time::{Duration, SystemTime};

use gantry_proto_shim::Message;
use gantry_proto_shim::any::Empty;
use gantry_proto_shim::own::Cause;
use gantry_proto_shim::task::{
    DeleteRequest, DeleteResponse, KillRequest, SERVICE_V2, ShutdownRequest, WaitRequest, WaitResponse,
    method,
};
use gantry_ttrpc::client::{Client, Options};
use gantry_types::ContainerId;

use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::options::RuntimeOptions;
use crate::place::{Place, group};
use crate::pod::Remains;
use crate::work::{self, Subject};

/// The status of a container that was killed: SIGKILL.
const KILLED: u32 = 137;
const SIGKILL: u32 = 9;
/// How long a live shim may take for each step.
const SHIM_TIMEOUT: Duration = Duration::from_secs(5);

/// Removes a container, whatever state it is in, and gives back what to print: an encoded `DeleteResponse`.
///
/// # Errors
/// What killing, unmounting and removing give; everything is tried.
///
/// # Privilege
/// Root.
pub fn delete(invocation: &Invocation) -> Result<Vec<u8>, Failure> {
    let bundle = match &invocation.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().map_err(Failure::io("the working directory"))?,
    };
    let id: ContainerId = invocation
        .id
        .parse()
        .map_err(|error: gantry_types::InvalidId| Failure::invalid(error.to_string()))?;
    // A configuration that cannot be read is no reason to leave the container running.
    let group = group(&bundle, id.as_str()).unwrap_or_else(|_| id.to_string());
    let mut place = Place::of(&invocation.address, &invocation.namespace, &group, None);
    if let Some(socket) = crate::pod::recorded_socket(&place.directory) {
        place.socket = socket;
    }
    if let Some(response) = by_shim(&place, id.as_str()) {
        return Ok(response.encode_to_vec());
    }
    if place.directory.is_dir() {
        crate::place::await_workers(&place.directory);
    }
    let remains = Remains::read(&place.directory, id.as_str());
    let subject = Subject {
        id: id.clone(),
        namespace: invocation.namespace.clone(),
        bundle,
        options: remains.as_ref().map_or_else(RuntimeOptions::default, |it| it.options.clone()),
        root_on_host: true,
        cgroup: None,
    };
    work::delete_forced(&subject)?;
    if let Some(remains) = &remains {
        remains.remove();
        let quit = place.is_empty();
        if quit || !remains.streamed.is_empty() {
            // There may be none, and it ends with the last one that it serves.
            let _ = crate::pod::forget_streams(&place.directory, id.as_str(), &remains.streamed, quit);
        }
    }
    place.abandon();
    let exit = remains.as_ref().and_then(|remains| remains.exit);
    let response = DeleteResponse {
        pid: remains.as_ref().map_or(0, |remains| remains.pid as u32),
        exit_status: exit.map_or(KILLED, |(status, _)| status),
        exited_at: Some(exit.map_or_else(SystemTime::now, |(_, at)| at).into()),
        cause: remains
            .as_ref()
            .and_then(|remains| remains.cause.clone())
            .or_else(|| exit.is_none().then(lost)),
    };
    Ok(response.encode_to_vec())
}

/// Why a container ended whose end nobody saw.
fn lost() -> Cause {
    Cause { text: "its shim died: supervisor lost".to_owned(), ..Cause::default() }
}

/// Has the live shim remove the container, where the daemon has lost the way to it: behind its back it would serve the
/// container for ever. `None` where that does not work.
fn by_shim(place: &Place, id: &str) -> Option<DeleteResponse> {
    if !place.is_served() {
        return None;
    }
    let client = Client::connect(&place.socket).ok()?;
    let options = || Options::default().timeout(SHIM_TIMEOUT);
    let id = id.to_owned();
    let kill = KillRequest { id: id.clone(), signal: SIGKILL, all: true, ..KillRequest::default() };
    // It may have ended.
    let _ = client.call_with::<_, Empty>(SERVICE_V2, method::KILL, &kill, &options());
    let wait = WaitRequest { id: id.clone(), ..WaitRequest::default() };
    client.call_with::<_, WaitResponse>(SERVICE_V2, method::WAIT, &wait, &options()).ok()?;
    let delete = DeleteRequest { id: id.clone(), ..DeleteRequest::default() };
    let response = client.call_with(SERVICE_V2, method::DELETE, &delete, &options()).ok()?;
    // It ends if that was the last one.
    let _ = client.call_with::<_, Empty>(
        SERVICE_V2,
        method::SHUTDOWN,
        &ShutdownRequest { id, now: false },
        &options(),
    );
    Some(response)
}
