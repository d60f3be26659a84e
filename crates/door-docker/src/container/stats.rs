//! Counters, once or once a second.

use std::time::Duration;

use gantry_docker_api::media_type;
use gantry_engine::{Container, Stats};

use super::find;
use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome, Sender};
use crate::into_api;

/// How often counters are told.
const INTERVAL: Duration = Duration::from_secs(1);

/// `GET /containers/{name}/stats`
pub(super) async fn stats(call: Call, name: &str) -> Outcome {
    let container = find(&call, name).await?;
    let is_stream = call.query.is_set_or("stream", true);
    let is_once = call.query.is_set("one-shot");
    if is_stream && is_once {
        return Err(Failure::invalid("cannot have stream=true and one-shot=true"));
    }
    if is_stream {
        return Ok(Answer::stream(media_type::JSON, async move |sender| {
            every_second(call, container, sender).await
        }));
    }
    let engine = &call.door.engine;
    let mut before = engine.container_stats(&container).await?;
    let now = if is_once || before.is_none() {
        before.take()
    } else {
        // How much is used is the difference of two.
        tokio::time::sleep(INTERVAL).await;
        engine.container_stats(&container).await?
    };
    Ok(Answer::json(&told(&call, &container, now.as_ref(), before.as_ref())))
}

fn told(
    call: &Call,
    container: &Container,
    now: Option<&Stats>,
    before: Option<&Stats>,
) -> gantry_docker_api::container::ContainerStats {
    let record = container.record();
    match now {
        Some(now) => into_api::stats(&record, now, before, call.version),
        None => into_api::no_stats(&record, call.version),
    }
}

/// Tells until the client has left, or the container is gone.
async fn every_second(call: Call, container: std::sync::Arc<Container>, sender: Sender) {
    let mut before = None;
    let mut gone = std::pin::pin!(container.wait(gantry_engine::WaitFor::Removed));
    loop {
        let now = match call.door.engine.container_stats(&container).await {
            Ok(now) => now,
            Err(error) => {
                tracing::debug!(container = %container.id, %error, "no counters");
                None
            }
        };
        if !sender.line(&told(&call, &container, now.as_ref(), before.as_ref())).await {
            return;
        }
        before = now;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = sender.left() => return,
            () = call.door.stopping() => return,
            _ = &mut gone => return,
        }
    }
}
