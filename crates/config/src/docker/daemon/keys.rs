//! The keys of a JSON object, taken out one by one, with errors that say what is allowed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, Ignored};

/// The longest value that an error quotes, in characters.
const QUOTED: usize = 80;
/// The most entries of a list or a table.
const MAX_ENTRIES: usize = 10_000;

/// What has not been taken yet.
pub(super) struct Keys<'a> {
    path: &'a Path,
    text: &'a str,
    map: Map<String, Value>,
}

impl<'a> Keys<'a> {
    /// A file without anything, or with white space alone, has no keys.
    pub(super) fn parse(path: &'a Path, text: &'a str) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim().is_empty() {
            return Ok(Self { path, text, map: Map::new() });
        }
        // serde_json's own message may quote the text, which may have the password of a proxy.
        let wrong = |line, message| Error::Syntax { path: path.into(), line, message };
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Self { path, text, map }),
            Ok(_) => Err(wrong(1, "it has to be a JSON object".into())),
            Err(error) => {
                Err(wrong(error.line().max(1), format!("it is not JSON, at column {}", error.column())))
            }
        }
    }

    /// The line on which a key is first named.
    fn line(&self, key: &str) -> usize {
        let at = self.text.find(&format!("\"{key}\"")).unwrap_or(0);
        1 + self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        let found = match found {
            Value::Array(_) => "a list".into(),
            Value::Object(_) => "a table".into(),
            // It may have a password.
            Value::String(text) if text.contains('@') => "something else".into(),
            other => other.to_string().chars().take(QUOTED).collect(),
        };
        let path = self.path.into();
        Error::Value { path, line: self.line(key), key: key.into(), expected: expected.into(), found }
    }

    /// The value of a key, if it is there and not null.
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        match self.map.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(&value).map(Some).ok_or_else(|| self.wrong(key, expected, &value)),
        }
    }

    /// The values of a list; none if it is not there.
    pub(super) fn take_list<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let list = self.take(key, "a list", |value| value.as_array().cloned())?.unwrap_or_default();
        if list.len() > MAX_ENTRIES {
            return Err(self.wrong(key, "shorter", &Value::Array(list)));
        }
        list.iter().map(|value| read(value).ok_or_else(|| self.wrong(key, expected, value))).collect()
    }

    /// The entries of a table; none if it is not there.
    pub(super) fn take_map<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<BTreeMap<String, T>, Error> {
        let map = self.take(key, "a table", |value| value.as_object().cloned())?.unwrap_or_default();
        if map.len() > MAX_ENTRIES {
            return Err(self.wrong(key, "shorter", &Value::Object(map)));
        }
        let entry = |(name, value): (String, Value)| match read(&value) {
            Some(read) => Ok((name, read)),
            None => Err(self.wrong(&name, expected, &value)),
        };
        map.into_iter().map(entry).collect()
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Error> {
        self.take(key, "true or false", Value::as_bool)
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Error> {
        let text = self.take(key, "a text", |value| value.as_str().map(str::to_owned))?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    pub(super) fn word(&mut self, key: &str, words: &[&str]) -> Result<Option<String>, Error> {
        let expected = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ");
        self.take(key, &expected, |value| {
            value.as_str().filter(|word| word.is_empty() || words.contains(word)).map(str::to_owned)
        })
        .map(|word| word.filter(|word| !word.is_empty()))
    }

    pub(super) fn path(&mut self, key: &str) -> Result<Option<PathBuf>, Error> {
        let path = self.take(key, "an absolute path", |value| {
            value
                .as_str()
                .filter(|text| text.is_empty() || text.starts_with('/') && !text.contains('\0'))
                .map(PathBuf::from)
        })?;
        Ok(path.filter(|path| !path.as_os_str().is_empty()))
    }

    pub(super) fn texts(&mut self, key: &str) -> Result<Vec<String>, Error> {
        self.take_list(key, "a list of texts", |value| value.as_str().map(str::to_owned))
    }

    /// A list of `key=value`.
    pub(super) fn pairs(&mut self, key: &str) -> Result<Vec<String>, Error> {
        self.take_list(key, "a list of texts of the form key=value", |value| {
            value
                .as_str()
                .filter(|text| text.split_once('=').is_some_and(|(key, _)| !key.is_empty()))
                .map(str::to_owned)
        })
    }

    /// A number, of which 0 says nothing.
    pub(super) fn count(&mut self, key: &str) -> Result<Option<u32>, Error> {
        let number = self.take(key, "an integer from 0 on", |value| u32::try_from(value.as_u64()?).ok())?;
        Ok(number.filter(|number| *number > 0))
    }

    /// A value that is parsed from a text; an empty one is none.
    pub(super) fn parsed<T: std::str::FromStr>(
        &mut self,
        key: &str,
        expected: &str,
    ) -> Result<Option<T>, Error> {
        let parsed = self.take(key, expected, |value| match value.as_str()? {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        })?;
        Ok(parsed.flatten())
    }

    /// An error if a key says anything.
    pub(super) fn refuse(&mut self, key: &str, expected: &str) -> Result<(), Error> {
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty).then_some(());
        self.take(key, expected, is_empty).map(|_| ())
    }

    pub(super) fn unknown(&self, mut keys: Vec<String>) -> Error {
        keys.sort();
        Error::Directives {
            path: self.path.into(),
            keys: keys.join(", ").chars().take(16 * QUOTED).collect(),
        }
    }

    /// What is left: keys that are known to have no counterpart.
    pub(super) fn rest(self, known: &[&str]) -> Result<Vec<Ignored>, Error> {
        let unknown: Vec<_> = self.map.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
        if !unknown.is_empty() {
            return Err(self.unknown(unknown));
        }
        let said = self.map.iter().filter(|(_, value)| !is_nothing(value));
        Ok(said
            .map(|(key, _)| Ignored { path: self.path.into(), line: self.line(key), key: key.clone() })
            .collect())
    }
}

/// Whether a value says nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// A size as Docker has it: a number of bytes, or a text such as `64m`, `1.5GB` or `20KiB`, by 1024 (go-units).
pub(super) fn size(value: &Value) -> Option<u64> {
    let Some(text) = value.as_str() else { return value.as_u64() };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let unit = text[end..].trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        unit => 1 + "kmgtp".find(unit).filter(|_| unit.len() == 1)?,
    };
    let bytes = number * 1024f64.powi(power as i32);
    (bytes < 2f64.powi(63)).then_some(bytes as u64)
}
