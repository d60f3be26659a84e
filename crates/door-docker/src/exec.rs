//! More processes in containers.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_docker_api::exec::{
    ExecCreateRequest, ExecCreateResponse, ExecInspect, ExecStartRequest, ProcessConfig,
};
use gantry_docker_api::{ApiVersion, List};
use gantry_engine::{Exec, ExecOptions};
use gantry_stream::Channel;
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt as _;

use crate::container::{self, End, Framing, Session};
use crate::door::Door;
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome, Wire};

const V1_42: ApiVersion = ApiVersion::new(1, 42);

/// Answers a request for `/exec/…`.
pub(crate) async fn route(call: Call, rest: &[&str]) -> Outcome {
    match (&call.method, rest) {
        (&Method::GET, [id, "json"]) => inspect(&call, id),
        (&Method::POST, [id, "start"]) => start(call, id).await,
        (&Method::POST, [id, "resize"]) => resize(&call, id).await,
        _ => Err(Failure::no_page()),
    }
}

/// `POST /containers/{name}/exec`
pub(crate) async fn create(mut call: Call, name: &str) -> Outcome {
    let request: ExecCreateRequest = call.json().await?;
    if request.cmd.is_empty() {
        return Err(Failure::invalid("No exec command specified"));
    }
    let keys = &request.detach_keys;
    if !keys.is_empty() {
        container::keys(keys, "escape")?;
    }
    let size = if call.version < V1_42 { None } else { request.console_size };
    let options = ExecOptions {
        cmd: request.cmd.to_vec(),
        env: request.env.to_vec(),
        user: request.user.clone(),
        working_dir: request.working_dir.clone(),
        tty: request.tty,
        console_size: columns_and_rows(size),
        privileged: request.privileged,
        stdin: request.attach_stdin,
        stdout: request.attach_stdout,
        stderr: request.attach_stderr,
        detach_keys: keys.clone(),
    };
    let container = container::find(&call, name).await?;
    let exec = call.door.engine.exec_create(&container, options).await?;
    Ok(Answer::json_with(StatusCode::CREATED, &ExecCreateResponse { id: exec.id.clone() }))
}

/// Docker says rows first.
fn columns_and_rows(size: Option<[u32; 2]>) -> (u16, u16) {
    let [rows, columns] = size.unwrap_or_default();
    let number = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    (number(columns), number(rows))
}

/// `POST /exec/{id}/start`
async fn start(mut call: Call, id: &str) -> Outcome {
    let request: ExecStartRequest = call.json().await?;
    let exec = call.door.engine.exec(id)?;
    if request.detach {
        // Nobody reads what it writes.
        let streams = call.door.engine.exec_start(&exec).await?;
        drop(streams);
        return Ok(Answer::status(StatusCode::OK));
    }
    let options = &exec.options;
    // What the client says now counts, whatever it said before: it reads the answer by that.
    let framing = if request.tty { Framing::Raw } else { Framing::Multiplexed };
    let keys = container::keys(&options.detach_keys, "escape")?;
    let session =
        Session { framing, stdin: options.stdin, ends_input: true, keys: options.tty.then_some(keys) };
    let size = columns_and_rows(request.console_size.filter(|_| call.version >= V1_42 && options.tty));
    let door = call.door.clone();
    Ok(container::hijack(&call, framing, move |wire| run(door, exec, session, size, wire)))
}

async fn run(door: Door, exec: Arc<Exec>, session: Session, size: (u16, u16), mut wire: Wire) {
    let streams = match door.engine.exec_start(&exec).await {
        Ok(streams) => streams,
        Err(error) => {
            // The head is sent, so this is told where output would be.
            let text = format!("{}\r\n", Failure::from(error).message);
            let _ = container::write(&mut wire, Channel::Stdout, text.into(), session.framing).await;
            let _ = wire.shutdown().await;
            return;
        }
    };
    let (columns, rows) = size;
    if columns > 0 && rows > 0 && (columns, rows) != exec.options.console_size {
        // It may have ended.
        let _ = door.engine.exec_resize(&exec, columns, rows).await;
    }
    let Some(streams) = streams else { return };
    let end = tokio::select! {
        end = session.run(wire, streams) => end,
        () = door.stopping() => End::Output,
    };
    if end == End::Detached
        && let Ok(container) = door.engine.any_container(&exec.container).await
    {
        let mut event = container::event(&container, "exec_detach");
        event.attributes.insert("execID".to_owned(), exec.id.clone());
        door.engine.announce(&event).await;
    }
}

/// `POST /exec/{id}/resize`
async fn resize(call: &Call, id: &str) -> Outcome {
    let (rows, columns) = container::size(call)?;
    let exec = call.door.engine.exec(id)?;
    call.door.engine.exec_resize(&exec, columns, rows).await?;
    Ok(Answer::status(StatusCode::OK))
}

/// `GET /exec/{id}/json`
fn inspect(call: &Call, id: &str) -> Outcome {
    let exec = call.door.engine.exec(id)?;
    let (state, options) = (exec.state(), &exec.options);
    let (entrypoint, arguments) = match options.cmd.split_first() {
        Some((first, rest)) => (first.clone(), List::from(rest.to_vec())),
        None => Default::default(),
    };
    let keys = match options.detach_keys.as_str() {
        "" => String::new(),
        text => STANDARD.encode(container::keys(text, "escape")?.as_bytes()),
    };
    let timings = exec.timings();
    let answer = ExecInspect {
        id: exec.id.clone(),
        running: state.running,
        exit_code: state.exit_code.map(i64::from),
        process_config: Some(ProcessConfig {
            tty: options.tty,
            entrypoint,
            arguments,
            privileged: Some(options.privileged),
            user: options.user.clone(),
        }),
        open_stdin: options.stdin,
        open_stderr: options.stderr,
        open_stdout: options.stdout,
        can_remove: false,
        container_id: exec.container.clone(),
        detach_keys: keys,
        pid: state.pid.into(),
    };
    // The head of a start that is attached was sent before there was anything to tell.
    Ok(Answer::json(&answer).timing(timings.total(), &timings))
}
