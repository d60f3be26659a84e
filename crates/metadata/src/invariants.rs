//! What holds between the rows after every transaction.

use crate::{Error, View};

/// What must not be there, and what finds it.
const BROKEN: [(&str, &str); 18] = [
    (
        "a blob that nothing names",
        "SELECT 1 FROM blob WHERE digest NOT IN (SELECT digest FROM content)
         AND digest NOT IN (SELECT expected FROM ingest WHERE expected IS NOT NULL)",
    ),
    ("content without a blob", "SELECT 1 FROM content WHERE digest NOT IN (SELECT digest FROM blob)"),
    (
        "an ingest for a blob that is not there",
        "SELECT 1 FROM ingest WHERE expected IS NOT NULL AND expected NOT IN (SELECT digest FROM blob)",
    ),
    (
        "a blob that is both recorded and released",
        "SELECT 1 FROM released AS r JOIN blob AS b ON r.kind = 1 AND r.key = b.digest",
    ),
    (
        "a snapshot without a name",
        "SELECT 1 FROM snapshot WHERE number NOT IN (SELECT number FROM snapshot_name)",
    ),
    (
        "the name of no snapshot",
        "SELECT 1 FROM snapshot_name WHERE number NOT IN (SELECT number FROM snapshot)",
    ),
    (
        "a snapshot name without its parent",
        "SELECT 1 FROM snapshot_name WHERE parent NOT IN (SELECT id FROM snapshot_name)",
    ),
    (
        "a snapshot whose parent is another than its name's",
        "SELECT 1 FROM snapshot_name AS n JOIN snapshot AS s ON s.number = n.number
         LEFT JOIN snapshot_name AS p ON p.id = n.parent WHERE s.parent IS NOT p.number",
    ),
    (
        "a parent that is not committed",
        "SELECT 1 FROM snapshot AS s JOIN snapshot AS p ON p.number = s.parent WHERE p.kind <> 3",
    ),
    (
        "a chain snapshot on a private one",
        "SELECT 1 FROM snapshot AS s JOIN snapshot AS p ON p.number = s.parent
         WHERE s.chain IS NOT NULL AND p.chain IS NULL",
    ),
    (
        "a shared image name without a holder",
        "SELECT 1 FROM image WHERE space = '' AND id NOT IN (SELECT image FROM holder)",
    ),
    (
        "a holder of no image name",
        "SELECT 1 FROM holder WHERE image NOT IN (SELECT id FROM image WHERE space = '')",
    ),
    ("a resource of no lease", "SELECT 1 FROM lease_resource WHERE lease NOT IN (SELECT id FROM lease)"),
    (
        "an edge from no record",
        "SELECT 1 FROM edge WHERE CASE from_kind
         WHEN 1 THEN from_id NOT IN (SELECT id FROM content)
         WHEN 2 THEN from_id NOT IN (SELECT id FROM snapshot_name)
         WHEN 3 THEN from_id NOT IN (SELECT id FROM image)
         WHEN 4 THEN from_id NOT IN (SELECT id FROM container)
         ELSE from_id NOT IN (SELECT id FROM sandbox) END",
    ),
    (
        "a value of no container or sandbox",
        "SELECT 1 FROM opaque WHERE CASE kind WHEN 4 THEN owner NOT IN (SELECT id FROM container)
         ELSE owner NOT IN (SELECT id FROM sandbox) END",
    ),
    ("a task of no namespace", "SELECT 1 FROM task WHERE namespace NOT IN (SELECT name FROM namespace)"),
    (
        "an exec without its container's first process",
        "SELECT 1 FROM task AS t WHERE exec <> '' AND NOT EXISTS
         (SELECT 1 FROM task AS f WHERE f.namespace = t.namespace AND f.container = t.container AND f.exec = '')",
    ),
    ("a task of no boot", "SELECT 1 FROM task WHERE boot NOT IN (SELECT id FROM boot)"),
];

/// Looks for all of them.
pub(crate) fn check(view: &View<'_>) -> Result<(), Error> {
    for (what, sql) in BROKEN {
        // Not worth a place among the statements that are kept.
        if view.connection().prepare(sql)?.exists([])? {
            return Err(Error::damaged(format!("there is {what}")));
        }
    }
    Ok(())
}
