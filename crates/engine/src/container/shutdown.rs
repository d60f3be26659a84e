//! The machine goes down: containers end in order, and come back with it.
//!
//! Otherwise a container outlives its daemon. Here nobody would let it: the service manager would kill what is left at the very
//! end, long after the network and what else it needs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::life::Wish;
use crate::{Engine, Error};

impl Engine {
    /// Asks all containers of the engine's own to end, each with its own signal and time but at most `limit`, and kills those
    /// that do not. Those that their policy keeps running run again after the next start; nothing is started any more.
    ///
    /// Errors are logged: what is left is the service manager's.
    pub async fn end_with_machine(&self, limit: Duration) {
        self.shared.closing.store(true, Ordering::Relaxed);
        let running = self.containers().into_iter().filter(|it| it.record().state.status.is_alive());
        let ends: Vec<_> = running
            .map(|container| {
                let engine = self.clone();
                let patience = container.record().stop_timeout().min(limit);
                tokio::spawn(async move {
                    match engine.stop(&container, None, Some(patience), Wish::AsItSays).await {
                        Ok(()) | Err(Error::NotModified(_)) => {}
                        Err(error) => {
                            tracing::warn!(container = %container.id, %error, "not ended before the machine");
                        }
                    }
                })
            })
            .collect();
        let count = ends.len();
        for end in ends {
            let _ = end.await;
        }
        tracing::info!(containers = count, "containers ended with the machine");
    }

    /// Whether nothing is to be started any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Relaxed)
    }
}
