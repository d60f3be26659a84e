//! Work that several requests want done is done once.
//!
//! A flight goes on as long as anybody waits for it, and is dropped with the last one: a cancelled pull that nobody else
//! shares ends, and keeps its bytes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use crate::{Error, Result};

/// What those who wait are given.
pub(crate) type Landing<T> = std::result::Result<T, Arc<Error>>;
type Future<T> = BoxFuture<'static, Landing<T>>;

/// What is under way, by key.
pub(crate) struct Flights<K, T: Clone> {
    aloft: Mutex<HashMap<K, WeakShared<Future<T>>>>,
}

impl<K, T: Clone> Default for Flights<K, T> {
    fn default() -> Self {
        Self { aloft: Mutex::default() }
    }
}

impl<K: Eq + Hash, T: Clone + Send + Sync + 'static> Flights<K, T> {
    /// Joins the flight of `key`, or begins it with `make`.
    pub(crate) fn join(
        &self,
        key: K,
        make: impl FnOnce() -> BoxFuture<'static, Result<T>>,
    ) -> Shared<Future<T>> {
        let mut aloft = self.aloft.lock().unwrap_or_else(PoisonError::into_inner);
        aloft.retain(|_, flight| flight.upgrade().is_some());
        // One that has landed is history: its outcome may not hold any more.
        let going = aloft.get(&key).and_then(WeakShared::upgrade).filter(|flight| flight.peek().is_none());
        if let Some(flight) = going {
            return flight;
        }
        let flight = make().map(|result| result.map_err(Arc::new)).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            aloft.insert(key, weak);
        }
        flight
    }
}

/// The error of a flight, for one of those who waited.
pub(crate) fn landed<T>(landing: Landing<T>) -> Result<T> {
    landing.map_err(|error| Arc::try_unwrap(error).unwrap_or_else(Error::Shared))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_is_done_once_and_again_when_it_has_ended() {
        let flights: Flights<&str, u32> = Flights::default();
        let runs = Arc::new(AtomicU32::new(0));
        let start = || {
            let runs = Arc::clone(&runs);
            flights.join("a", move || {
                async move {
                    tokio::task::yield_now().await;
                    Ok(runs.fetch_add(1, Ordering::SeqCst))
                }
                .boxed()
            })
        };
        let (first, second) = (start(), start());
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (0, 0));
        assert_eq!(start().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn every_waiter_gets_the_error() {
        let flights: Flights<u8, ()> = Flights::default();
        let start = || flights.join(1, || async { Err(Error::Cancelled("it")) }.boxed());
        let (first, second) = (start(), start());
        assert!(matches!(landed(first.await), Err(Error::Shared(_))));
        assert_eq!(landed(second.await).unwrap_err().kind(), gantry_types::ErrorKind::Cancelled);
    }
}
