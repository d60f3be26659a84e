//! Waiting for an end.

use std::sync::Arc;

use super::{Container, Moment};
use crate::record::Status;

/// What is waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitFor {
    /// That it does not run; true at once for one that does not.
    #[default]
    NotRunning,
    /// Its next end.
    NextExit,
    /// That it is gone.
    Removed,
}

impl Container {
    /// Waits. What counts is the moment of the call, not of the first poll: so a client can ask, start it, and then wait.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub fn wait(self: &Arc<Self>, what: WaitFor) -> impl Future<Output = Moment> + Send + use<> {
        let mut moments = self.moment.subscribe();
        let first = moments.borrow_and_update().clone();
        let record = self.record();
        // One that waits to be started again is not running, but its end is not the last.
        let is_over = !record.state.status.is_alive() && record.state.status != Status::Restarting;
        let now =
            Moment { exit_code: record.state.exit_code, error: record.state.error.clone(), ..first.clone() };
        async move {
            if what == WaitFor::NotRunning && is_over {
                return now;
            }
            let is_met = |moment: &Moment| match what {
                WaitFor::NotRunning | WaitFor::NextExit => moment.ends > first.ends || moment.removed,
                WaitFor::Removed => moment.removed,
            };
            // The sender goes with the container, which tells first.
            match moments.wait_for(is_met).await {
                Ok(moment) => moment.clone(),
                Err(_) => Moment { removed: true, ..now },
            }
        }
    }
}
