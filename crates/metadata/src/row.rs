//! Values as the columns hold them.

use std::collections::BTreeMap;

use gantry_types::{Digest, Labels, labels};
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Row, params};

use crate::node::Kind;
use crate::time::{self, Timestamp};
use crate::{Change, Error, View};

/// A value of a type that only its readers know, protobuf's `Any`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opaque {
    /// The name of the type.
    pub type_url: String,
    /// The bytes.
    pub value: Vec<u8>,
}

/// The most extensions of one record.
const MAX_EXTENSIONS: usize = 1024;

pub(crate) fn encode(map: &BTreeMap<String, String>) -> String {
    if map.is_empty() { "{}".to_owned() } else { serde_json::to_string(map).expect("a map of texts is JSON") }
}

/// Labels without those that are empty: an empty value is how a field path removes one.
pub(crate) fn without_empty(map: &mut BTreeMap<String, String>) {
    map.retain(|_, value| !value.is_empty());
}

pub(crate) fn check_labels(what: &'static str, map: &mut Labels) -> Result<(), Error> {
    labels::validate(map).map_err(|error| Error::invalid(what, error))?;
    without_empty(map);
    Ok(())
}

pub(crate) fn map(row: &Row<'_>, column: usize) -> rusqlite::Result<BTreeMap<String, String>> {
    let text = row.get_ref(column)?.as_str()?;
    if text == "{}" {
        return Ok(BTreeMap::new());
    }
    serde_json::from_str(text).map_err(|error| damaged(column, error))
}

pub(crate) fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(time::from_row)
}

pub(crate) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    Digest::parse(row.get_ref(column)?.as_str()?).map_err(|error| damaged(column, error))
}

pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| FromSqlError::OutOfRange(value)).map_err(|error| damaged(column, error))
}

pub(crate) fn damaged(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

pub(crate) fn size(what: &'static str, bytes: u64) -> Result<i64, Error> {
    i64::try_from(bytes).map_err(|_| Error::invalid(what, format_args!("{bytes} bytes are too many")))
}

/// Where an opaque value stands in its record.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Role {
    Spec = 1,
    Options = 2,
    Extension = 3,
}

/// The opaque values of a record.
#[derive(Debug, Default)]
pub(crate) struct Opaques {
    pub(crate) spec: Option<Opaque>,
    pub(crate) options: Option<Opaque>,
    pub(crate) extensions: BTreeMap<String, Opaque>,
}

pub(crate) fn opaques(view: &View<'_>, kind: Kind, owner: i64) -> Result<Opaques, Error> {
    let mut opaques = Opaques::default();
    let sql = "SELECT role, name, type_url, value FROM opaque WHERE kind = ?1 AND owner = ?2";
    let mut statement = view.prepare(sql)?;
    let mut rows = statement.query(params![kind.code(), owner])?;
    while let Some(row) = rows.next()? {
        let value = Opaque { type_url: row.get(2)?, value: row.get(3)? };
        match row.get::<_, i64>(0)? {
            1 => opaques.spec = Some(value),
            2 => opaques.options = Some(value),
            _ => drop(opaques.extensions.insert(row.get(1)?, value)),
        }
    }
    Ok(opaques)
}

pub(crate) fn write_opaques(
    change: &Change<'_>,
    kind: Kind,
    owner: i64,
    spec: Option<&Opaque>,
    options: Option<&Opaque>,
    extensions: &BTreeMap<String, Opaque>,
) -> Result<(), Error> {
    if extensions.len() > MAX_EXTENSIONS {
        return Err(Error::invalid("extensions", format_args!("more than {MAX_EXTENSIONS}")));
    }
    remove_opaques(change, kind, owner)?;
    let extensions = extensions.iter().map(|(name, value)| (Role::Extension, name.as_str(), value));
    let fixed = [(Role::Spec, spec), (Role::Options, options)];
    let fixed = fixed.into_iter().filter_map(|(role, value)| value.map(|value| (role, "", value)));
    for (role, name, value) in fixed.chain(extensions) {
        change
            .prepare("INSERT INTO opaque (kind, owner, role, name, type_url, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![kind.code(), owner, role as u8, name, value.type_url, value.value])?;
    }
    Ok(())
}

pub(crate) fn remove_opaques(change: &Change<'_>, kind: Kind, owner: i64) -> Result<(), Error> {
    change
        .prepare("DELETE FROM opaque WHERE kind = ?1 AND owner = ?2")?
        .execute(params![kind.code(), owner])?;
    Ok(())
}
