//! Health: a program in the container says how it is, again and again.
//!
//! One task a container that has a check; it sleeps between two probes, and what it learns is in the record.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Container, ExecOptions, Frame, event_of};
use crate::engine::Shared;
use crate::options::HealthCheck;
use crate::record::{Health, HealthStatus, Probe, Record, Status};
use crate::{Engine, Error, Result};

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// How much of what a probe writes is kept, in bytes, and how many probes.
const MAX_OUTPUT_BYTES: usize = 4096;
const MAX_PROBES: usize = 5;
const SIGKILL: u32 = 9;

fn or(own: Duration, default: Duration) -> Duration {
    if own.is_zero() { default } else { own }
}

impl Engine {
    /// Begins to ask, if there is something to be asked.
    pub(crate) fn watch_health(&self, container: &Arc<Container>) {
        self.stop_health(container);
        let record = container.record();
        let Some(check) = record.process.health.clone() else { return };
        let started = Instant::now();
        let (shared, weak) = (Arc::downgrade(&self.shared), Arc::downgrade(container));
        let task = tokio::spawn(ask(shared, weak, check, started));
        container.transient().health = Some(task.abort_handle());
    }

    /// Asks no more.
    pub(crate) fn stop_health(&self, container: &Container) {
        if let Some(task) = container.transient().health.take() {
            task.abort();
        }
    }

    async fn probe(&self, container: &Arc<Container>, check: &HealthCheck) -> Probe {
        let start = Timestamp::now();
        let timeout = or(check.timeout, TIMEOUT);
        let mut output = Vec::new();
        let result = self.run_probe(container, check, timeout, &mut output).await;
        let (exit_code, text) = match result {
            Ok(Some(code)) => (code, String::from_utf8_lossy(&output).into_owned()),
            Ok(None) => (
                -1,
                format!("Health check exceeded timeout ({timeout:?}): {}", String::from_utf8_lossy(&output)),
            ),
            Err(error) => (-1, gantry_primitives::chain(&error)),
        };
        Probe { start, end: Timestamp::now(), exit_code, output: text }
    }

    /// Runs the program; None if it took too long, and was ended.
    async fn run_probe(
        &self,
        container: &Arc<Container>,
        check: &HealthCheck,
        timeout: Duration,
        output: &mut Vec<u8>,
    ) -> Result<Option<i32>> {
        let cmd = command(&container.record(), check)?;
        let options = ExecOptions { cmd, stdout: true, stderr: true, ..ExecOptions::default() };
        let exec = self.exec_create(container, options).await?;
        let streams = self.exec_start(&exec).await?;
        let read = async {
            if let Some(streams) = streams {
                let (mut out, _input) = streams.split();
                while let Ok(Some(frame)) = out.next().await {
                    if let Frame::Stdout(bytes) | Frame::Stderr(bytes) = frame {
                        let room = MAX_OUTPUT_BYTES - output.len();
                        output.extend_from_slice(&bytes[..bytes.len().min(room)]);
                    }
                }
            }
            exec.wait().await
        };
        match tokio::time::timeout(timeout, read).await {
            Ok(code) => Ok(Some(code.unwrap_or(-1))),
            Err(_) => {
                let killed = self.shared.tasks.kill(container.key(), exec.id.clone(), SIGKILL, false).await;
                if let Err(error) = killed {
                    tracing::debug!(container = %container.id, %error, "a health check that takes too long goes on");
                }
                Ok(None)
            }
        }
    }

    /// Writes a probe down, and heeds a word that it has changed.
    async fn note_probe(&self, container: &Arc<Container>, probe: Probe, counts: Counts) {
        let _gate = container.gate.lock().await;
        let mut record = (*container.record()).clone();
        if !record.state.status.is_alive() {
            return;
        }
        let health = record.state.health.get_or_insert_default();
        let before = health.status;
        apply(health, probe, counts);
        let after = health.status;
        let mut events = Vec::new();
        if before != after && after != HealthStatus::Starting {
            events.push(event_of(&record, format!("health_status: {}", after.as_str())));
        }
        self.save_anyway(container, record, events).await;
        if before != after && after == HealthStatus::Unhealthy {
            self.heed_unhealthy(container);
        }
    }
}

