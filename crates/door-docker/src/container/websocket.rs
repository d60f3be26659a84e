//! Clients at the streams of a container, by WebSocket (RFC 6455): binary messages both ways, and no headers that would tell the
//! streams apart.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use gantry_docker_api::ApiVersion;
use gantry_engine::{AttachRequest, Attached, Frame, StreamInput, StreamOutput};
use gantry_stream::{DetachKeys, Scan, Scanner};
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::attach::{event, keys, past};
use super::session::AFTER_EXIT;
use super::{End, Framing, find};
use crate::failure::Failure;
use crate::http::{Answer, Call, Hijack, Outcome, Wire};

const V1_42: ApiVersion = ApiVersion::new(1, 42);
/// The only version of the protocol.
const VERSION: &str = "13";
/// The longest message and frame of a client, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

type Reader = SplitStream<WebSocketStream<Wire>>;
type Writer = SplitSink<WebSocketStream<Wire>, Message>;

/// `GET /containers/{name}/attach/ws`
pub(super) async fn attach(call: Call, name: &str) -> Outcome {
    let keys = keys(call.query.text("detachKeys"), "detach")?;
    let container = find(&call, name).await?;
    let accept = accept(&call)?;
    // Clients before knew nothing of a choice.
    let wants = |stream: &str| call.version < V1_42 || call.query.is_set(stream);
    let request = AttachRequest { stdin: wants("stdin"), stdout: wants("stdout"), stderr: wants("stderr") };
    let (is_stream, with_logs) = (call.query.is_set("stream"), call.query.is_set("logs"));
    let record = container.record();
    let process = &record.options.process;
    let session = Session {
        stdin: request.stdin,
        ends_input: process.stdin_once && !process.tty,
        keys: process.tty.then_some(keys),
    };
    let logs = if with_logs { past(&call, &container, request, Framing::Raw).await? } else { None };
    let attached = if is_stream { Some(call.door.engine.attach(&container, request).await?) } else { None };
    let door = call.door.clone();
    let mut hijack = Hijack::new(move |wire| async move {
        let config =
            WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let socket = WebSocketStream::from_raw_socket(wire, Role::Server, Some(config)).await;
        let (mut writer, reader) = socket.split();
        if let Some(mut log) = logs {
            while let Ok(Some(bytes)) = log.next().await {
                if writer.send(Message::Binary(bytes)).await.is_err() {
                    return;
                }
            }
        }
        let end = tokio::select! {
            end = session.serve(&mut writer, reader, attached) => end,
            () = door.stopping() => End::Output,
        };
        let _ = writer.close().await;
        if end == End::Detached {
            door.engine.announce(&event(&container, "detach")).await;
        }
    });
    hijack.upgrade = Some("websocket");
    hijack.headers = vec![(HeaderName::from_static("sec-websocket-accept"), accept)];
    Ok(Answer::Hijack(hijack))
}

/// The answer to a client's key.
fn accept(call: &Call) -> Result<HeaderValue, Failure> {
    let asks = call.header("upgrade").eq_ignore_ascii_case("websocket");
    let key = call.header("sec-websocket-key");
    if !asks || key.is_empty() || call.header("sec-websocket-version") != VERSION {
        return Err(Failure::invalid("not a handshake of WebSocket, version 13"));
    }
    HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| Failure::invalid("the key of the handshake is none"))
}

/// What a client's place is like.
struct Session {
    stdin: bool,
    ends_input: bool,
    keys: Option<DetachKeys>,
}

impl Session {
    async fn serve(self, writer: &mut Writer, reader: Reader, attached: Option<Attached>) -> End {
        let streams = match attached {
            None => return End::Output,
            Some(Attached::Now(streams)) => streams,
            Some(Attached::AtStart(place)) => match place.await {
                Ok(Ok(streams)) => streams,
                Ok(Err(_)) | Err(_) => return End::Output,
            },
        };
        let (output, mut input) = streams.split();
        tokio::select! {
            end = outgoing(writer, output) => end,
            end = self.incoming(reader, &mut input) => end,
        }
    }

    async fn incoming(self, mut reader: Reader, input: &mut StreamInput) -> End {
        let mut scanner = self.keys.as_ref().map(Scanner::new);
        let mut passed = Vec::new();
        let mut takes = self.stdin;
        while let Some(Ok(message)) = reader.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                // Pings are answered where they are read.
                _ => continue,
            };
            if !takes {
                continue;
            }
            let bytes = match &mut scanner {
                None => &bytes[..],
                Some(scanner) => {
                    passed.clear();
                    if scanner.scan(&bytes, &mut passed) == Scan::Detached {
                        let _ = input.write(&passed).await;
                        return End::Detached;
                    }
                    &passed
                }
            };
            takes = bytes.is_empty() || input.write(bytes).await.is_ok();
        }
        if self.stdin && self.ends_input {
            let _ = input.end().await;
        }
        End::Left
    }
}

async fn outgoing(writer: &mut Writer, mut output: StreamOutput) -> End {
    let mut deadline: Option<Instant> = None;
    loop {
        let next = match deadline {
            None => output.next().await,
            Some(at) => match tokio::time::timeout_at(at, output.next()).await {
                Ok(next) => next,
                Err(_) => return End::Output,
            },
        };
        match next {
            Ok(Some(Frame::Stdout(bytes) | Frame::Stderr(bytes))) => {
                if writer.send(Message::Binary(bytes)).await.is_err() {
                    return End::Left;
                }
            }
            Ok(Some(Frame::Exit(_))) => {
                deadline.get_or_insert_with(|| Instant::now() + AFTER_EXIT);
            }
            Ok(None) | Err(_) => return End::Output,
        }
    }
}
