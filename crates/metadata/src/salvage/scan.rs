//! Reads the rows of a damaged table: up to the damage from both ends, and between by halves.
//!
//! ```text
//!   keys   a b c d ✗ ✗ ✗ h i ✗ ✗ l m
//!          ───────►│           │◄───     up to the first error, and back to the last one
//!                  │   ◄─│─►   │         what is between them is cut in the middle, and each half is read in the same way
//! ```
//! Rows at places where they do not belong (a page of another table, a changed key) look like the ends of gaps, so that in the end, if
//! anything was wrong, each number that a key may begin with is looked up by itself.
//!
//! A page that cannot be read hides all rows below it, so what is between two errors is read in as many probes as there may be
//! pages, the widest gaps first. Nothing that is read is believed: keys that do not ascend end a pass.

use std::cmp::Ordering;
use std::collections::VecDeque;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};

/// Probes that a table has at least.
const MIN_PROBES: u64 = 4096;
/// Rows that a page may have, and so how far numbers reach about which nothing else is known.
const ROWS_PER_PAGE: u64 = 64;
/// Probes for each page of the file.
const PROBES_PER_PAGE: u64 = 8;
/// Rows in a row outside of what is read, after which that has ended.
const STRAYS: u32 = 4;
/// How many characters of a text are told apart when a gap is cut.
const DIGITS: usize = 18;
/// Printable ASCII, and the end of a text.
const BASE: u128 = 96;
const FIRST: u8 = 0x20;

/// Numbers that are looked up by themselves.
const LOOKUPS: i64 = 1 << 20;

/// How a row was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// On the way from one key to the next.
    Passed,
    /// By its key, which is where readers would find it.
    LookedUp,
}

/// The type of a key's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Int,
    Text,
}

/// What is read.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// A table, or a table by one of its indexes.
    pub(super) from: String,
    /// The columns by whose order it is stored.
    pub(super) key: Vec<(String, KeyKind)>,
    /// What is wanted of each row.
    pub(super) columns: Vec<String>,
    /// The largest number that a key is known to have.
    pub(super) largest: i64,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Outcome {
    /// Whether anything could not be read.
    pub(super) damaged: bool,
    /// Rows that were read, and are none that we write.
    pub(super) misfits: u64,
}

type Key = Vec<Value>;

/// An end of a region: a key, or the first columns of some.
#[derive(Debug, Clone)]
struct Bound {
    key: Key,
    inclusive: bool,
}

#[derive(Debug, Clone, Default)]
struct Region {
    lower: Option<Bound>,
    upper: Option<Bound>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

impl Order {
    /// How a key relates to the next one.
    fn ascent(self) -> Ordering {
        match self {
            Self::Ascending => Ordering::Less,
            Self::Descending => Ordering::Greater,
        }
    }
}

/// Hands all rows that can be read to `take`, each once if the file is not made to deceive; `take` says whether it is one that
/// we write.
pub(super) fn read(
    connection: &Connection,
    pages: u64,
    plan: &Plan,
    take: &mut dyn FnMut(Vec<Value>, How) -> bool,
) -> Outcome {
    let mut scan = Scan { connection, plan, take, outcome: Outcome::default() };
    let mut probes = MIN_PROBES.max(pages.saturating_mul(PROBES_PER_PAGE));
    let dense = i64::try_from(pages.saturating_mul(ROWS_PER_PAGE)).unwrap_or(i64::MAX);
    let limit = dense.max(plan.largest).saturating_add(1);
    let mut gaps = VecDeque::from([Region::default()]);
    while let Some(mut region) = gaps.pop_front() {
        let (end, whole) = scan.pass(&region, Order::Ascending);
        if whole {
            continue;
        }
        scan.outcome.damaged = true;
        region.lower = end.or(region.lower);
        let (end, whole) = scan.pass(&region, Order::Descending);
        if whole {
            continue;
        }
        region.upper = end.or(region.upper);
        let kinds: Vec<KeyKind> = plan.key.iter().map(|(_, kind)| *kind).collect();
        probes = probes.saturating_sub(2);
        if let Some(middle) = middle(&region, &kinds, limit).filter(|_| probes > 0) {
            let upper = Some(Bound { key: middle.clone(), inclusive: false });
            gaps.push_back(Region { lower: region.lower, upper });
            let lower = Some(Bound { key: middle, inclusive: true });
            gaps.push_back(Region { lower, upper: region.upper });
        }
    }
    if scan.outcome.damaged && plan.key[0].1 == KeyKind::Int {
        let end = if plan.largest > 0 { plan.largest.saturating_add(1) } else { limit };
        (end.saturating_sub(LOOKUPS).max(0)..end).for_each(|number| scan.look_up(number));
    }
    scan.outcome
}

struct Scan<'a> {
    connection: &'a Connection,
    plan: &'a Plan,
    take: &'a mut dyn FnMut(Vec<Value>, How) -> bool,
    outcome: Outcome,
}

