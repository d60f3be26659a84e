//! Edges as rows: written with the labels, so that a collection parses nothing.

use rusqlite::params;

use crate::labels::{Meaning, Rule};
use crate::node::{Kind, Node};
use crate::{Change, Error};

/// Replaces the edges of `node`, whose labels are looked up in the namespace `space`, and tells the collector of it.
pub(crate) fn replace(
    change: &mut Change<'_>,
    node: Node,
    space: &str,
    meaning: &Meaning<'_>,
) -> Result<(), Error> {
    remove(change, node)?;
    insert(change, node, space, meaning)
}

/// Writes the edges of a `node` that is new.
pub(crate) fn insert(
    change: &mut Change<'_>,
    node: Node,
    space: &str,
    meaning: &Meaning<'_>,
) -> Result<(), Error> {
    for edge in &meaning.edges {
        let counts = match edge.rule {
            Rule::Reference => true,
            Rule::Back => !matches!(node.kind, Kind::Sandbox | Kind::Ingest),
            Rule::UsedLess | Rule::UsedMore => matches!(node.kind, Kind::Content | Kind::Image),
        };
        if !counts {
            continue;
        }
        change
            .prepare(
                "INSERT OR IGNORE INTO edge (from_kind, from_id, rule, to_kind, driver, key, age, space)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                node.kind.code(),
                node.id,
                edge.rule.code(),
                edge.kind.code(),
                edge.driver,
                edge.key,
                edge.age,
                space
            ])?;
    }
    change.grey(node);
    Ok(())
}

pub(crate) fn remove(change: &Change<'_>, node: Node) -> Result<(), Error> {
    change
        .prepare("DELETE FROM edge WHERE from_kind = ?1 AND from_id = ?2")?
        .execute(params![node.kind.code(), node.id])?;
    Ok(())
}
