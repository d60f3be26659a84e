//! What the log says of a collector: that it cannot be reached, at most every ten minutes, and that it can be again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// How long nothing is said after a failure was.
const SILENCE: Duration = Duration::from_secs(600);

/// An exporter whose failures are logged.
#[derive(Debug)]
pub(super) struct Reported<E> {
    exporter: E,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When a failure was logged last.
    told: Option<Instant>,
    /// Whether that is the last that was logged.
    is_failing: bool,
    /// Spans that were lost since.
    lost: usize,
}

/// What is to be logged.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Nothing,
    Lost(usize),
    Again,
}

impl State {
    fn note(&mut self, count: usize, is_sent: bool, now: Instant) -> Entry {
        if is_sent {
            return if std::mem::take(&mut self.is_failing) { Entry::Again } else { Entry::Nothing };
        }
        self.lost += count;
        if self.told.is_some_and(|told| now < told + SILENCE) {
            return Entry::Nothing;
        }
        (self.told, self.is_failing) = (Some(now), true);
        Entry::Lost(std::mem::take(&mut self.lost))
    }
}

impl<E> Reported<E> {
    pub(super) fn new(exporter: E) -> Self {
        Self { exporter, state: Mutex::default() }
    }

    fn report(&self, count: usize, result: &OTelSdkResult) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = state.note(count, result.is_ok(), Instant::now());
        drop(state);
        match (entry, result) {
            (Entry::Lost(lost), Err(error)) => {
                tracing::warn!(%error, lost, "the collector of traces does not take spans");
            }
            (Entry::Again, _) => tracing::info!("the collector of traces takes spans again"),
            _ => {}
        }
    }
}

impl<E: SpanExporter> SpanExporter for Reported<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.exporter.export(batch).await;
        self.report(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_once_in_a_while() {
        let (mut state, begin) = (State::default(), Instant::now());
        assert_eq!(state.note(1, true, begin), Entry::Nothing);
        assert_eq!(state.note(2, false, begin), Entry::Lost(2));
        assert_eq!(state.note(3, false, begin), Entry::Nothing);
        assert_eq!(state.note(1, true, begin), Entry::Again);
        assert_eq!(state.note(1, true, begin), Entry::Nothing);
        assert_eq!(state.note(4, false, begin + SILENCE / 2), Entry::Nothing);
        assert_eq!(state.note(1, true, begin + SILENCE / 2), Entry::Nothing);
        assert_eq!(state.note(5, false, begin + SILENCE), Entry::Lost(12));
    }
}
