//! The service to which the shim sends its events.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use gantry_proto_shim::any::{Any, Named};
use gantry_proto_shim::events;
use gantry_proto_shim::forward::{FORWARD, ForwardRequest, SERVICE};
use gantry_ttrpc::server::{Call, Server, serve};
use gantry_ttrpc::{Code, Status};

/// Serves until it is dropped; each event is printed once if asked for.
pub(crate) fn listen(socket: &Path, print: Print) -> Result<Server> {
    // The last event of each pod: our shims send one again that may not have arrived.
    let seen: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let served = serve(socket, move |call| {
        let line = describe(call)?;
        if print == Print::Yes && is_new(&seen, call) {
            eprintln!("{line}");
        }
        Ok(Vec::new())
    });
    served.with_context(|| format!("cannot serve {}", socket.display()))
}

/// Whether events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Print {
    Yes,
    No,
}

fn is_new(seen: &Mutex<BTreeMap<String, u64>>, call: &Call) -> bool {
    let number = call.metadata("gantry-event").and_then(|text| text.split_once('/'));
    let Some((pod, Ok(sequence))) = number.map(|(pod, number)| (pod, number.parse::<u64>())) else {
        return true;
    };
    let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let last = seen.entry(pod.to_owned()).or_default();
    std::mem::replace(last, sequence.max(*last)) < sequence
}

/// An event in one line.
fn describe(call: &Call) -> Result<String, Status> {
    if call.service != SERVICE {
        return Err(call.unknown_service());
    }
    if call.method != FORWARD {
        return Err(call.unknown_method());
    }
    let request: ForwardRequest = call.message()?;
    let envelope = request.envelope.ok_or_else(|| Status::new(Code::InvalidArgument, "no envelope"))?;
    let event = envelope.event.unwrap_or_default();
    let body = shown::<events::TaskCreate>(&event)
        .or_else(|| shown::<events::TaskStart>(&event))
        .or_else(|| shown::<events::TaskExit>(&event))
        .or_else(|| shown::<events::TaskDelete>(&event))
        .or_else(|| shown::<events::TaskOOM>(&event))
        .or_else(|| shown::<events::TaskPaused>(&event))
        .or_else(|| shown::<events::TaskResumed>(&event))
        .unwrap_or(event.type_url);
    Ok(format!("{} {} {body}", envelope.namespace, envelope.topic))
}

fn shown<M: Named + std::fmt::Debug>(event: &Any) -> Option<String> {
    event.unpack::<M>().ok().map(|event| format!("{event:?}"))
}
