//! The tables, and which of the values that are read in them may be ours.

use std::collections::BTreeMap;

use gantry_types::{Digest, Namespace};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::scan::{KeyKind, Plan};
use crate::node::Kind;
use crate::{Error, Event, images, snapshots, tasks};

/// Larger row ids are none that ever were given out: they would keep later ones from being larger still.
const MAX_ID: i64 = 1 << 62;

/// What rows of others are made of again, and the table of sequences, which has no order.
const DERIVED: [&str; 1] = ["edge"];

/// A table of the schema.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    columns: Vec<Column>,
    has_rowid: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    affinity: String,
    is_required: bool,
    /// Its place in the primary key, from 1.
    key: i64,
}

impl Table {
    /// All that have to be read.
    pub(super) fn all(fresh: &Connection) -> Result<Vec<Self>, Error> {
        let sql = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'
                   AND name NOT LIKE 'sqlite%' ORDER BY name";
        let mut statement = fresh.prepare(sql)?;
        let tables: Vec<(String, bool)> =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        let wanted = tables.into_iter().filter(|(name, _)| !DERIVED.contains(&name.as_str()));
        wanted.map(|(name, without_rowid)| Self::read(fresh, name, !without_rowid)).collect()
    }

    fn read(fresh: &Connection, name: String, has_rowid: bool) -> Result<Self, Error> {
        let sql = "SELECT name, type, \"notnull\" OR pk > 0, pk FROM pragma_table_info(?1) ORDER BY cid";
        let mut statement = fresh.prepare(sql)?;
        let columns = statement.query_map(params![name], |row| {
            Ok(Column {
                name: row.get(0)?,
                affinity: row.get(1)?,
                is_required: row.get(2)?,
                key: row.get(3)?,
            })
        })?;
        let columns = columns.collect::<Result<_, _>>()?;
        Ok(Self { name, columns, has_rowid })
    }

    pub(super) fn column_names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// How all of it is read.
    pub(super) fn plan(&self, largest: i64) -> Plan {
        let key = if self.has_rowid {
            vec![("rowid".to_owned(), KeyKind::Int)]
        } else {
            let mut key: Vec<&Column> = self.columns.iter().filter(|column| column.key > 0).collect();
            key.sort_by_key(|column| column.key);
            let kind = |column: &Column| if column.affinity == "TEXT" { KeyKind::Text } else { KeyKind::Int };
            key.into_iter().map(|column| (column.name.clone(), kind(column))).collect()
        };
        Plan { from: format!("{} NOT INDEXED", self.name), key, columns: self.column_names(), largest }
    }

    /// Whether a row may be one that we wrote.
    pub(super) fn fits(&self, row: &[Value]) -> bool {
        self.columns.len() == row.len()
            && self.columns.iter().zip(row).all(|(column, value)| {
                let typed = match value {
                    Value::Null => !column.is_required,
                    Value::Integer(_) => column.affinity == "INTEGER",
                    Value::Text(_) => column.affinity == "TEXT",
                    Value::Blob(_) => column.affinity == "BLOB",
                    Value::Real(_) => false,
                };
                typed && is_ours(&self.name, &column.name, value)
            })
            && (self.name != "setting" || is_setting(row))
    }
}

fn is_ours(table: &str, column: &str, value: &Value) -> bool {
    match value {
        Value::Text(text) => is_our_text(table, column, text),
        Value::Integer(number) => is_our_number(table, column, *number),
        _ => true,
    }
}

fn is_our_text(table: &str, column: &str, text: &str) -> bool {
    let is_namespace = || text.parse::<Namespace>().is_ok();
    match (table, column) {
        ("namespace", "name") | (_, "namespace" | "writer") => is_namespace(),
        ("image", "space") => text == images::SHARED || is_namespace(),
        ("holder", "name") => images::is_holder(text),
        (_, "digest" | "expected" | "chain") => Digest::parse(text).is_ok(),
        (_, "labels" | "annotations") => serde_json::from_str::<BTreeMap<String, String>>(text).is_ok(),
        ("event", "body") => serde_json::from_str::<Event>(text).is_ok(),
        _ => true,
    }
}

fn is_our_number(table: &str, column: &str, number: i64) -> bool {
    let in_range = |last: i64| (1..=last).contains(&number);
    match (table, column) {
        ("snapshot", "kind") => snapshots::Kind::is_code(number),
        ("lease_resource", "kind") => Kind::from_code(number).is_some(),
        ("opaque", "kind") => matches!(Kind::from_code(number), Some(Kind::Container | Kind::Sandbox)),
        ("opaque", "role") => in_range(3),
        ("released", "kind") => in_range(4),
        ("task", "state") => tasks::State::ALL.iter().any(|state| *state as i64 == number),
        ("task", "pid" | "exit_status") => u32::try_from(number).is_ok(),
        (_, "id" | "cursor" | "number") => (0..MAX_ID).contains(&number),
        (_, "size" | "inodes" | "total") => number >= 0,
        ("namespace", "shared") | (_, "root" | "flat" | "synced") => (0..=1).contains(&number),
        _ => true,
    }
}

/// Whether the key of a setting is known, and its value can be read.
fn is_setting(row: &[Value]) -> bool {
    match row {
        [Value::Text(key), Value::Text(value)] if key == snapshots::NUMBER => {
            value.parse().is_ok_and(|number: i64| (0..MAX_ID).contains(&number))
        }
        // Whether the damaged file was closed is of no interest; it is dropped afterwards.
        [Value::Text(key), _] => key == "clean" || key.starts_with(crate::settings::PREFIX),
        _ => false,
    }
}

/// Where the names of a kind of record stand a second time: in an index of their own.
pub(super) const NAMES: [(&str, &str, &str); 8] = [
    ("image", "space", "name"),
    ("container", "namespace", "name"),
    ("sandbox", "namespace", "name"),
    ("lease", "namespace", "name"),
    ("snapshot_name", "namespace", "key"),
    ("content", "namespace", "digest"),
    ("mount", "namespace", "name"),
    ("ingest", "namespace", "ref"),
];

/// How the names of one of [`NAMES`] are read from their index.
pub(super) fn names_plan((table, space, name): (&str, &str, &str)) -> Plan {
    let mut key = vec![(space.to_owned(), KeyKind::Text)];
    // A snapshot is named with its driver.
    let is_snapshot = table == "snapshot_name";
    if is_snapshot {
        key.push(("driver".to_owned(), KeyKind::Text));
    }
    key.push((name.to_owned(), KeyKind::Text));
    let shown = if is_snapshot { "driver || '/' || key" } else { name };
    let columns = [space, shown, "rowid"].map(str::to_owned).to_vec();
    Plan { from: format!("{table} INDEXED BY sqlite_autoindex_{table}_1"), key, columns, largest: 0 }
}

/// How the second place of a column is read: the index with only that one.
pub(super) fn column_plan(table: &str, index: &str, column: &str, kind: KeyKind) -> Plan {
    let key = vec![(column.to_owned(), kind), ("rowid".to_owned(), KeyKind::Int)];
    let columns = [column, "rowid"].map(str::to_owned).to_vec();
    Plan { from: format!("{table} INDEXED BY {index}"), key, columns, largest: 0 }
}
