//! Stopping, killing, restarting, freezing, and another name.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gantry_proto_shim::process::Status as TaskStatus;
use gantry_types::ErrorKind;

use super::start::By;
use super::{Container, Moment, event_of};
use crate::record::Status;
use crate::{Engine, Error, Result, names};

pub(super) const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;
/// How long a process that was killed may take to be reported dead: a process in an uninterruptible sleep takes for ever.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// What is to follow a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing: its restart policy does not start it again.
    End,
    /// What its policy and its labels say.
    AsItSays,
}

/// The signals by name.
const SIGNALS: [(&str, u32); 37] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

/// The number of a signal: `9`, `KILL`, `SIGKILL`, `RTMIN+3`.
///
/// # Errors
/// Invalid.
pub fn signal(text: &str) -> Result<u32> {
    let invalid = || Error::Invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = |name: &str| SIGNALS.iter().find(|(other, _)| *other == name).map(|(_, number)| *number);
    let number = match name.split_once(['+', '-']) {
        Some(("RTMIN", more)) => more.parse::<u32>().ok().map(|more| 34 + more),
        Some(("RTMAX", less)) => less.parse::<u32>().ok().and_then(|less| 64u32.checked_sub(less)),
        Some(_) => None,
        None => named(name),
    };
    number.filter(|number| (1..=64).contains(number)).ok_or_else(invalid)
}

impl Engine {
    /// Asks a container to end, and ends it when it has not after its time.
    ///
    /// # Errors
    /// NotModified for one that does not run; Invalid for a signal; what the shim says.
    pub async fn container_stop(
        &self,
        container: &Arc<Container>,
        by: Option<&str>,
        patience: Option<Duration>,
    ) -> Result<()> {
        let by = by.filter(|text| !text.is_empty()).map(signal).transpose()?;
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned(
            "stopping a container",
            async move { engine.stop(&container, by, patience, Wish::End).await },
        )
        .await
    }

    pub(crate) async fn stop(
        &self,
        container: &Arc<Container>,
        by: Option<u32>,
        patience: Option<Duration>,
        wish: Wish,
    ) -> Result<()> {
        let ended = {
            let _gate = container.gate.lock().await;
            let record = container.record();
            match record.state.status {
                Status::Restarting => return self.cancel_restart(container).await,
                status if !status.is_alive() => {
                    return Err(Error::NotModified(format!("container {} is stopped already", record.id)));
                }
                _ => {}
            }
            if wish == Wish::End {
                self.mark_stopped(container).await?;
            }
            if record.state.status == Status::Paused {
                self.shared.tasks.resume(container.key()).await?;
            }
            let first = match by {
                Some(by) => by,
                None if record.process.stop_signal.is_empty() => SIGTERM,
                None => signal(&record.process.stop_signal)?,
            };
            let ended = self.until_end(container);
            self.kill_first(container, first).await?;
            ended
        };
        let patience = patience.unwrap_or_else(|| container.record().stop_timeout());
        let mut ended = ended;
        if tokio::time::timeout(patience, &mut ended).await.is_err() {
            self.kill_first(container, SIGKILL).await?;
            if tokio::time::timeout(KILL_PATIENCE, &mut ended).await.is_err() {
                let id = &container.id;
                return Err(Error::Conflict(format!(
                    "container {id} was killed, and has not ended after {KILL_PATIENCE:?}"
                )));
            }
        }
        self.announce(&container.event("stop")).await;
        Ok(())
    }

    /// Waits for the next end of a container; of another door's its shim is asked.
    fn until_end(&self, container: &Arc<Container>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if container.require_own().is_ok() {
            let ended = container.wait(super::WaitFor::NextExit);
            return Box::pin(async move { drop(ended.await) });
        }
        let (engine, key) = (self.clone(), container.key());
        Box::pin(async move {
            if let Err(error) = engine.shared.tasks.wait(&key, "").await {
                tracing::debug!(container = key.1, %error, "the end of another door's container is taken for granted");
            }
        })
    }