/// What a failure means.
#[derive(Debug, Clone, Copy)]
struct Counts {
    retries: u32,
    /// Whether failures do not count yet.
    lenient: bool,
}

fn apply(health: &mut Health, probe: Probe, counts: Counts) {
    if probe.exit_code == 0 {
        health.failing_streak = 0;
        health.status = HealthStatus::Healthy;
    } else if !(counts.lenient && health.status == HealthStatus::Starting) {
        health.failing_streak += 1;
        if health.failing_streak >= counts.retries {
            health.status = HealthStatus::Unhealthy;
        }
    }
    health.log.push(probe);
    let surplus = health.log.len().saturating_sub(MAX_PROBES);
    health.log.drain(..surplus);
}

async fn ask(shared: Weak<Shared>, container: Weak<Container>, check: HealthCheck, started: Instant) {
    let retries = if check.retries == 0 { RETRIES } else { check.retries };
    loop {
        let starting = started.elapsed() < check.start_period;
        let is_starting = container
            .upgrade()
            .and_then(|container| container.record().state.health.as_ref().map(|health| health.status))
            .is_none_or(|status| status == HealthStatus::Starting);
        let interval = or(check.interval, INTERVAL);
        let pause = if starting && is_starting {
            or(check.start_interval, START_INTERVAL).min(interval)
        } else {
            interval
        };
        tokio::time::sleep(pause).await;
        let (Some(shared), Some(container)) = (shared.upgrade(), container.upgrade()) else { return };
        let engine = Engine { shared };
        match container.record().state.status {
            Status::Running => {}
            Status::Paused => continue,
            _ => return,
        }
        let lenient = started.elapsed() < check.start_period;
        let probe = engine.probe(&container, &check).await;
        engine.note_probe(&container, probe, Counts { retries, lenient }).await;
    }
}

/// What is run.
fn command(record: &Record, check: &HealthCheck) -> Result<Vec<String>> {
    match check.test.split_first() {
        Some((kind, rest)) if kind == "CMD" && !rest.is_empty() => Ok(rest.to_vec()),
        Some((kind, rest)) if kind == "CMD-SHELL" && !rest.is_empty() => {
            Ok(record.process.shell.iter().cloned().chain([rest.join(" ")]).collect())
        }
        _ => Err(Error::Invalid(format!("Unknown type of health check: {:?}", check.test))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(exit_code: i32) -> Probe {
        Probe { start: Timestamp::UNIX_EPOCH, end: Timestamp::UNIX_EPOCH, exit_code, output: String::new() }
    }

    #[test]
    fn failures_in_a_row_make_it_unhealthy() {
        let mut health = Health::default();
        let counts = Counts { retries: 2, lenient: false };
        apply(&mut health, probe(1), counts);
        assert_eq!(health.status, HealthStatus::Starting);
        apply(&mut health, probe(0), counts);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        apply(&mut health, probe(1), counts);
        assert_eq!(health.status, HealthStatus::Healthy);
        apply(&mut health, probe(1), counts);
        assert_eq!(health.status, HealthStatus::Unhealthy);
    }

    #[test]
    fn failures_at_the_start_do_not_count() {
        let mut health = Health::default();
        let counts = Counts { retries: 1, lenient: true };
        (0..9).for_each(|_| apply(&mut health, probe(1), counts));
        assert_eq!(
            (health.status, health.failing_streak, health.log.len()),
            (HealthStatus::Starting, 0, MAX_PROBES)
        );
        apply(&mut health, probe(0), counts);
        apply(&mut health, probe(1), counts);
        assert_eq!(health.status, HealthStatus::Unhealthy);
    }
}
