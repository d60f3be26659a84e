//! `containerd.services.events.ttrpc.v1`: where shims hand their events over, on a socket of their own.
//!
//! A shim sends one event after the other, and each is answered before the next is taken: their order is that of the journal.
//! What is answered is committed. A shim goes on where it was after any end of a connection, and its events are known by their
//! numbers, so that each is there once (docs/design/0006-tasks.md).

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use gantry_primitives::{EventSource, ShimEvent, Store, chain};
use gantry_proto_shim::Message as _;
use gantry_proto_shim::any::Empty;
use gantry_proto_shim::forward::{Envelope, FORWARD, ForwardRequest, SERVICE};
use gantry_ttrpc::server::{Call, Connection};
use gantry_ttrpc::{Code, Status};
use gantry_types::ErrorKind;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The most connections: a shim has one while it has events.
const MAX_CONNECTIONS: usize = 1024;
/// How much is read at once, in bytes. An idle connection holds no buffer.
const READ_BYTES: usize = 8 << 10;
/// How long a shim may leave its answers unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The key of an event's source and number, by which it is known when it comes again.
const METADATA: &str = "gantry-event";

/// Takes the events of shims until `serving` becomes false; what was begun then is answered.
pub async fn serve_events(
    store: Store,
    connections: impl Stream<Item = io::Result<UnixStream>> + Send,
    serving: watch::Receiver<bool>,
) {
    let mut connections = pin!(connections);
    let mut ended = serving.clone();
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            // Further ones wait in the kernel's queue.
            accepted = connections.next(), if open.len() < MAX_CONNECTIONS => match accepted {
                Some(Ok(stream)) => {
                    open.spawn(converse(store.clone(), stream, serving.clone()));
                }
                Some(Err(error)) => tracing::warn!(%error, "cannot accept the connection of a shim"),
                None => break,
            },
            Some(_) = open.join_next() => {}
            _ = ended.wait_for(|serving| !serving) => break,
        }
    }
    while open.join_next().await.is_some() {}
}

async fn converse(store: Store, mut stream: UnixStream, mut serving: watch::Receiver<bool>) {
    let mut connection = Connection::new();
    loop {
        tokio::select! {
            readable = stream.readable() => if readable.is_err() {
                return;
            },
            _ = serving.wait_for(|serving| !serving) => return,
        }
        // A connection that breaks is no error: the shim comes again.
        let Ok(Some(calls)) = receive(&stream, &mut connection) else { return };
        for call in calls {
            let answer = answer(&store, &call).await;
            if let Err(status) = &answer {
                tracing::warn!(method = %call.method, error = %status, "an event of a shim was not taken");
            }
            connection.respond(call.stream, answer);
            if send(&mut stream, &mut connection).await.is_err() {
                return;
            }
        }
        if send(&mut stream, &mut connection).await.is_err() {
            return;
        }
    }
}

/// The calls that are complete with what can be read now; None at the end.
fn receive(stream: &UnixStream, connection: &mut Connection) -> io::Result<Option<Vec<Call>>> {
    let mut buffer = [0; READ_BYTES];
    let mut input = match stream.try_read(&mut buffer) {
        Ok(0) => return Ok(None),
        Ok(length) => &buffer[..length],
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(Vec::new())),
        Err(error) => return Err(error),
    };
    Ok(Some(std::iter::from_fn(|| connection.receive(&mut input)).collect()))
}

async fn send(stream: &mut UnixStream, connection: &mut Connection) -> io::Result<()> {
    let length = connection.output().len();
    timeout(WRITE_TIMEOUT, stream.write_all(connection.output())).await??;
    connection.consume(length);
    Ok(())
}

async fn answer(store: &Store, call: &Call) -> Result<Empty, Status> {
    if call.service != SERVICE {
        return Err(call.unknown_service());
    }
    if call.method != FORWARD {
        return Err(call.unknown_method());
    }
    let (source, event) = read(call).map_err(|reason| Status::new(Code::InvalidArgument, reason))?;
    match store.forward(source, event).await {
        Ok(_) => Ok(Empty {}),
        Err(error) => {
            // A shim drops what is invalid, and tries everything else again.
            let code = match error.kind() {
                ErrorKind::InvalidArgument => Code::InvalidArgument,
                _ => Code::Unavailable,
            };
            Err(Status::new(code, chain(&error)))
        }
    }
}

/// The event of a call; an error says what is wrong with it.
fn read(call: &Call) -> Result<(Option<EventSource>, ShimEvent), String> {
    let request = ForwardRequest::decode(call.payload.as_slice()).map_err(|error| error.to_string())?;
    let Envelope { timestamp, namespace, topic, event } = request.envelope.ok_or("envelope is required")?;
    // The journal has the time of arrival; as with containerd, an event has one of its own all the same.
    timestamp.ok_or("timestamp is required")?;
    let event = event.ok_or("event is required")?;
    let namespace = namespace.parse().map_err(|error| format!("namespace: {error}"))?;
    let source = call.metadata(METADATA).map(source).transpose()?;
    Ok((source, ShimEvent { namespace, topic, type_url: event.type_url, value: event.value }))
}

/// `<pod>/<number>`
fn source(text: &str) -> Result<EventSource, String> {
    let parse = || {
        let (name, sequence) = text.rsplit_once('/')?;
        Some(EventSource { name: name.to_owned(), sequence: sequence.parse().ok()? })
    };
    parse().ok_or_else(|| format!("{METADATA}: {text:?} is no source with a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_proto_shim::any::Timestamp;
    use gantry_proto_shim::events::TaskStart;
    use gantry_ttrpc::message::KeyValue;

    fn call(envelope: Option<Envelope>, source: Option<&str>) -> Call {
        let pair = |value: &str| KeyValue { key: METADATA.into(), value: value.into() };
        Call {
            stream: 1,
            service: SERVICE.into(),
            method: FORWARD.into(),
            payload: ForwardRequest { envelope }.encode_to_vec(),
            timeout: None,
            metadata: source.map(pair).into_iter().collect(),
        }
    }

    fn envelope() -> Envelope {
        Envelope::of("n", Timestamp { seconds: 1, nanos: 0 }, &TaskStart::default())
    }

    #[test]
    fn source_is_a_name_and_a_number() {
        let good = read(&call(Some(envelope()), Some("a/b/7"))).unwrap();
        assert_eq!(good.0, Some(EventSource { name: "a/b".into(), sequence: 7 }));
        assert_eq!(read(&call(Some(envelope()), None)).unwrap().0, None);
        for wrong in ["", "pod", "pod/", "pod/x", "pod/-1"] {
            assert!(read(&call(Some(envelope()), Some(wrong))).is_err(), "{wrong}");
        }
    }

    #[test]
    fn event_needs_all_that_an_envelope_has() {
        for wrong in [
            None,
            Some(Envelope { timestamp: None, ..envelope() }),
            Some(Envelope { event: None, ..envelope() }),
            Some(Envelope { namespace: "a/b".into(), ..envelope() }),
        ] {
            assert!(read(&call(wrong.clone(), None)).is_err(), "{wrong:?}");
        }
        let broken = Call { payload: vec![0x0a, 9], ..call(None, None) };
        assert!(read(&broken).is_err());
    }
}
