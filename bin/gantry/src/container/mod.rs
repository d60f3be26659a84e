//! Verbs on containers.

pub(crate) mod attach;
pub(crate) mod changes;
pub(crate) mod commit;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod options;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod remove;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod wait;

use anyhow::Result;
use gantry_docker_api::container::ContainerInspect;

use crate::client::{Call, Client, segment};
use crate::session::Session;

/// The path of a call on a container.
pub(crate) fn path(container: &str, rest: &str) -> String {
    format!("/containers/{}{rest}", segment(container))
}

/// Everything of a container.
pub(crate) async fn inspect_one(client: &Client, container: &str) -> Result<ContainerInspect> {
    client.json(Call::get(path(container, "/json"))).await
}

/// Does something to each; prints the names for which it worked, and goes on where it did not.
pub(crate) async fn each<F>(session: &Session, names: &[String], work: impl Fn(String) -> F) -> Result<u8>
where
    F: Future<Output = Result<()>>,
{
    // At once: stopping takes seconds.
    let results = names.iter().map(|name| {
        let work = work(name.clone());
        async move {
            let result = work.await;
            (name, result)
        }
    });
    session.client()?;
    let mut errors = Vec::new();
    for (name, result) in futures_util::future::join_all(results).await {
        match result {
            Ok(()) => crate::output::line(name),
            Err(error) => errors.push(error),
        }
    }
    crate::command::collect(errors)
}
