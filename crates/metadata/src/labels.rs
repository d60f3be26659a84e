//! What labels mean to the collector (containerd's `gc.*` labels).

use gantry_types::Labels;
use gantry_types::labels::{GC_EXPIRE, GC_FLAT, GC_ROOT};

use crate::node::Kind;
use crate::time;

const PREFIX: &str = "containerd.io/gc.";
const REF_CONTENT: &str = "ref.content";
const REF_IMAGE: &str = "ref.image";
const REF_SNAPSHOT: &str = "ref.snapshot.";
const BACK_CONTENT: &str = "bref.content";
const BACK_IMAGE: &str = "bref.image";
const BACK_CONTAINER: &str = "bref.container";
const BACK_SNAPSHOT: &str = "bref.snapshot.";
const CONDITION: &str = "cond.snapshot";
const USED_AT: &str = "containerd.io/gc.cond.value-usedat";

/// How an edge counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Rule {
    /// Who carries the label keeps the target.
    Reference = 1,
    /// The target keeps who carries the label.
    Back = 2,
    /// A reference while the target was used less than `age` ago.
    UsedLess = 3,
    /// A reference while the target was used more than `age` ago.
    UsedMore = 4,
}

impl Rule {
    pub(crate) fn code(self) -> i64 {
        i64::from(self as u8)
    }
}

/// An edge as a label says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge<'a> {
    pub(crate) rule: Rule,
    pub(crate) kind: Kind,
    /// Of a snapshot; empty for the others.
    pub(crate) driver: &'a str,
    pub(crate) key: &'a str,
    /// Nanoseconds, for the conditional rules.
    pub(crate) age: i64,
}

/// What the labels of one record say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Meaning<'a> {
    pub(crate) root: bool,
    pub(crate) expires: Option<i64>,
    pub(crate) flat: bool,
    pub(crate) used: Option<i64>,
    pub(crate) edges: Vec<Edge<'a>>,
}

impl<'a> Meaning<'a> {
    pub(crate) fn of(labels: &'a Labels) -> Self {
        let mut meaning = Self::default();
        for (key, value) in labels {
            if let Some(rest) = key.strip_prefix(PREFIX) {
                meaning.read(key, rest, value);
            }
        }
        meaning.edges.sort();
        meaning.edges.dedup();
        meaning
    }

    fn read(&mut self, key: &'a str, rest: &'a str, value: &'a str) {
        match key {
            GC_EXPIRE => {
                self.expires = time::parse_rfc3339(value);
                if self.expires.is_none() {
                    tracing::info!(value, "an expiry that is no time is ignored");
                }
            }
            GC_FLAT => self.flat = true,
            USED_AT => self.used = time::parse_rfc3339(value),
            // containerd takes whatever begins with it.
            _ if key.starts_with(GC_ROOT) => self.root = true,
            _ => self.reference(rest, value),
        }
    }

    fn reference(&mut self, rest: &'a str, value: &'a str) {
        let plain = [
            (REF_CONTENT, Rule::Reference, Kind::Content),
            (REF_IMAGE, Rule::Reference, Kind::Image),
            (BACK_CONTENT, Rule::Back, Kind::Content),
            (BACK_IMAGE, Rule::Back, Kind::Image),
            (BACK_CONTAINER, Rule::Back, Kind::Container),
        ];
        for (name, rule, kind) in plain {
            // What follows a `.` or `/` only tells several of them apart.
            if let Some(suffix) = rest.strip_prefix(name) {
                if suffix.is_empty() || suffix.starts_with(['.', '/']) {
                    self.edges.push(Edge { rule, kind, driver: "", key: value, age: 0 });
                }
                return;
            }
        }
        for (name, rule) in [(REF_SNAPSHOT, Rule::Reference), (BACK_SNAPSHOT, Rule::Back)] {
            if let Some(driver) = rest.strip_prefix(name) {
                let driver = driver.split('/').next().unwrap_or_default();
                self.edges.push(Edge { rule, kind: Kind::Snapshot, driver, key: value, age: 0 });
                return;
            }
        }
        if let Some(driver) = rest.strip_prefix(CONDITION) {
            let driver = driver.trim_start_matches(['.', '/']).split('/').next().unwrap_or_default();
            self.conditions(driver, value);
        }
    }