impl Scan<'_> {
    /// Reads until the end of the region, or an error. Gives where the rest begins, and whether there is none.
    fn pass(&mut self, region: &Region, order: Order) -> (Option<Bound>, bool) {
        let (from, until) = match order {
            Order::Ascending => (&region.lower, &region.upper),
            Order::Descending => (&region.upper, &region.lower),
        };
        let Ok(mut statement) = self.connection.prepare_cached(&self.sql(from.as_ref(), order)) else {
            return (None, false);
        };
        let bound = from.iter().flat_map(|bound| bound.key.iter());
        let Ok(mut rows) = statement.query(params_from_iter(bound)) else { return (None, false) };
        // A row is taken when the next one is behind it.
        let mut last: Option<(Key, Option<Vec<Value>>)> = None;
        let mut strays = 0;
        let whole = loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => break true,
                Err(_) => break false,
            };
            let Some(key) = self.key(row) else { break false };
            if !contains(from.as_ref(), until.as_ref(), order, &key) {
                // The end is not told by SQLite, and not by one row: it may be where it does not belong.
                strays += 1;
                match strays {
                    1..STRAYS => continue,
                    _ => break is_behind(until.as_ref(), order, &key),
                }
            }
            strays = 0;
            if last.as_ref().is_some_and(|(last, _)| compare(last, &key) != order.ascent()) {
                // One of the two is where it does not belong: both are looked for again, at their places.
                return (Some(Bound { key, inclusive: true }), false);
            }
            if let Some((_, values)) = last.replace((key, self.values(row))) {
                self.accept(values);
            }
        };
        let end = last.map(|(key, values)| {
            self.accept(values);
            Bound { key, inclusive: false }
        });
        (end, whole)
    }

    /// Reads the rows whose keys begin with a number, until an error.
    fn look_up(&mut self, number: i64) {
        let columns = self.plan.columns.join(", ");
        let sql = format!("SELECT {columns} FROM {} WHERE {} = ?1", self.plan.from, self.plan.key[0].0);
        let Ok(mut statement) = self.connection.prepare_cached(&sql) else { return };
        let Ok(mut rows) = statement.query([number]) else { return };
        while let Ok(Some(row)) = rows.next() {
            if let Some(values) = self.values(row) {
                // What does not fit was counted when it was passed.
                (self.take)(values, How::LookedUp);
            }
        }
    }

    fn accept(&mut self, values: Option<Vec<Value>>) {
        if !values.is_some_and(|values| (self.take)(values, How::Passed)) {
            self.outcome.misfits += 1;
        }
    }

    fn sql(&self, from: Option<&Bound>, order: Order) -> String {
        let names: Vec<&str> = self.plan.key.iter().map(|(name, _)| name.as_str()).collect();
        let filter = from.map_or_else(String::new, |bound| {
            let sign = if order == Order::Ascending { ">" } else { "<" };
            let equal = if bound.inclusive { "=" } else { "" };
            let marks = vec!["?"; bound.key.len()].join(", ");
            format!("WHERE ({}) {sign}{equal} ({marks})", names[..bound.key.len()].join(", "))
        });
        let direction = if order == Order::Ascending { "" } else { " DESC" };
        let sorted: Vec<String> = names.iter().map(|name| format!("{name}{direction}")).collect();
        let columns: Vec<&str> =
            self.plan.columns.iter().map(String::as_str).chain(names.iter().copied()).collect();
        format!(
            "SELECT {} FROM {} {filter} ORDER BY {}",
            columns.join(", "),
            self.plan.from,
            sorted.join(", ")
        )
    }

    fn key(&self, row: &Row<'_>) -> Option<Key> {
        let first = self.plan.columns.len();
        let one = |(place, (_, kind)): (usize, &(String, KeyKind))| match (
            kind,
            row.get_ref(first + place).ok()?,
        ) {
            (KeyKind::Int, ValueRef::Integer(number)) => Some(Value::Integer(number)),
            (KeyKind::Text, ValueRef::Text(text)) => {
                Some(Value::Text(std::str::from_utf8(text).ok()?.to_owned()))
            }
            _ => None,
        };
        self.plan.key.iter().enumerate().map(one).collect()
    }

    fn values(&self, row: &Row<'_>) -> Option<Vec<Value>> {
        (0..self.plan.columns.len()).map(|column| row.get(column).ok()).collect()
    }
}

