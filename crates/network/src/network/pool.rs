//! Network namespaces that are made before somebody wants them: making one takes the kernel half a millisecond or more.
//!
//! Nothing but a descriptor holds them, so none outlives the daemon.

use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, PoisonError};

use super::lock;
use crate::error::Error;
use crate::netns;

/// The pool.
#[derive(Debug)]
pub(super) struct Pool {
    size: usize,
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    ready: Vec<OwnedFd>,
    stopped: bool,
    /// Making one has failed: the next who wants one tries, and is told why.
    failed: bool,
}

impl Pool {
    pub(super) fn new(size: usize) -> Self {
        Pool { size, inside: Mutex::default(), changed: Condvar::new() }
    }

    /// One from the pool, or a new one.
    pub(super) fn take(&self) -> Result<OwnedFd, Error> {
        let taken = {
            let mut inside = lock(&self.inside);
            inside.failed = false;
            inside.ready.pop()
        };
        self.changed.notify_one();
        taken.map_or_else(netns::make, Ok)
    }

    /// Keeps the pool full until it is stopped; for a thread of its own.
    pub(super) fn fill(&self) {
        loop {
            let mut inside = lock(&self.inside);
            while !inside.stopped && (inside.failed || inside.ready.len() >= self.size) {
                inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
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
