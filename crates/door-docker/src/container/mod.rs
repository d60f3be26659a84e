//! Containers.

mod archive;
mod attach;
mod create;
mod filter;
mod inspect;
mod life;
mod list;
mod logs;
mod proc;
mod prune;
mod session;
mod stats;
mod top;
mod update;
mod wait;
mod websocket;

use std::sync::Arc;

use gantry_engine::Container;
use http::Method;

use crate::failure::Failure;
use crate::http::{Call, Outcome};
use crate::route::boxed;

pub(crate) use self::attach::{event, hijack, keys};
#[cfg(feature = "fuzzing")]
pub(crate) use self::filter::matches;
pub(crate) use self::filter::until;
pub(crate) use self::list::usage;
pub(crate) use self::logs::time as log_time;
pub(crate) use self::prune::event as prune_event;
pub(crate) use self::session::{End, Framing, Session, write};

/// Answers a request for `/containers/…`.
pub(crate) async fn route(call: Call, rest: &[&str]) -> Outcome {
    match (&call.method, rest) {
        (&Method::GET, ["json"]) => boxed(|| list::list(call)).await,
        (&Method::POST, ["create"]) => boxed(|| create::create(call)).await,
        (&Method::POST, ["prune"]) => boxed(|| prune::prune(call)).await,
        (&Method::GET, [name @ .., "attach", "ws"]) if !name.is_empty() => {
            boxed(|| async { websocket::attach(call, &name.join("/")).await }).await
        }
        (&Method::DELETE, [_, ..]) => boxed(|| async { life::remove(call, &rest.join("/")).await }).await,
        (_, [name @ .., "checkpoints"]) if !name.is_empty() => {
            Err(Failure::unsupported("checkpoints are not supported by this door"))
        }
        (_, [name @ .., verb]) if !name.is_empty() => of_one(call, &name.join("/"), verb).await,
        _ => Err(Failure::no_page()),
    }
}

async fn of_one(call: Call, name: &str, verb: &str) -> Outcome {
    match (call.method.clone(), verb) {
        (Method::GET, "json") => boxed(|| inspect::inspect(call, name)).await,
        (Method::GET, "top") => boxed(|| top::top(call, name)).await,
        (Method::GET, "logs") => boxed(|| logs::logs(call, name)).await,
        (Method::GET, "changes") => boxed(|| inspect::changes(call, name)).await,
        (Method::GET, "export") => boxed(|| archive::export(call, name)).await,
        (Method::GET, "stats") => boxed(|| stats::stats(call, name)).await,
        (Method::HEAD | Method::GET, "archive") => boxed(|| archive::get(call, name)).await,
        (Method::PUT, "archive") => boxed(|| archive::put(call, name)).await,
        (Method::POST, "start") => boxed(|| life::start(call, name)).await,
        (Method::POST, "stop") => boxed(|| life::stop(call, name)).await,
        (Method::POST, "restart") => boxed(|| life::restart(call, name)).await,
        (Method::POST, "kill") => boxed(|| life::kill(call, name)).await,
        (Method::POST, "pause") => boxed(|| life::pause(call, name)).await,
        (Method::POST, "unpause") => boxed(|| life::unpause(call, name)).await,
        (Method::POST, "rename") => boxed(|| life::rename(call, name)).await,
        (Method::POST, "resize") => boxed(|| life::resize(call, name)).await,
        (Method::POST, "update") => boxed(|| update::update(call, name)).await,
        (Method::POST, "wait") => boxed(|| wait::wait(call, name)).await,
        (Method::POST, "attach") => boxed(|| attach::attach(call, name)).await,
        (Method::POST, "exec") => boxed(|| crate::exec::create(call, name)).await,
        _ => Err(Failure::no_page()),
    }
}

/// The container of a name, an id, or the beginning of one; whose door it is does not matter.
pub(crate) async fn find(call: &Call, name: &str) -> Result<Arc<Container>, Failure> {
    Ok(call.door.engine.any_container(name).await?)
}

/// Rows and columns of a terminal.
pub(crate) fn size(call: &Call) -> Result<(u16, u16), Failure> {
    let number = |name: &str, what: &str| {
        let text = call.query.text(name);
        text.parse::<u32>().map(|number| u16::try_from(number).unwrap_or(u16::MAX)).map_err(|_| {
            let why = if text.parse::<i128>().is_ok() { "value out of range" } else { "invalid syntax" };
            Failure::invalid(format!("invalid resize {what} {text:?}: {why}"))
        })
    };
    Ok((number("h", "height")?, number("w", "width")?))
}
