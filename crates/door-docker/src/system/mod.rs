//! The engine itself: who it is, what it has, what happens.

mod auth;
mod df;
mod events;
mod host;
mod info;
mod ping;
mod version;

use http::Method;

use crate::failure::Failure;
use crate::http::{Call, Outcome};

/// Answers a request for the engine itself; `_ping` is one with and without a version.
pub(crate) async fn route(call: Call, segments: &[&str]) -> Outcome {
    match (&call.method, segments) {
        (&Method::GET | &Method::HEAD, ["_ping"]) => Ok(ping::ping(&call)),
        (&Method::GET, ["version"]) => Ok(version::version(&call)),
        (&Method::GET, ["info"]) => info::info(call).await,
        (&Method::GET, ["events"]) => events::events(call).await,
        (&Method::GET, ["system", "df"]) => df::df(call).await,
        (&Method::POST, ["auth"]) => auth::auth(call).await,
        _ => Err(Failure::no_page()),
    }
}
