//! Memory events: the kernel's killing for want of memory becomes an event of the container's.

use std::time::Duration;

use gantry_cgroup::{Cgroup, Features, OomEvents, OomReport};
use gantry_proto_shim::events;
use rustix::time::{ClockId, clock_gettime};

use super::Pod;
use super::epoll::{EventFlags, Source};
use super::process::Status;

/// The time since the machine's start.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

impl Pod {
    /// Begins to watch a container that runs.
    pub(super) fn watch_memory(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(record) = container.cgroup.as_ref().filter(|_| container.init.is_alive()) else { return };
        // Without a memory controller there is nothing to watch.
        let Ok(events) = Cgroup::from_record(record, Features::default()).oom_events() else { return };
        let flags = EventFlags::from_bits_retain(events.interest().bits().into());
        match self.epoll.add(&events, Source::Oom(container.init.serial), flags) {
            Ok(()) => {
                if container.init.status == Status::Created {
                    // What was killed in it before is nobody's of ours.
                    container.oom_kills = events.kills();
                }
                container.watched = Some(monotonic());
                container.oom = Some(events);
            }
            Err(failure) => self.log.warn(&format!("memory events of {id}: {failure}")),
        }
    }

    /// Something happened to a container's memory.
    pub(super) fn memory_event(&mut self, serial: u32) {
        let Some((id, _)) = self.find(serial) else { return };
        let Some(container) = self.containers.get_mut(&id) else { return };
        let Some(events) = &mut container.oom else { return };
        match events.read() {
            Ok(OomReport::OutOfMemory { .. }) => {
                let cgroup =
                    container.cgroup.as_ref().map(|record| Cgroup::from_record(record, Features::default()));
                container.exhausted = cgroup.and_then(|cgroup| cgroup.exhausted_memory().ok());
                self.publish(&events::TaskOOM { container_id: id });
            }
            Ok(OomReport::Nothing) => {}
            Ok(OomReport::Gone) | Err(_) => {
                if let Some(events) = container.oom.take() {
                    self.epoll.remove(&events);
                }
            }
        }
    }

    /// What the kernel counted and has not told yet comes before the exit that it caused.
    pub(super) fn last_memory_event(&mut self, id: &str, mut events: OomEvents) {
        self.epoll.remove(&events);
        if let Ok(OomReport::OutOfMemory { .. }) = events.read() {
            self.publish(&events::TaskOOM { container_id: id.to_owned() });
        }
    }
}
