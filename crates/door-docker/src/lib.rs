//! Docker's Engine API over the engine, versions 1.40 to [`gantry_docker_api::ApiVersion::MAX`].
//!
//! `gantryd` gives it an engine, listeners and who it is. The frame is in `http`: connections, limits, requests and answers,
//! and hijacked connections. A noun of the API is a module with a function `route`, which `route.rs` calls with what stands behind the
//! noun in the path; a verb is a file in it. What clients say is translated in `from_api`, what they are told in `into_api`, errors in
//! `failure.rs`.
//!
//! To add a noun: its module, `pub(crate) async fn route(call: Call, rest: &[&str]) -> Outcome`, and a line in `route.rs`. A handler
//! takes what it needs of the [`Call`](http::Call), answers with an [`Answer`](http::Answer), and gives errors up by `?`.
//!
//! What it never does: it holds no state but open streams, decides nothing that the engine could, opens no socket, and knows
//! no other door. Who may connect is its caller's business.
#![forbid(unsafe_code)]

mod build;
mod container;
mod door;
mod exec;
mod failure;
mod from_api;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod http;
mod image;
mod into_api;
mod network;
mod route;
mod swarm;
mod system;
mod volume;

pub use door::{About, Door, Observer};
pub use http::{Limits, Listener};
