//! Clients at the streams of a container.

use std::sync::Arc;

use gantry_docker_api::{ApiVersion, media_type};
use gantry_engine::{AttachRequest, Attached, Container, LogRequest};
use gantry_stream::{Channel, DetachKeys};
use tokio::io::AsyncWriteExt as _;

use super::session::write;
use super::{End, Framing, Session, find};
use crate::failure::Failure;
use crate::http::{Answer, Call, Hijack, Outcome, Wire};

const V1_42: ApiVersion = ApiVersion::new(1, 42);

/// Keys that end a terminal's session.
///
/// # Errors
/// 400 for what is none.
pub(crate) fn keys(text: &str, what: &str) -> Result<DetachKeys, Failure> {
    if text.is_empty() {
        return Ok(DetachKeys::default());
    }
    text.parse().map_err(|_| Failure::invalid(format!("Invalid {what} keys ({text}) provided")))
}

/// Takes a connection over, for the streams of a process.
pub(crate) fn hijack<F>(
    call: &Call,
    framing: Framing,
    work: impl FnOnce(Wire) -> F + Send + 'static,
) -> Answer
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut hijack = Hijack::new(work);
    let is_new = framing == Framing::Multiplexed && call.version >= V1_42;
    if call.wants_upgrade() {
        hijack.upgrade = Some("tcp");
        hijack.media_type =
            Some(if is_new { media_type::MULTIPLEXED_STREAM } else { media_type::RAW_STREAM });
    } else {
        hijack.media_type = Some(media_type::RAW_STREAM);
    }
    Answer::Hijack(hijack)
}

/// `POST /containers/{name}/attach`
pub(super) async fn attach(call: Call, name: &str) -> Outcome {
    let keys = keys(call.query.text("detachKeys"), "detach")?;
    let container = find(&call, name).await?;
    let query = &call.query;
    let request = AttachRequest {
        stdin: query.is_set("stdin"),
        stdout: query.is_set("stdout"),
        stderr: query.is_set("stderr"),
    };
    let (is_stream, with_logs) = (query.is_set("stream"), query.is_set("logs"));
    let record = container.record();
    let process = &record.options.process;
    let framing = if process.tty { Framing::Raw } else { Framing::Multiplexed };
    let session = Session {
        framing,
        stdin: request.stdin,
        ends_input: process.stdin_once && !process.tty,
        keys: process.tty.then_some(keys),
    };
    // Before the head is sent: what goes wrong can still be told, and what comes next is not missed.
    let logs = if with_logs { past(&call, &container, request, framing).await? } else { None };
    let attached = if is_stream { Some(call.door.engine.attach(&container, request).await?) } else { None };
    let door = call.door.clone();
    Ok(hijack(&call, framing, move |mut wire| async move {
        if let Some(mut log) = logs {
            while let Ok(Some(bytes)) = log.next().await {
                if wire.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
        let end = tokio::select! {
            end = serve(wire, attached, session) => end,
            () = door.stopping() => End::Output,
        };
        if end == End::Detached {
            door.engine.announce(&event(&container, "detach")).await;
        }
    }))
}

/// What the container wrote until now.
pub(super) async fn past(
    call: &Call,
    container: &Arc<Container>,
    request: AttachRequest,
    framing: Framing,
) -> Result<Option<gantry_engine::LogStream>, Failure> {
    let request = LogRequest {
        stdout: request.stdout,
        stderr: request.stderr,
        multiplexed: framing == Framing::Multiplexed,
        ..LogRequest::default()
    };
    match call.door.engine.container_logs(container, request).await {
        Ok(log) => Ok(Some(log)),
        // A driver that keeps nothing.
        Err(gantry_engine::Error::Unsupported(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn serve(mut wire: Wire, attached: Option<Attached>, session: Session) -> End {
    let streams = match attached {
        None => return End::Output,
        Some(Attached::Now(streams)) => streams,
        // One that never comes is a container that was removed, or could not be started.
        Some(Attached::AtStart(place)) => match place.await {
            Ok(Ok(streams)) => streams,
            Ok(Err(error)) => {
                let text = format!("Error attaching: {error}\r\n");
                let _ = write(&mut wire, Channel::SystemError, text.into(), session.framing).await;
                return End::Output;
            }
            Err(_) => return End::Output,
        },
    };
    session.run(wire, streams).await
}

/// An event of a container that only a door knows of.
pub(crate) fn event(container: &Container, action: &str) -> gantry_engine::Event {
    let record = container.record();
    let mut attributes = record.labels.clone();
    attributes.insert("image".to_owned(), record.image.reference.clone());
    attributes.insert("name".to_owned(), record.name.clone());
    gantry_engine::Event {
        kind: gantry_engine::EventKind::Container,
        action: action.to_owned(),
        id: record.id.clone(),
        attributes,
    }
}