/// The order of SQLite, of two keys or of the first columns of one.
fn compare(a: &[Value], b: &[Value]) -> Ordering {
    let one = |(a, b): (&Value, &Value)| match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        _ => Ordering::Equal,
    };
    a.iter().zip(b).map(one).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Whether a key is within a region that is read from one end until the other.
fn contains(from: Option<&Bound>, until: Option<&Bound>, order: Order, key: &[Value]) -> bool {
    let begun = from.is_none_or(|bound| match compare(&bound.key, key) {
        Ordering::Equal => bound.inclusive,
        relation => relation == order.ascent(),
    });
    begun && !is_behind(until, order, key)
}

/// Whether a key is behind the end of a region.
fn is_behind(until: Option<&Bound>, order: Order, key: &[Value]) -> bool {
    until.is_some_and(|bound| match compare(&bound.key, key) {
        Ordering::Equal => !bound.inclusive,
        relation => relation == order.ascent(),
    })
}

/// A key, or the first columns of some, that cuts a region into two smaller ones. Numbers are looked for below `limit`.
fn middle(region: &Region, kinds: &[KeyKind], limit: i64) -> Option<Key> {
    let mut lower = region.lower.as_ref().map_or(&[][..], |bound| &bound.key);
    let mut upper = region.upper.as_ref().map_or(&[][..], |bound| &bound.key);
    let mut prefix = Vec::new();
    for kind in kinds {
        let (a, b) = (split(&mut lower), split(&mut upper));
        if let (Some(a), Some(b)) = (&a, &b)
            && compare(std::slice::from_ref(a), std::slice::from_ref(b)).is_eq()
        {
            prefix.push(a.clone());
            continue;
        }
        let between = match kind {
            KeyKind::Int => between_ints(a.as_ref(), b.as_ref(), limit).map(Value::Integer),
            KeyKind::Text => between_texts(a.as_ref(), b.as_ref()).map(Value::Text),
        };
        if let Some(between) = between {
            prefix.push(between);
            return Some(prefix);
        }
        // Nothing is between the two: those with the first of them are one half.
        if let Some(b) = b.filter(|_| !upper.is_empty()) {
            prefix.push(b);
            return Some(prefix);
        }
        upper = &[];
        prefix.push(a?);
    }
    None
}

fn split(key: &mut &[Value]) -> Option<Value> {
    let (first, rest) = key.split_first()?;
    *key = rest;
    Some(first.clone())
}

