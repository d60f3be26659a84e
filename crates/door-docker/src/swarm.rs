//! What only a swarm has, and plugins: answers of an engine without them.

use gantry_docker_api::List;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::failure::Failure;
use crate::http::{Answer, Call, Outcome};

/// Answers a request for what belongs to swarms.
pub(crate) fn swarm(call: &Call, rest: &[&str]) -> Outcome {
    match (&call.method, rest) {
        (&Method::POST, ["init" | "join"]) => {
            Err(Failure::unsupported("swarms are not supported by this engine"))
        }
        (&Method::POST, ["leave"]) => {
            Err(Failure::with(StatusCode::SERVICE_UNAVAILABLE, "This node is not part of a swarm"))
        }
        _ => Err(Failure::no_swarm()),
    }
}

/// Answers a request for `/plugins…`.
pub(crate) fn plugins(call: &Call, rest: &[&str]) -> Outcome {
    let missing = |name: &[&str]| Err(Failure::not_found(format!("plugin {:?} not found", name.join("/"))));
    match (&call.method, rest) {
        (&Method::GET, []) => Ok(Answer::json(&List::<Value>::empty())),
        (&Method::GET, ["privileges"]) | (&Method::POST, ["pull" | "create"]) => {
            Err(Failure::unsupported("plugins are not supported by this engine"))
        }
        (&Method::GET, [name @ .., "json"]) if !name.is_empty() => missing(name),
        (&Method::POST, [name @ .., "enable" | "disable" | "push" | "set" | "upgrade"])
            if !name.is_empty() =>
        {
            missing(name)
        }
        (&Method::DELETE, [_, ..]) => missing(rest),
        _ => Err(Failure::no_page()),
    }
}