    /// `condition[,condition…]|key`, of which one has to hold.
    fn conditions(&mut self, driver: &'a str, value: &'a str) {
        let Some((conditions, key)) = value.split_once('|') else { return };
        for condition in conditions.split(',') {
            let Some(at) = condition.find(['!', '<', '>', '=']) else { continue };
            let (name, operation) = condition.split_at(at);
            let (rule, age) = match operation.as_bytes() {
                // Neither `<=` nor any other: usedat is compared by order alone.
                [b'<', rest @ ..] if !rest.starts_with(b"=") => (Rule::UsedLess, &operation[1..]),
                [b'>', rest @ ..] if !rest.starts_with(b"=") => (Rule::UsedMore, &operation[1..]),
                _ => continue,
            };
            if name != "usedat" {
                continue;
            }
            if let Some(age) = time::parse_duration(age) {
                self.edges.push(Edge { rule, kind: Kind::Snapshot, driver, key, age });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(key: &str, value: &str) -> Vec<(Rule, Kind, String, String, i64)> {
        let labels = Labels::from([(key.to_owned(), value.to_owned())]);
        let meaning = Meaning::of(&labels);
        meaning.edges.iter().map(|e| (e.rule, e.kind, e.driver.into(), e.key.into(), e.age)).collect()
    }

    #[test]
    fn references_are_those_of_containerd() {
        let one = |rule, kind, driver: &str, key: &str| vec![(rule, kind, driver.into(), key.into(), 0)];
        for (key, expected) in [
            ("containerd.io/gc.ref.content", one(Rule::Reference, Kind::Content, "", "v")),
            ("containerd.io/gc.ref.content.l.0", one(Rule::Reference, Kind::Content, "", "v")),
            ("containerd.io/gc.ref.content/x", one(Rule::Reference, Kind::Content, "", "v")),
            ("containerd.io/gc.ref.contents", vec![]),
            ("containerd.io/gc.ref.image.a", one(Rule::Reference, Kind::Image, "", "v")),
            (
                "containerd.io/gc.ref.snapshot.overlayfs",
                one(Rule::Reference, Kind::Snapshot, "overlayfs", "v"),
            ),
            ("containerd.io/gc.ref.snapshot.a.b/x.y", one(Rule::Reference, Kind::Snapshot, "a.b", "v")),
            ("containerd.io/gc.ref.snapshot", vec![]),
            ("containerd.io/gc.bref.container", one(Rule::Back, Kind::Container, "", "v")),
            ("containerd.io/gc.bref.image.x", one(Rule::Back, Kind::Image, "", "v")),
            ("containerd.io/gc.bref.content/x", one(Rule::Back, Kind::Content, "", "v")),
            ("containerd.io/gc.bref.snapshot.n/1", one(Rule::Back, Kind::Snapshot, "n", "v")),
            ("containerd.io/gc.ref.other", vec![]),
            ("com.example/gc.ref.content", vec![]),
        ] {
            assert_eq!(edges(key, "v"), expected, "{key}");
        }
    }

    #[test]
    fn conditions_are_those_of_containerd() {
        let hour = 3_600_000_000_000;
        let less = (Rule::UsedLess, Kind::Snapshot, "o".to_owned(), "k|1".to_owned(), hour);
        let more = (Rule::UsedMore, Kind::Snapshot, "o".to_owned(), "k|1".to_owned(), 2 * hour);
        for (value, expected) in [
            ("usedat<1h|k|1", vec![less.clone()]),
            ("usedat<1h,usedat>2h|k|1", vec![less.clone(), more]),
            ("usedat<=1h|k", vec![]),
            ("usedat=1h|k", vec![]),
            ("size<1|k", vec![]),
            ("usedat<1h", vec![]),
            ("|k", vec![]),
        ] {
            assert_eq!(edges("containerd.io/gc.cond.snapshot.o/n", value), expected, "{value}");
        }
    }

    #[test]
    fn roots_and_times_are_read() {
        let labels = Labels::from([
            (GC_ROOT.to_owned(), "x".to_owned()),
            (GC_EXPIRE.to_owned(), "1970-01-01T00:00:01Z".to_owned()),
            (USED_AT.to_owned(), "nonsense".to_owned()),
        ]);
        let meaning = Meaning::of(&labels);
        assert_eq!((meaning.root, meaning.expires, meaning.used), (true, Some(1_000_000_000), None));
    }
}
