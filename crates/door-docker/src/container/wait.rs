//! Waiting for the end of a container.

use bytes::Bytes;
use futures_util::stream;
use gantry_docker_api::container::ContainerWaitResponse;
use gantry_docker_api::media_type;
use gantry_engine::WaitFor;

use super::find;
use crate::failure::Failure;
use crate::http::{Answer, Body, Call, Outcome};

/// `POST /containers/{name}/wait`. What is waited for begins before the head of the answer is sent: a client starts the container
/// when it has that.
pub(super) async fn wait(call: Call, name: &str) -> Outcome {
    let what = match call.query.text("condition") {
        "" | "not-running" => WaitFor::NotRunning,
        "next-exit" => WaitFor::NextExit,
        "removed" => WaitFor::Removed,
        other => return Err(Failure::invalid(format!("invalid condition: {other:?}"))),
    };
    let container = find(&call, name).await?;
    let moment = call.door.engine.container_wait(&container, what);
    let answer = async move {
        let moment = moment.await;
        // Of a start that failed only the status is told: who started it has the reason.
        let answer = ContainerWaitResponse { error: None, status_code: moment.exit_code.into() };
        let mut line = serde_json::to_vec(&answer).expect("the API's types are JSON");
        line.push(b'\n');
        Ok(Bytes::from(line))
    };
    Ok(Answer::body(media_type::JSON, Body::stream(stream::once(answer))))
}
