//! The collector: finds what nothing refers to, and removes it, while writers go on.
//!
//! ```text
//!   begin   a change: expired leases go; from here on writers keep the grey list
//!   mark    on a read snapshot that is later than that: everything from the roots on; the rest are candidates
//!   sweep   changes of at most 1,000 rows and 5 ms: first from the grey list on, then the candidates that are not reached by now
//! ```
//!
//! Why nothing reachable is lost: what was reachable in the snapshot is marked. A path that came into being later has a record in
//! it that was created, or got its reference, after `begin`; that one is on the grey list, and each sweep walks on from it
//! within its own transaction before it removes anything.

mod mark;
mod marks;
mod plan;
mod sweep;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::time::{self, Timestamp};
use crate::{Database, Error, View, mounts};

pub use plan::{Item, Plan, dry_run, dry_run_beside};

use mark::Walk;
use marks::Marks;
use sweep::Sweep;

/// Rows that one change of the sweep removes, and how long it goes on.
const BATCH: usize = 1000;
const CHANGE_TIME: Duration = Duration::from_millis(5);

/// How a collection runs.
#[derive(Debug, Clone, Copy)]
pub struct Collection {
    /// The time at which things expire.
    pub now: Timestamp,
}

impl Collection {
    /// A collection as of now.
    pub fn now() -> Self {
        Self { now: Timestamp::now() }
    }
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Content records that were removed.
    pub contents: u64,
    /// Snapshot names that were removed.
    pub snapshots: u64,
    /// Expired image names that were removed.
    pub images: u64,
    /// Idle ingests that were removed.
    pub ingests: u64,
    /// Expired leases that were removed.
    pub leases: u64,
    /// Activations whose lease was gone.
    pub mounts: u64,
    /// Records that were reached.
    pub kept: u64,
    /// Whether it ended early, as a namespace joined or left the shared names meanwhile. Another one should follow.
    pub outdated: bool,
    /// How long the mark took.
    pub mark: Duration,
    /// How long the sweep took, waits for other writers included.
    pub sweep: Duration,
    /// The longest that one of its changes kept other writers waiting.
    pub longest_change: Duration,
}

impl Collected {
    /// All records that were removed.
    pub fn removed(&self) -> u64 {
        self.contents + self.snapshots + self.images + self.ingests + self.leases + self.mounts
    }
}

/// Collects. One runs at a time; a second call waits. What it releases is handed out by [`Database::released`].
///
/// # Errors
/// Those of the database. What was removed until then is removed.
pub fn collect(database: &Database, collection: Collection) -> Result<Collected, Error> {
    let shared = database.shared();
    let _alone = shared.collecting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let result = run(database, collection);
    if result.is_err() {
        // Nobody reads the grey list any more.
        database.write::<(), Error>(|change| {
            change.ledger.grey = None;
            Ok(())
        })?;
    }
    result
}

fn run(database: &Database, collection: Collection) -> Result<Collected, Error> {
    let now = time::to_row(collection.now);
    let mut collected = begin(database, now)?;
    let begun = Instant::now();
    let (marks, candidates) = mark(database, now)?;
    collected.mark = begun.elapsed();
    let begun = Instant::now();
    let mut sweep = Sweep::new(marks, candidates, now, collected);
    while !sweep.done {
        sweep = step(database, sweep)?;
    }
    sweep.collected.sweep = begun.elapsed();
    sweep.collected.kept = sweep.marks.len();
    Ok(sweep.collected)
}

/// Removes expired leases, and has writers keep the grey list from here on.
fn begin(database: &Database, now: i64) -> Result<Collected, Error> {
    let mut collected = Collected::default();
    loop {
        let (leases, mounts) = database.write::<_, Error>(move |change| {
            change.ledger.grey = Some(Vec::new());
            change.ledger.outdated = false;
            let sql = "SELECT id FROM lease WHERE expires < ?1 LIMIT 1000";
            let rows = change.rows(sql, [now], |row| row.get::<_, i64>(0))?;
            for row in &rows {
                crate::leases::remove_row(change, *row)?;
            }
            Ok((rows.len(), mounts::collect(change, BATCH)?))
        })?;
        collected.leases += leases as u64;
        collected.mounts += mounts as u64;
        if leases < BATCH && mounts < BATCH {
            return Ok(collected);
        }
    }
}

fn mark(database: &Database, now: i64) -> Result<(Marks, Vec<crate::node::Node>), Error> {
    database.read(|view: &View<'_>| {
        let mut marks = Marks::default();
        let mut walk = Walk::new(view, &mut marks, now)?;
        walk.roots()?;
        walk.run()?;
        let candidates = sweep::candidates(view, &marks)?;
        Ok((marks, candidates))
    })
}

/// One change of the sweep.
fn step(database: &Database, mut sweep: Sweep) -> Result<Sweep, Error> {
    let shared = std::sync::Arc::clone(database.shared());
    database.write(move |change| {
        let begun = Instant::now();
        let held = |ingest: i64| {
            let held = shared.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            held.contains_key(&ingest)
        };
        sweep.step(change, &held, BATCH)?;
        sweep.collected.longest_change = sweep.collected.longest_change.max(begun.elapsed());
        Ok(sweep)
    })
}