    /// Waits as [`Container::wait`] does, for containers of any door.
    pub fn container_wait(
        &self,
        container: &Arc<Container>,
        what: super::WaitFor,
    ) -> Pin<Box<dyn Future<Output = Moment> + Send>> {
        if container.require_own().is_ok() || !container.record().state.status.is_alive() {
            return Box::pin(container.wait(what));
        }
        let (engine, key) = (self.clone(), container.key());
        Box::pin(async move {
            let status = engine.shared.tasks.wait(&key, "").await.map_or(0, |answer| answer.exit_status);
            Moment { ends: 1, exit_code: i32::try_from(status).unwrap_or(i32::MAX), ..Moment::default() }
        })
    }

    /// A person wants it to end: its policy does not start it again.
    async fn mark_stopped(&self, container: &Arc<Container>) -> Result<()> {
        let mut record = (*container.record()).clone();
        if container.require_own().is_err() || record.state.stopped_by_hand {
            return Ok(());
        }
        record.state.stopped_by_hand = true;
        self.save(container, record, Vec::new()).await
    }

    /// A process that has ended meanwhile is what was wanted.
    pub(super) async fn kill_first(&self, container: &Container, number: u32) -> Result<()> {
        match self.shared.tasks.kill(container.key(), String::new(), number, false).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => Ok(result?),
        }
    }

    /// Sends a signal to a container.
    ///
    /// # Errors
    /// Conflict for one that does not run; Invalid for a signal; what the shim says.
    pub async fn container_kill(&self, container: &Arc<Container>, by: &str) -> Result<()> {
        let number = if by.is_empty() { SIGKILL } else { signal(by)? };
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned("killing a container", async move {
            let gate = container.gate.lock().await;
            let record = container.record();
            if record.state.status == Status::Restarting {
                return engine.cancel_restart(&container).await;
            }
            if !record.state.status.is_alive() {
                let id = &record.id;
                return Err(Error::Conflict(format!(
                    "cannot kill container: {id}: container {id} is not running"
                )));
            }
            let own = signal(&record.process.stop_signal).unwrap_or(SIGTERM);
            if number == SIGKILL || number == own {
                engine.mark_stopped(&container).await?;
            }
            let ended = engine.until_end(&container);
            engine.kill_first(&container, number).await?;
            if number == SIGKILL && record.state.status == Status::Paused {
                engine.shared.tasks.resume(container.key()).await?;
            }
            drop(gate);
            let mut event = event_of(&record, "kill");
            event.attributes.insert("signal".to_owned(), number.to_string());
            engine.announce(&event).await;
            if number == SIGKILL && tokio::time::timeout(KILL_PATIENCE, ended).await.is_err() {
                tracing::warn!(container = %record.id, "a container that was killed has not ended yet");
            }
            Ok(())
        })
        .await
    }

    /// Stops a container, and starts it.
    ///
    /// # Errors
    /// Those of both.
    pub async fn container_restart(
        &self,
        container: &Arc<Container>,
        by: Option<&str>,
        patience: Option<Duration>,
    ) -> Result<()> {
        container.require_own()?;
        let by = by.filter(|text| !text.is_empty()).map(signal).transpose()?;
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned("restarting a container", async move {
            // One that goes with its end is to stay for its next beginning.
            container.transient().kept = true;
            let stopped = match engine.stop(&container, by, patience, Wish::End).await {
                Err(Error::NotModified(_)) => Ok(()),
                result => result,
            };
            let started = match stopped {
                Ok(()) => {
                    let _gate = container.gate.lock().await;
                    engine.start(&container, By::Hand).await
                }
                Err(error) => Err(error),
            };
            container.transient().kept = false;
            started?;
            engine.announce(&container.event("restart")).await;
            Ok(())
        })
        .await
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// Conflict for one that does not run, or is frozen; what the shim says.
    pub async fn container_pause(&self, container: &Arc<Container>) -> Result<()> {
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned("pausing a container", async move {
            let _gate = container.gate.lock().await;
            let mut record = (*container.require_alive()?).clone();
            if record.state.status == Status::Paused {
                return Err(Error::Conflict(format!("Container {} is already paused", record.id)));
            }
            engine.shared.tasks.pause(container.key()).await?;
            record.state.status = Status::Paused;
            engine.change(&container, record, "pause").await
        })
        .await
    }

    /// Freezes a container for a moment, unless it has ended by now or is frozen already; returns whether it is to be thawed.
    ///
    /// # Errors
    /// What the shim says of one that runs.
    pub(crate) async fn freeze_if_running(&self, container: &Arc<Container>) -> Result<bool> {
        let Err(error) = self.container_pause(container).await else { return Ok(true) };
        // Its end may not have been heard yet.
        match self.shared.tasks.state(&container.key(), "").await {
            Ok(state) if state.status() == TaskStatus::Running => Err(error),
            _ => Ok(false),
        }
    }

    /// Thaws a container.
    ///
    /// # Errors
    /// Conflict for one that is not frozen; what the shim says.
    pub async fn container_unpause(&self, container: &Arc<Container>) -> Result<()> {
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned("unpausing a container", async move {
            let _gate = container.gate.lock().await;
            let mut record = (*container.record()).clone();
            if record.state.status != Status::Paused {
                return Err(Error::Conflict(format!("Container {} is not paused", record.id)));
            }
            engine.shared.tasks.resume(container.key()).await?;
            record.state.status = Status::Running;
            engine.change(&container, record, "unpause").await
        })
        .await
    }

    /// Writes a change down; of another door's container there is nothing to write.
    async fn change(&self, container: &Arc<Container>, record: crate::Record, action: &str) -> Result<()> {
        let event = event_of(&record, action);
        if container.require_own().is_err() {
            self.announce(&event).await;
            return Ok(());
        }
        self.save(container, record, vec![event]).await
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// Invalid; Conflict for a name that another one has.
    pub async fn container_rename(&self, container: &Arc<Container>, name: &str) -> Result<()> {
        container.require_own()?;
        let name = names::validate(name)?.to_owned();
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned("renaming a container", async move {
            let _gate = container.gate.lock().await;
            let mut record = (*container.record()).clone();
            if record.name == name {
                return Err(Error::Invalid(
                    "Renaming a container with the same name as its current name".to_owned(),
                ));
            }
            engine.take_name(&name, &record.id)?;
            let old = std::mem::replace(&mut record.name, name.clone());
            let mut event = event_of(&record, "rename");
            event.attributes.insert("oldName".to_owned(), format!("/{old}"));
            let saved = engine.save(&container, record, vec![event]).await;
            engine.free_name(if saved.is_ok() { &old } else { &name }, &container.id);
            saved
        })
        .await
    }

    /// Sets the size of a container's terminal; of one that is not started yet, for its start.
    ///
    /// # Errors
    /// What the shim says.
    pub async fn container_resize(&self, container: &Arc<Container>, columns: u16, rows: u16) -> Result<()> {
        if !container.record().state.status.is_alive() {
            container.transient().size = Some((columns, rows));
            return Ok(());
        }
        let size = (columns.into(), rows.into());
        self.shared.tasks.resize(container.key(), String::new(), size.0, size.1).await?;
        let mut event = container.event("resize");
        event.attributes.insert("width".to_owned(), columns.to_string());
        event.attributes.insert("height".to_owned(), rows.to_string());
        self.announce(&event).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in
            [("9", 9), ("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("RTMIN+3", 37), ("SIGRTMAX-1", 63)]
        {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for text in ["", "0", "65", "-1", "SIG", "NOPE", "RTMIN+31", "KILL+1"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
