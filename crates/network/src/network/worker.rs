//! What is done in the background: departures, and what arrivals need not wait for.
//!
//! The kernel takes 10 to 25 ms to take elements out of its maps or to delete a device, because it waits for its readers. Rules go
//! at once, as many as have come together. Devices are given some time: most go with their network namespace, for
//! nothing. An address comes back when its rules and its device are gone.

use std::mem::take;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gantry_sys::netlink::Netlink;

use super::{Shared, lock};
use crate::endpoint::Endpoint;
use crate::{conntrack, link};

/// How long a device may go by itself.
const LINGER: Duration = Duration::from_millis(200);
/// Those whose time is up so soon go with those whose time is up.
const TOGETHER: Duration = Duration::from_millis(50);

/// An endpoint on its way out.
#[derive(Debug)]
struct Departure {
    endpoint: Endpoint,
    /// Whether its address is ours to give back.
    ours: bool,
}

/// The queue, and who waits for what.
#[derive(Debug, Default)]
pub(super) struct Worker {
    queue: Mutex<Queue>,
    wanted: Condvar,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    departures: Vec<Departure>,
    /// Whose ports of UDP may have clients from before.
    arrivals: Vec<Endpoint>,
    /// How many are past the queue but not gone.
    pending: usize,
    /// How many wait for all to be gone.
    waiting: usize,
    stopped: bool,
}

impl Worker {
    pub(super) fn depart(&self, endpoint: Endpoint, ours: bool) {
        lock(&self.queue).departures.push(Departure { endpoint, ours });
        self.wanted.notify_one();
    }

    pub(super) fn arrive(&self, endpoint: Endpoint) {
        lock(&self.queue).arrivals.push(endpoint);
        self.wanted.notify_one();
    }

    pub(super) fn settle(&self) {
        let mut queue = lock(&self.queue);
        queue.waiting += 1;
        self.wanted.notify_one();
        while !queue.is_empty() || queue.pending > 0 {
            queue = self.settled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.waiting -= 1;
    }

    pub(super) fn stop(&self) {
        lock(&self.queue).stopped = true;
        self.wanted.notify_one();
    }

    /// Waits for departures or for the time of the next device, and takes the departures. Without time to wait, whoever lingers
    /// is to go.
    fn next(&self, deadline: Option<Instant>) -> (Vec<Departure>, Vec<Endpoint>, Turn) {
        let mut queue = lock(&self.queue);
        loop {
            let now = Instant::now();
            let turn = if queue.stopped && queue.is_empty() && deadline.is_none() {
                Turn::End
            } else if queue.stopped || queue.waiting > 0 {
                Turn::Hurry
            } else {
                Turn::Usual
            };
            let due = deadline.is_some_and(|deadline| turn == Turn::Hurry || deadline <= now);
            if due || turn == Turn::End || !queue.is_empty() {
                let (departures, arrivals) = (take(&mut queue.departures), take(&mut queue.arrivals));
                queue.pending += departures.len() + arrivals.len();
                return (departures, arrivals, turn);
            }
            queue = match deadline {
                None => self.wanted.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let waited = self.wanted.wait_timeout(queue, deadline.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn gone(&self, count: usize) {
        let mut queue = lock(&self.queue);
        queue.pending -= count;
        if queue.pending == 0 && queue.is_empty() {
            self.settled.notify_all();
        }
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.departures.is_empty() && self.arrivals.is_empty()
    }
}

/// How a turn of the loop goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Devices linger.
    Usual,
    /// Somebody waits: they do not.
    Hurry,
    /// All is done, and nothing more will come.
    End,
}

/// The loop; for a thread of its own.
pub(super) fn run(shared: &Shared) {
    let mut lingering: Vec<(Instant, Departure)> = Vec::new();
    loop {
        let (departures, arrivals, turn) =
            shared.worker.next(lingering.iter().map(|(deadline, _)| *deadline).min());
        if turn == Turn::End {
            return;
        }
        if !departures.is_empty() {
            let (endpoints, rest): (Vec<_>, Vec<_>) =
                departures.into_iter().map(|departure| (departure.endpoint, departure.ours)).unzip();
            shared.withdraw(&endpoints);
            let deadline = Instant::now() + LINGER;
            let departures = endpoints.into_iter().zip(rest);
            lingering.extend(departures.map(|(endpoint, ours)| (deadline, Departure { endpoint, ours })));
        }
        if !arrivals.is_empty() {
            if let Err(errno) = conntrack::forget_unpublished(&arrivals) {
                tracing::warn!(%errno, "clients of UDP may miss ports that were published");
            }
            shared.worker.gone(arrivals.len());
        }
        let horizon = Instant::now() + TOGETHER;
        let is_due = |deadline: &Instant| turn == Turn::Hurry || *deadline <= horizon;
        if lingering.iter().any(|(deadline, _)| turn == Turn::Hurry || *deadline <= Instant::now()) {
            let (due, rest) = lingering.into_iter().partition(|(deadline, _)| is_due(deadline));
            lingering = rest;
            shared.delete_devices(&due);
            shared.worker.gone(due.len());
        }
    }
}

impl Shared {
    fn withdraw(&self, endpoints: &[Endpoint]) {
        let withdrawn = lock(&self.filter).as_mut().map_or(Ok(()), |filter| filter.withdraw(endpoints));
        if let Err(error) = withdrawn {
            tracing::warn!(error = &error as &dyn std::error::Error, "rules of departed containers stay");
        }
        if let Err(errno) = conntrack::forget_departed(endpoints) {
            tracing::warn!(%errno, "connections to departed containers stay");
        }
    }

    fn delete_devices(&self, due: &[(Instant, Departure)]) {
        let devices: Vec<_> =
            due.iter().map(|(_, departure)| departure.endpoint.host_interface.clone()).collect();
        if let Err(errno) = Netlink::open().and_then(|socket| link::delete(&socket, &devices)) {
            tracing::warn!(%errno, count = devices.len(), "devices of departed containers stay");
        }
        let mut state = lock(&self.state);
        if let Some(addresses) = &mut state.addresses {
            for (_, departure) in due.iter().filter(|(_, departure)| departure.ours) {
                addresses.release(departure.endpoint.address);
            }
        }
    }
}
