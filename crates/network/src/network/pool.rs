//! Network namespaces that are made before somebody wants them: making one takes the kernel half a millisecond or more.
//!
//! Nothing but a descriptor holds them, so none outlives the daemon.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lock;
use crate::error::Error;
use crate::netns::{self, Fresh};
use gantry_sys::netlink::Netlink;

/// The pool is not filled while somebody is being served: both take the lock of the kernel's devices.
const QUIET: Duration = Duration::from_millis(10);

/// The pool.
#[derive(Debug)]
pub(super) struct Pool {
    size: usize,
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    ready: Vec<Fresh>,
    /// When one was last wanted.
    wanted: Option<Instant>,
    stopped: bool,
    /// Making one has failed: the next who wants one tries, and is told why.
    failed: bool,
}

impl Pool {
    pub(super) fn new(size: usize) -> Self {
        Pool { size, inside: Mutex::default(), changed: Condvar::new() }
    }

    /// One from the pool, or a new one.
    pub(super) fn take(&self) -> Result<Fresh, Error> {
        let taken = {
            let mut inside = lock(&self.inside);
            inside.failed = false;
            inside.wanted = Some(Instant::now());
            inside.ready.pop()
        };
        self.changed.notify_one();
        taken.map_or_else(netns::make, Ok)
    }

    /// Keeps the pool full until it is stopped; for a thread of its own.
    pub(super) fn fill(&self) {
        loop {
            let mut inside = lock(&self.inside);
            while !inside.stopped {
                let quiet_in =
                    inside.wanted.map_or(Duration::ZERO, |wanted| QUIET.saturating_sub(wanted.elapsed()));
                if inside.failed || inside.ready.len() >= self.size {
                    inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
                } else if quiet_in.is_zero() {
                    break;
                } else {
                    let waited = self.changed.wait_timeout(inside, quiet_in);
                    inside = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
            if inside.stopped {
                inside.ready.clear();
                return;
            }
            drop(inside);
            let made = netns::make();
            let mut inside = lock(&self.inside);
            match made {
                Ok(netns) => inside.ready.push(netns),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "no network namespace ahead of time"
                    );
                    inside.failed = true;
                }
            }
        }
    }

    pub(super) fn stop(&self) {
        lock(&self.inside).stopped = true;
        self.changed.notify_all();
    }
}

/// How many namespaces may wait for their devices with a socket that spares a thread.
const MAX_SOCKETS: usize = 64;

/// Sockets of namespaces that have been given out but have no device yet, by the identity of the namespace, the newest last.
/// A socket keeps its namespace alive, so each goes with the first attachment, or when the namespace is let go of.
#[derive(Debug, Default)]
pub(super) struct Sockets(Mutex<VecDeque<(u64, Netlink)>>);

impl Sockets {
    pub(super) fn put(&self, netns: BorrowedFd<'_>, socket: Netlink) {
        let Ok(identity) = netns::identity(netns) else { return };
        let mut sockets = lock(&self.0);
        sockets.push_back((identity, socket));
        let excess = sockets.len().saturating_sub(MAX_SOCKETS);
        sockets.drain(..excess);
    }

    pub(super) fn take(&self, netns: BorrowedFd<'_>) -> Option<Netlink> {
        let identity = netns::identity(netns).ok()?;
        let mut sockets = lock(&self.0);
        let place = sockets.iter().position(|(other, _)| *other == identity)?;
        sockets.remove(place).map(|(_, socket)| socket)
    }
}
