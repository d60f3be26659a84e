//! The removal of what was not reached.

use std::mem;
use std::time::Instant;

use super::mark::Walk;
use super::marks::Marks;
use super::{CHANGE_TIME, Collected};
use crate::node::{Kind, Node};
use crate::{Change, Error, Event, View, contents, images, ingests, namespaces, row, snapshots};

/// The kinds that are collected.
pub(super) const COLLECTED: [Kind; 4] = [Kind::Image, Kind::Content, Kind::Ingest, Kind::Snapshot];

/// A sweep, between its changes.
pub(super) struct Sweep {
    pub(super) marks: Marks,
    candidates: Vec<Node>,
    now: i64,
    pub(super) done: bool,
    pub(super) collected: Collected,
}

/// What was not reached.
pub(super) fn candidates(view: &View<'_>, marks: &Marks) -> Result<Vec<Node>, Error> {
    let mut candidates = Vec::new();
    for kind in COLLECTED {
        view.each(
            &format!("SELECT id FROM {}", kind.table()),
            [],
            |row| row.get(0),
            |id| {
                let node = Node::new(kind, id);
                candidates.extend((!marks.contains(node)).then_some(node));
                Ok::<_, Error>(())
            },
        )?;
    }
    Ok(candidates)
}

impl Sweep {
    pub(super) fn new(marks: Marks, candidates: Vec<Node>, now: i64, collected: Collected) -> Self {
        Self { marks, candidates, now, done: false, collected }
    }

    /// Removes at most `limit` rows, after it has walked from the grey list.
    pub(super) fn step(
        &mut self,
        change: &mut Change<'_>,
        held: &dyn Fn(i64) -> bool,
        limit: usize,
    ) -> Result<(), Error> {
        if change.ledger.outdated {
            self.collected.outdated = true;
            return self.end(change);
        }
        let grey = change.ledger.grey.as_mut().map(mem::take).unwrap_or_default();
        let mut walk = Walk::new(change, &mut self.marks, self.now)?;
        grey.into_iter().try_for_each(|grey| walk.renew(grey))?;
        walk.run()?;
        let mut removed = 0;
        let begun = Instant::now();
        while removed < limit && begun.elapsed() < CHANGE_TIME {
            let Some(node) = self.candidates.pop() else { return self.end(change) };
            if !self.marks.contains(node) && self.remove(change, node, held)? {
                removed += 1;
            }
        }
        Ok(())
    }

    fn end(&mut self, change: &mut Change<'_>) -> Result<(), Error> {
        change.ledger.grey = None;
        self.done = true;
        Ok(())
    }

    /// Removes the record, if it is there. Says whether it did.
    fn remove(
        &mut self,
        change: &mut Change<'_>,
        node: Node,
        held: &dyn Fn(i64) -> bool,
    ) -> Result<bool, Error> {
        match node.kind {
            Kind::Content => {
                let sql = "SELECT digest FROM content WHERE id = ?1";
                let Some(digest) = change.row(sql, [node.id], |row| row::digest(row, 0))? else {
                    return Ok(false);
                };
                contents::remove_row(change, node.id, &digest)?;
                self.collected.contents += 1;
            }
            Kind::Snapshot => return self.remove_snapshot(change, node),
            Kind::Image => {
                let sql = "SELECT writer, name FROM image WHERE id = ?1";
                let found =
                    change.row(sql, [node.id], |row| Ok((namespaces::parse(row, 0)?, row.get(1)?)))?;
                let Some((namespace, name)) = found else { return Ok(false) };
                images::remove_row(change, node.id)?;
                change.emit(&namespace, Event::ImageDelete { name })?;
                self.collected.images += 1;
            }
            Kind::Ingest => {
                if held(node.id) {
                    return Ok(false);
                }
                let Some((namespace, ingest)) = ingests::by_id(change, node.id)? else { return Ok(false) };
                ingests::remove_row(change, &namespace, &ingest)?;
                self.collected.ingests += 1;
            }
            Kind::Container | Kind::Sandbox => return Ok(false),
        }
        Ok(true)
    }

    /// Children go first. None of them is reached, or this one would be.
    fn remove_snapshot(&mut self, change: &mut Change<'_>, node: Node) -> Result<bool, Error> {
        let sql = "SELECT namespace, driver, key, number FROM snapshot_name WHERE id = ?1";
        let found = change.row(sql, [node.id], |row| {
            let (driver, key): (String, String) = (row.get(1)?, row.get(2)?);
            Ok((namespaces::parse(row, 0)?, driver, key, row::unsigned(row, 3)?))
        })?;
        let Some((namespace, driver, key, number)) = found else { return Ok(false) };
        let sql = "SELECT id FROM snapshot_name WHERE parent = ?1";
        let children = change.rows(sql, [node.id], |row| Ok(Node::new(Kind::Snapshot, row.get(0)?)))?;
        if children.iter().any(|child| self.marks.contains(*child)) {
            return Err(Error::damaged(format!("snapshot {key:?} is not reached, and a child of it is")));
        }
        if !children.is_empty() {
            self.candidates.push(node);
            self.candidates.extend(children);
            return Ok(false);
        }
        snapshots::remove_row(change, &namespace, &driver, &key, node.id, number)?;
        self.collected.snapshots += 1;
        Ok(true)
    }
}
