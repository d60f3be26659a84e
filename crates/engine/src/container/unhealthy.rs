//! What follows when a container is found unhealthy: nothing, unless it says otherwise.
//!
//! Docker's API has no field for it; a label can be set by every client. Those of images do not count: nothing that comes from
//! an image drives the engine (CVE-2026-53488). The words are podman's (podman-run(1), `--health-on-failure`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Container;
use super::life::Wish;
use crate::record::{HealthStatus, Record};
use crate::{Engine, Error, Result};

/// The label that says what follows.
const ON_UNHEALTHY: &str = "gantry.health-on-failure";

/// What follows when a container is found unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnUnhealthy {
    /// People and clients see it.
    Nothing,
    /// It is killed, and its restart policy counts.
    Kill,
    /// It is stopped and started again after the pause of a restart policy, whatever its policy is.
    Restart,
    /// It is stopped, and stays so.
    Stop,
}

impl OnUnhealthy {
    /// What the labels of a container say: those that were given for it.
    ///
    /// # Errors
    /// Invalid.
    pub(crate) fn of(labels: &BTreeMap<String, String>) -> Result<Self> {
        match labels.get(ON_UNHEALTHY).map_or("", String::as_str) {
            "" | "none" => Ok(Self::Nothing),
            "kill" => Ok(Self::Kill),
            "restart" => Ok(Self::Restart),
            "stop" => Ok(Self::Stop),
            other => Err(Error::Invalid(format!(
                "label {ON_UNHEALTHY}={other}: it has to be none, kill, restart or stop"
            ))),
        }
    }
}

impl Engine {
    /// Does what a container wants to be done, in a task of its own: the one that asks for health ends with the container.
    pub(crate) fn heed_unhealthy(&self, container: &Arc<Container>) {
        // Labels were looked at when it was made.
        let wanted = OnUnhealthy::of(&container.record().options.labels).unwrap_or(OnUnhealthy::Nothing);
        let (engine, container) = (self.clone(), Arc::clone(container));
        tokio::spawn(async move {
            let done = match wanted {
                OnUnhealthy::Nothing => return,
                OnUnhealthy::Kill => engine.kill_unhealthy(&container).await,
                OnUnhealthy::Restart => engine.stop(&container, None, None, Wish::AsItSays).await,
                OnUnhealthy::Stop => engine.stop(&container, None, None, Wish::End).await,
            };
            match done {
                Ok(()) => {
                    tracing::info!(container = %container.id, ?wanted, "an unhealthy container was ended")
                }
                // Somebody was faster.
                Err(Error::NotModified(_)) => {}
                Err(error) => {
                    tracing::error!(container = %container.id, %error, "an unhealthy container could not be ended");
                }
            }
        });
    }

    /// Whether a container that has ended is started again because it was found unhealthy.
    pub(crate) fn is_restarted_as_unhealthy(record: &Record) -> bool {
        let is_unhealthy =
            record.state.health.as_ref().is_some_and(|health| health.status == HealthStatus::Unhealthy);
        is_unhealthy
            && OnUnhealthy::of(&record.options.labels).is_ok_and(|wanted| wanted == OnUnhealthy::Restart)
    }

    async fn kill_unhealthy(&self, container: &Arc<Container>) -> Result<()> {
        let _gate = container.gate.lock().await;
        if !container.record().state.status.is_alive() {
            return Ok(());
        }
        self.kill_first(container, super::life::SIGKILL).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_podmans() {
        let of = |text: &str| OnUnhealthy::of(&[(ON_UNHEALTHY.to_owned(), text.to_owned())].into());
        assert_eq!(OnUnhealthy::of(&BTreeMap::new()).unwrap(), OnUnhealthy::Nothing);
        assert_eq!(of("none").unwrap(), OnUnhealthy::Nothing);
        assert_eq!(of("kill").unwrap(), OnUnhealthy::Kill);
        assert_eq!(of("restart").unwrap(), OnUnhealthy::Restart);
        assert_eq!(of("stop").unwrap(), OnUnhealthy::Stop);
        assert!(of("Restart").is_err());
    }
}
