//! A TOML document whose values know their lines.

use std::fmt::Write as _;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::Error;

/// A text and the file that it comes from.
pub(crate) struct Document<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
}

/// A value, its key and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    pub(crate) document: &'a Document<'a>,
    pub(crate) value: &'a DeValue<'a>,
    /// Where the key or the value begins.
    pub(crate) at: usize,
    pub(crate) key: &'a str,
}

impl<'a> Document<'a> {
    /// Parses the text.
    pub(crate) fn parse(&self) -> Result<Spanned<DeTable<'a>>, Error> {
        DeTable::parse(self.text).map_err(|error| Error::Syntax {
            path: self.path.into(),
            line: self.line(error.span().map_or(0, |span| span.start)),
            message: error.message().trim_end().replace('\n', ", "),
        })
    }

    /// The line of a byte, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// The entries of a table in the order of the file.
pub(crate) fn in_order<'a, 'i>(
    table: &'a DeTable<'i>,
) -> Vec<(&'a Spanned<DeString<'i>>, &'a Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

impl Node<'_> {
    /// The line, from 1.
    pub(crate) fn line(&self) -> usize {
        self.document.line(self.at)
    }

    /// That this value is not `expected`.
    pub(crate) fn wrong(&self, expected: impl Into<String>) -> Error {
        Error::Value {
            path: self.document.path.into(),
            line: self.line(),
            key: self.key.to_owned(),
            expected: expected.into(),
            found: shown(self.value),
        }
    }

    /// Whether it says nothing: what default configurations are full of.
    pub(crate) fn is_empty(&self) -> bool {
        match self.value {
            DeValue::String(text) => text.is_empty(),
            DeValue::Integer(number) => number.as_str() == "0",
            DeValue::Boolean(set) => !set,
            DeValue::Array(values) => values.is_empty(),
            DeValue::Table(table) => table.is_empty(),
            DeValue::Float(number) => number.as_str().parse() == Ok(0f64),
            DeValue::Datetime(_) => false,
        }
    }
}

/// The longest value that an error quotes, in characters.
const QUOTED: usize = 80;

fn shown(value: &DeValue<'_>) -> String {
    let text = match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(set) => set.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    };
    text.chars().take(QUOTED).collect()
}

/// Writes a key as TOML has it: quoted where it has to be.
pub(crate) fn quoted_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { quoted(key) }
}

/// Joins keys with dots.
pub(crate) fn dotted(path: &[&str]) -> String {
    path.iter().map(|key| quoted_key(key)).collect::<Vec<_>>().join(".")
}

/// Writes a text as a basic string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The one of `known` that `name` may have been meant to be.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = 1 + name.chars().count() / 4;
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(d, _)| *d <= allowed)
        .min()
        .map(|(_, best)| best)
}

/// How many letters have to be changed, added, left out or swapped with the next.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(QUOTED).collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut best = rows[i][j] + usize::from(a[i] != b[j]);
            best = best.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let known = ["address", "uid", "gid", "max_recv_message_size"];
        let check =
            |name: &str, expect: Option<&str>| assert_eq!(nearest(name, known.into_iter()), expect, "{name}");
        check("adress", Some("address"));
        check("max_receive_message_size", Some("max_recv_message_size"));
        check("colour", None);
        check("", None);
    }

    #[test]
    fn what_is_quoted_is_toml() {
        for text in ["", "a\"b\\c\n\u{7f}\u{1}é", "io.containerd.grpc.v1.cri"] {
            let line = format!("{} = {}", quoted_key(text), quoted(text));
            let table: toml::Table = line.parse().unwrap();
            assert_eq!(table[text].as_str(), Some(text));
        }
    }
}
