//! Gives memory back when there is nothing to do: glibc keeps what a pull has used, and may never need again.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How long nothing has to happen before.
const QUIET: Duration = Duration::from_secs(3);
/// How long it is put off when there is always something.
const LONGEST: Duration = Duration::from_secs(120);

/// Trims the heap after each time of work, until it is dropped. It sleeps where nothing happens at all.
pub(crate) async fn trim(activity: Arc<Notify>) {
    run(&activity, QUIET, LONGEST, || async {
        // Walking a fragmented heap takes milliseconds.
        if let Err(error) = tokio::task::spawn_blocking(gantry_sys::process::trim_heap).await {
            tracing::warn!(%error, "the heap could not be trimmed");
        }
    })
    .await;
}

async fn run<F: Future<Output = ()>>(
    activity: &Notify,
    quiet: Duration,
    longest: Duration,
    trim: impl Fn() -> F,
) {
    let mut busy_since: Option<Instant> = None;
    let mut last = Instant::now();
    loop {
        let due = busy_since.map(|begin| (last + quiet).min(begin + longest));
        let wait = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = activity.notified() => {
                last = Instant::now();
                busy_since = busy_since.or(Some(last));
            }
            () = wait => {
                busy_since = None;
                trim().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn the_heap_is_trimmed_once_after_work() {
        let (activity, trimmed) = (Notify::new(), AtomicU32::new(0));
        let done = Notify::new();
        let count = || async {
            trimmed.fetch_add(1, Ordering::SeqCst);
            done.notify_one();
        };
        let (quiet, longest) = (Duration::from_millis(20), Duration::from_secs(60));
        let work = async {
            for _ in 0..3 {
                activity.notify_one();
                tokio::task::yield_now().await;
            }
            done.notified().await;
            tokio::time::timeout(quiet * 3, done.notified()).await.unwrap_err();
        };
        tokio::select! {
            () = run(&activity, quiet, longest, count) => {}
            () = work => {}
        }
        assert_eq!(trimmed.load(Ordering::SeqCst), 1);
    }
}