fn between_ints(a: Option<&Value>, b: Option<&Value>, limit: i64) -> Option<i64> {
    let number = |value: Option<&Value>, without: i64| match value {
        Some(Value::Integer(number)) => *number,
        _ => without,
    };
    let (a, b) = (number(a, -1), number(b, limit));
    let middle = a.checked_add(b.checked_sub(a)? / 2)?;
    (a < middle && middle < b).then_some(middle)
}

/// A text of printable ASCII between two others, if there is one that their next characters tell.
fn between_texts(a: Option<&Value>, b: Option<&Value>) -> Option<String> {
    let text = |value: Option<&Value>| match value {
        Some(Value::Text(text)) => text.clone().into_bytes(),
        _ => Vec::new(),
    };
    let ends = b.is_some();
    let (a, b) = (text(a), text(b));
    let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    // Not within a character.
    let common = (0..=common).rev().find(|&at| std::str::from_utf8(&a[..at]).is_ok())?;
    let number = |bytes: &[u8], missing: u128| {
        (0..DIGITS).fold(0, |number, place| {
            let digit =
                bytes.get(place).map_or(missing, |byte| u128::from(byte.clamp(&FIRST, &0x7e) - FIRST) + 1);
            number * BASE + digit
        })
    };
    let low = number(&a[common..], 0);
    let high = if ends { number(&b[common..], 0) } else { number(&[], BASE - 1) };
    let middle = low.checked_add(high.checked_sub(low)? / 2)?;
    let mut made = a[..common].to_vec();
    for place in (0..DIGITS).rev() {
        match u8::try_from(middle / BASE.pow(u32::try_from(place).ok()?) % BASE).ok()? {
            0 => break,
            digit => made.push(digit - 1 + FIRST),
        }
    }
    let fits = a < made && (!ends || made < b);
    String::from_utf8(made).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn bound(key: &[Value], inclusive: bool) -> Option<Bound> {
        Some(Bound { key: key.to_vec(), inclusive })
    }

    #[test]
    fn the_middle_is_between_the_ends() {
        let ints = |a, b| between_ints(Some(&Value::Integer(a)), Some(&Value::Integer(b)), 100);
        assert_eq!((ints(1, 3), ints(1, 2), ints(-4, 4)), (Some(2), None, Some(0)));
        assert_eq!(
            (between_ints(None, None, 101), between_ints(Some(&Value::Integer(200)), None, 101)),
            (Some(50), None)
        );
        for (a, b) in
            [("a", "c"), ("sha256:00", "sha256:01"), ("", "b"), ("aé", "aü"), ("x", "x1"), ("é", "ü")]
        {
            let made = between_texts(Some(&text(a)), Some(&text(b)));
            assert!(
                made.as_ref().is_none_or(|made| a < made.as_str() && made.as_str() < b),
                "{a} {b} {made:?}"
            );
            assert!(made.is_some() || !a.is_ascii(), "{a} {b}");
        }
        assert!(between_texts(Some(&text("b")), None).unwrap().as_str() > "b");
    }

    #[test]
    fn every_cut_is_smaller_on_both_sides() {
        use KeyKind::{Int, Text};
        let one = Value::Integer(1);
        let two = Value::Integer(2);
        let region = |lower, upper| Region { lower, upper };
        let at = |lower: &[Value], upper: &[Value], kinds: &[KeyKind]| {
            middle(&region(bound(lower, false), bound(upper, false)), kinds, 100)
        };
        assert_eq!(at(std::slice::from_ref(&one), std::slice::from_ref(&two), &[Int]), None);
        // Those of 1 after "a", and those of 2 before "b".
        let cut = at(&[one.clone(), text("a")], &[two.clone(), text("b")], &[Int, Text]);
        assert_eq!(cut, Some(vec![two.clone()]));
        // Of the first half, only the second column is left.
        let cut = at(&[one.clone(), text("a")], &[two], &[Int, Text]).unwrap();
        assert!(cut[0] == one && compare(&cut[1..], &[text("a")]).is_gt(), "{cut:?}");
    }
}
