use std::time::Duration;

use super::value::{parse_bool, parse_duration, parse_integer};
use super::{Flag, Kind};

/// The flags and operands of one level of the command line, as text that was checked against the table.
#[derive(Debug, Default)]
pub(crate) struct Parsed<'a> {
    pub(super) table: &'static [&'static Flag],
    /// In the order in which they were given.
    pub(super) flags: Vec<(&'static Flag, &'a str)>,
    /// What is no flag, in order.
    pub(crate) operands: Vec<&'a str>,
}

impl<'a> Parsed<'a> {
    /// Whether the flag was given at all, with whatever value.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.known(name, None);
        self.flags.iter().any(|(flag, _)| flag.is_named(name))
    }

    /// Whether the switch is on.
    pub(crate) fn switch(&self, name: &str) -> bool {
        self.last(name, Kind::Switch).and_then(parse_bool).unwrap_or(false)
    }

    /// The last value given, unless it is empty: to runc, `--flag ""` is a flag that was not given.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.last(name, Kind::Text).filter(|value| !value.is_empty())
    }

    /// All values given, in order.
    pub(crate) fn texts<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        self.known(name, Some(Kind::Texts));
        self.flags.iter().filter(move |(flag, _)| flag.is_named(name)).map(|(_, value)| *value)
    }

    /// The last value given.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        self.last(name, Kind::Integer).and_then(|value| parse_integer(value).ok())
    }

    /// All values given, in order.
    pub(crate) fn integers(&self, name: &str) -> Vec<i64> {
        self.known(name, Some(Kind::Integers));
        let mine = self.flags.iter().filter(|(flag, _)| flag.is_named(name));
        mine.filter_map(|(_, value)| parse_integer(value).ok()).collect()
    }

    /// The last value given.
    pub(crate) fn duration(&self, name: &str) -> Option<Duration> {
        self.last(name, Kind::Duration).and_then(parse_duration)
    }

    fn last(&self, name: &str, kind: Kind) -> Option<&'a str> {
        self.known(name, Some(kind));
        self.flags.iter().rev().find(|(flag, _)| flag.is_named(name)).map(|(_, value)| *value)
    }

    /// Catches a misspelt name in the code: the tests run every command.
    fn known(&self, name: &str, kind: Option<Kind>) {
        debug_assert!(
            self.table.iter().any(|flag| flag.is_named(name) && kind.is_none_or(|kind| flag.kind == kind)),
            "no flag {name} of kind {kind:?} in the table"
        );
    }
}
