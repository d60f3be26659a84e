//! The end of a container: heard from the journal, written down, and what follows: another start, its removal, or nothing.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use gantry_primitives::{Event as Stored, Events};
use gantry_proto_shim::Message as _;
use gantry_proto_shim::any::Timestamp as ShimTimestamp;
use gantry_proto_shim::events::TaskExit;
use gantry_types::ErrorKind;
use jiff::Timestamp;

use super::start::By;
use super::{Container, RemoveRequest, event_of};
use crate::engine::Shared;
use crate::options::RestartPolicy;
use crate::record::{Record, Status};
use crate::{Engine, Result};

const TOPIC: &str = "/tasks/exit";
/// Docker's: the first pause, the longest, and how long it has to run for the pauses to begin anew.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const GOOD_LIFE: Duration = Duration::from_secs(10);
/// Before the journal is asked again after an error.
const RETRY: Duration = Duration::from_secs(1);
/// Exit statuses of a process that a signal ended.
const SIGNAL_BASE: i32 = 128;

/// The pause before the next restart.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backoff(Option<Duration>);

impl Backoff {
    pub(crate) fn reset(&mut self) {
        self.0 = None;
    }

    /// The next pause, after a life of that length.
    fn next(&mut self, life: Duration) -> Duration {
        let pause = match self.0 {
            Some(last) if life < GOOD_LIFE => (last * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.0 = Some(pause);
        pause
    }
}

/// Listens to the journal as long as there is an engine.
pub(crate) async fn watch_ends(shared: Weak<Shared>, mut events: Events) {
    loop {
        let next = events.next().await;
        let Some(shared) = shared.upgrade() else { return };
        let engine = Engine { shared };
        match next {
            Ok(envelope) if envelope.topic == TOPIC => {
                let is_own = envelope.namespace == engine.shared.namespace;
                if let Stored::Foreign { value, .. } = &envelope.event
                    && let Ok(exit) = TaskExit::decode(value.as_slice())
                {
                    if is_own { engine.hear(exit) } else { engine.foreign_ended(&envelope.namespace, &exit) }
                }
            }
            Ok(_) => {}
            Err(error) => {
                // So slow that the journal has forgotten: shims are asked instead.
                tracing::warn!(%error, "ends of containers were missed, and are asked for");
                tokio::time::sleep(RETRY).await;
                match engine.shared.store.events(None).await {
                    Ok(again) => {
                        events = again;
                        super::recover::look_again(&engine).await;
                    }
                    Err(error) => tracing::error!(%error, "the journal cannot be read"),
                }
            }
        }
    }
}

impl Engine {
    fn hear(&self, exit: TaskExit) {
        let Ok(container) = self.container(&exit.container_id) else {
            // In our namespace, but not ours.
            return self.foreign_ended(&self.shared.namespace, &exit);
        };
        if exit.id != exit.container_id && !exit.id.is_empty() {
            self.exec_ended(&container, &exit);
            return;
        }
        let engine = self.clone();
        tokio::spawn(async move {
            let _gate = container.gate.lock().await;
            engine.end(&container, exit).await;
        });
    }

    /// Writes the end of a container down, with the gate held. The end of an earlier process of it is none.
    pub(crate) async fn end(&self, container: &Arc<Container>, exit: TaskExit) {
        let record = container.record();
        if !record.state.status.is_alive() || (exit.pid != 0 && record.state.pid != exit.pid) {
            return;
        }
        let mut record = (*record).clone();
        let life = container.transient().started.map_or(Duration::ZERO, |started| started.elapsed());
        self.stop_health(container);
        let cause = exit.cause.as_ref().map(cause_of);
        let oom = exit.cause.as_ref().is_some_and(|cause| cause.out_of_memory);
        record.state.status = Status::Exited;
        record.state.pid = 0;
        record.state.exit_code = i32::try_from(exit.exit_status).unwrap_or(i32::MAX);
        record.state.finished = Some(time(exit.exited_at.as_ref()));
        record.state.oom_killed = oom;
        record.state.cause = cause;
        if let Err(error) = self.shared.tasks.delete(container.key()).await
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(container = %record.id, %error, "the task of a container that has ended is left");
        }
        self.leave_network(&mut record).await;
        self.unmount_volumes(&record).await;
        self.forget_execs(container);
        let mut events = Vec::new();
        if oom {
            events.push(event_of(&record, "oom"));
        }
        let mut died = event_of(&record, "die");
        died.attributes.insert("exitCode".to_owned(), record.state.exit_code.to_string());
        let duration = record
            .state
            .started
            .map_or(0, |started| Timestamp::now().duration_since(started).as_secs().max(0));
        died.attributes.insert("execDuration".to_owned(), duration.to_string());
        events.push(died);
        let pause = self.pause(container, &record, life);
        if pause.is_some() {
            record.state.status = Status::Restarting;
            record.restart_count += 1;
        }
        let code = record.state.exit_code;
        let remove = record.options.auto_remove && pause.is_none() && !container.transient().kept;
        self.save_anyway(container, record, events).await;
        container.moment.send_modify(|moment| {
            moment.ends += 1;
            moment.exit_code = code;
            moment.error.clear();
        });
        match pause {
            Some(pause) => self.restart_after(container, pause),
            None if remove => {
                let request = RemoveRequest { volumes: true, ..RemoveRequest::default() };
                if let Err(error) = self.remove_now(container, request).await {
                    tracing::error!(container = %container.id, %error, "a container could not be removed after its end");
                }
            }
            None => {}
        }
    }

    /// How long until it is started again, if it is.
    fn pause(&self, container: &Container, record: &Record, life: Duration) -> Option<Duration> {
        // With the machine, what is to run comes back.
        if record.state.stopped_by_hand || self.is_closing() {
            return None;
        }
        let again = match record.options.restart {
            _ if Self::is_restarted_as_unhealthy(record) => true,
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure(most) => {
                record.state.exit_code != 0 && (most == 0 || record.restart_count < most)
            }
        };
        again.then(|| container.transient().backoff.next(life))
    }

    /// Starts it after a pause, unless somebody is faster.
    pub(crate) fn restart_after(&self, container: &Arc<Container>, pause: Duration) {
        let (shared, weak) = (Arc::downgrade(&self.shared), Arc::downgrade(container));
        let timer = tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let (Some(shared), Some(container)) = (shared.upgrade(), weak.upgrade()) else { return };
            let engine = Engine { shared };
            // Its own task: this one may be aborted, and a start may not.
            tokio::spawn(async move { engine.start_again(&container).await });
        });
        container.transient().restart = Some(timer.abort_handle());
    }

    async fn start_again(&self, container: &Arc<Container>) {
        let _gate = container.gate.lock().await;
        if container.record().state.status != Status::Restarting || self.is_closing() {
            return;
        }
        let Err(error) = self.start(container, By::Policy).await else { return };
        tracing::warn!(container = %container.id, %error, "a container could not be started again");
        let mut record = (*container.record()).clone();
        let policy = record.options.restart;
        let goes_on = match policy {
            RestartPolicy::OnFailure(most) => most == 0 || record.restart_count < most,
            policy => policy != RestartPolicy::No,
        };
        if goes_on {
            record.state.status = Status::Restarting;
            record.restart_count += 1;
            let pause = container.transient().backoff.next(Duration::ZERO);
            self.save_anyway(container, record, Vec::new()).await;
            self.restart_after(container, pause);
        }
    }

    /// Ends the pause before a restart: it is not started again. With the gate held.
    pub(crate) async fn cancel_restart(&self, container: &Arc<Container>) -> Result<()> {
        if let Some(timer) = container.transient().restart.take() {
            timer.abort();
        }
        let mut record = (*container.record()).clone();
        if record.state.status == Status::Restarting {
            record.state.status = Status::Exited;
            record.state.stopped_by_hand = true;
            self.save(container, record, Vec::new()).await?;
        }
        Ok(())
    }
}

