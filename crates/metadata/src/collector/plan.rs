//! What a collection would do, and why it would not do more.

use std::collections::HashMap;
use std::path::Path;

use super::mark::{Reason, Walk};
use super::marks::Marks;
use super::sweep::{COLLECTED, candidates};
use crate::database::FILE;
use crate::node::{Kind, Node};
use crate::time::{self, Timestamp};
use crate::view::Config;
use crate::{Database, Error, View, connection, schema};

/// Why images and leases go.
const EXPIRED: &str = "its time has passed";

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Its kind: `content`, `snapshot`, `image`, `container`, `sandbox`, `ingest` or `lease`.
    pub kind: &'static str,
    /// Its namespace; empty for a shared image name.
    pub namespace: String,
    /// Its name; a snapshot's begins with its driver and a slash.
    pub name: String,
}

/// What a collection would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What would go, each with why.
    pub removed: Vec<(Item, String)>,
    /// What would stay, each with why.
    pub kept: Vec<(Item, String)>,
}

/// Says what a collection at `now` would do, and changes nothing.
///
/// # Errors
/// Those of the database.
pub fn dry_run(database: &Database, now: Timestamp) -> Result<Plan, Error> {
    database.read(|view| plan(view, time::to_row(now)))
}

/// Says the same of the database in `directory` that another process may have open, which does not notice. Ingests that
/// somebody writes to at this moment are not told from idle ones.
///
/// # Errors
/// FailedPrecondition if another version wrote it, DataLoss if it is damaged, and those of the file system.
pub fn dry_run_beside(directory: &Path, now: Timestamp) -> Result<Plan, Error> {
    let path = directory.join(FILE);
    let at_rest = !connection::beside(&path, "-wal").exists();
    let look = || {
        let connection = connection::open_beside(&path)?;
        schema::require(&connection, &path)?;
        let transaction = connection.unchecked_transaction()?;
        // Neither counts for who only reads.
        let config = Config { boot: 0, shared: Vec::new() };
        plan(&View::new(&transaction, &config), time::to_row(now))
    };
    match look() {
        // Somebody opened it meanwhile: what was read may have been of two times.
        _ if at_rest && connection::beside(&path, "-wal").exists() => look(),
        plan => plan,
    }
    .map_err(|error| error.of_file(&path))
}

fn plan(view: &View<'_>, now: i64) -> Result<Plan, Error> {
    let mut marks = Marks::default();
    let mut walk = Walk::new(view, &mut marks, now)?;
    walk.reasons = Some(HashMap::new());
    walk.roots()?;
    walk.run()?;
    let reasons = walk.reasons.take().unwrap_or_default();
    let mut plan = Plan::default();
    let sql = "SELECT namespace, name FROM lease WHERE expires < ?1";
    let leases =
        view.rows(sql, [now], |row| Ok(Item { kind: "lease", namespace: row.get(0)?, name: row.get(1)? }))?;
    plan.removed.extend(leases.into_iter().map(|lease| (lease, EXPIRED.to_owned())));
    for node in candidates(view, &marks)? {
        let why = match node.kind {
            Kind::Image => EXPIRED,
            Kind::Ingest => "nobody wrote to it for long",
            _ => "nothing refers to it",
        };
        plan.removed.extend(item(view, node)?.map(|item| (item, why.to_owned())));
    }
    for node in marks.iter().filter(|node| COLLECTED.contains(&node.kind)) {
        if let (Some(item), Some(reason)) = (item(view, node)?, reasons.get(&node)) {
            plan.kept.push((item, describe(view, reason)?));
        }
    }
    plan.removed.sort();
    plan.kept.sort();
    Ok(plan)
}

fn describe(view: &View<'_>, reason: &Reason) -> Result<String, Error> {
    Ok(match reason {
        Reason::Root(why) => format!("root: {why}"),
        Reason::Lease(id) => {
            let sql = "SELECT namespace, name FROM lease WHERE id = ?1";
            let lease =
                view.row(sql, [id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            lease.map_or_else(String::new, |(namespace, name)| format!("lease {namespace}/{name}"))
        }
        Reason::Node(node) => match item(view, *node)? {
            Some(item) => format!("{} {}/{}", item.kind, item.namespace, item.name),
            None => String::new(),
        },
    })
}

fn item(view: &View<'_>, node: Node) -> Result<Option<Item>, Error> {
    let (kind, sql) = match node.kind {
        Kind::Content => ("content", "SELECT namespace, digest FROM content WHERE id = ?1"),
        Kind::Snapshot => {
            ("snapshot", "SELECT namespace, driver || '/' || key FROM snapshot_name WHERE id = ?1")
        }
        Kind::Image => ("image", "SELECT space, name FROM image WHERE id = ?1"),
        Kind::Container => ("container", "SELECT namespace, name FROM container WHERE id = ?1"),
        Kind::Sandbox => ("sandbox", "SELECT namespace, name FROM sandbox WHERE id = ?1"),
        Kind::Ingest => ("ingest", "SELECT namespace, ref FROM ingest WHERE id = ?1"),
    };
    view.row(sql, [node.id], |row| Ok(Item { kind, namespace: row.get(0)?, name: row.get(1)? }))
}
