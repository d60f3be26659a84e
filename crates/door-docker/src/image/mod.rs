//! Images: what is below `/images`, and `/commit` and `/distribution` beside it.
//!
//! Pulls, pushes and loads answer with messages, one a line, as they come. What goes wrong before the first is a status, as with
//! dockerd; what goes wrong later is the last message.

mod board;
mod commit;
mod distribution;
mod from_api;
mod glob;
mod import;
mod inspect;
mod into_api;
mod list;
mod load;
mod prune;
mod pull;
mod push;
mod remove;
mod save;
mod search;
mod tag;
mod upload;

use http::Method;

pub(crate) use self::commit::commit;
pub(crate) use self::distribution::distribution;
pub(crate) use self::from_api::{of as credential_of, platform};
pub(crate) use self::list::summary;
pub(crate) use self::prune::until;
pub(crate) use self::pull::{progress, shows};
pub(crate) use self::upload::upload;
use crate::failure::Failure;
use crate::http::{Call, Outcome};
use crate::route::boxed;

/// Answers what is below `/images`. Names of images have slashes: the verb is the last part.
pub(crate) async fn route(call: Call, rest: &[&str]) -> Outcome {
    let name = |parts: &[&str]| parts.join("/");
    match (call.method.clone(), rest) {
        (Method::GET | Method::HEAD, ["json"]) => boxed(|| list::list(&call)).await,
        (Method::GET, ["search"]) => boxed(|| search::search(&call)).await,
        (Method::GET, ["get"]) => boxed(|| save::save_named(&call)).await,
        (Method::GET | Method::HEAD, [parts @ .., "json"]) => {
            boxed(|| async { inspect::inspect(&call, &name(parts)).await }).await
        }
        (Method::GET, [parts @ .., "history"]) => {
            boxed(|| async { inspect::history(&call, &name(parts)).await }).await
        }
        (Method::GET, [parts @ .., "get"]) => {
            boxed(|| async { save::save(&call, vec![name(parts)]).await }).await
        }
        (Method::POST, ["create"]) => match call.query.text("fromImage") {
            "" => boxed(|| import::import(call)).await,
            _ => boxed(|| pull::pull(&call)).await,
        },
        (Method::POST, ["load"]) => boxed(|| load::load(call)).await,
        (Method::POST, ["prune"]) => boxed(|| prune::prune(&call)).await,
        (Method::POST, [parts @ .., "push"]) if !parts.is_empty() => {
            boxed(|| async { push::push(&call, &name(parts)).await }).await
        }
        (Method::POST, [parts @ .., "tag"]) if !parts.is_empty() => {
            boxed(|| async { tag::tag(&call, &name(parts)).await }).await
        }
        (Method::DELETE, parts) if !parts.is_empty() => {
            boxed(|| async { remove::remove(&call, &name(parts)).await }).await
        }
        _ => Err(Failure::no_page()),
    }
}