/// When a process ended.
pub(crate) fn time(told: Option<&ShimTimestamp>) -> Timestamp {
    told.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()).unwrap_or_else(Timestamp::now)
}

/// Why a process ended, for people: only what is known.
pub(crate) fn cause_of(cause: &gantry_proto_shim::own::Cause) -> serde_json::Value {
    let mut known = serde_json::Map::new();
    let mut put = |key: &str, value: serde_json::Value| {
        let is_nothing = match &value {
            serde_json::Value::Number(number) => number.as_f64() == Some(0.0),
            serde_json::Value::String(text) => text.is_empty(),
            serde_json::Value::Bool(is) => !is,
            _ => false,
        };
        if !is_nothing {
            known.insert(key.to_owned(), value);
        }
    };
    put("Sentence", cause.text.clone().into());
    put("StartError", cause.error.clone().into());
    put("Signal", cause.signal.into());
    put("ByRequest", cause.by_request.into());
    put("OutOfMemory", cause.out_of_memory.into());
    put("Cgroup", cause.cgroup.clone().into());
    put("MemoryLimitBytes", cause.memory_limit_bytes.into());
    put("MemoryPeakBytes", cause.memory_peak_bytes.into());
    put("MemoryCurrentBytes", cause.memory_current_bytes.into());
    put("MemoryPressure", cause.pressure.clone().into());
    known.into()
}

/// An end that nobody has seen.
pub(crate) fn unseen(id: &str, status: i32, at: Timestamp) -> TaskExit {
    TaskExit {
        container_id: id.to_owned(),
        id: id.to_owned(),
        pid: 0,
        exit_status: u32::try_from(status).unwrap_or(SIGNAL_BASE as u32),
        exited_at: Some(ShimTimestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }),
        ..TaskExit::default()
    }
}

impl Container {
    /// How long it has run, by a clock that nobody sets.
    pub(crate) fn note_start(&self, ago: Duration) {
        self.transient().started = Instant::now().checked_sub(ago);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_good_life() {
        let mut backoff = Backoff::default();
        let short = Duration::from_millis(5);
        let pauses: Vec<u128> = (0..12).map(|_| backoff.next(short).as_millis()).collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], 60_000);
        assert_eq!(backoff.next(GOOD_LIFE), FIRST_PAUSE);
        backoff.next(short);
        backoff.reset();
        assert_eq!(backoff.next(short), FIRST_PAUSE);
    }
}
