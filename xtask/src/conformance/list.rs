//! The lists of what is expected: `pass NAME`, or `skip NAME: reason` for what does not pass, a line each.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use super::{Outcome, Results};

/// What is expected of each test: nothing but that it passes, or the reason why it does not.
pub(crate) struct List(BTreeMap<String, Option<String>>);

/// Results beside a list.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// How many passed, listed or not.
    pub(crate) passed: usize,
    /// How many did not, as the list says.
    pub(crate) excused: usize,
    /// What ought to have passed, or is not listed and did not.
    pub(crate) worse: Vec<String>,
    /// What passed against the list, or is not listed and passed.
    pub(crate) better: Vec<String>,
}

impl List {
    pub(crate) fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut tests = BTreeMap::new();
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, reason) = match line.split_once(' ') {
                Some(("pass", name)) => (name, None),
                Some(("skip", rest)) => rest
                    .split_once(": ")
                    .map(|(name, reason)| (name, Some(reason.to_owned())))
                    .ok_or_else(|| format!("line {number}: a test that is skipped needs a reason"))?,
                _ => return Err(format!("line {number}: neither `pass NAME` nor `skip NAME: reason`")),
            };
            if tests.insert(name.to_owned(), reason).is_some() {
                return Err(format!("line {number}: {name} is listed twice"));
            }
        }
        Ok(Self(tests))
    }

    /// Every listed test counts, also one that left no result: its program has died or hung before it.
    pub(crate) fn compare(&self, results: &Results) -> Comparison {
        let mut comparison = Comparison::default();
        for (name, reason) in &self.0 {
            match (results.get(name), reason) {
                (Some(Outcome::Pass), None) => {}
                (Some(Outcome::Pass), Some(reason)) => {
                    comparison.better.push(format!("{name} passes, listed as: {reason}"));
                }
                (_, Some(_)) => comparison.excused += 1,
                (Some(outcome), None) => comparison.worse.push(format!("{name}: {}", outcome.word())),
                (None, None) if part_passed(name, results) => {}
                (None, None) => comparison.worse.push(format!("{name}: no result")),
            }
        }
        for (name, outcome) in results.iter().filter(|(name, _)| !self.0.contains_key(*name)) {
            match outcome {
                // What does not fail in a part that does as a whole may be listed, and need not.
                Outcome::Pass | Outcome::Skip if part(name).is_some_and(|part| self.0.contains_key(part)) => {
                }
                Outcome::Pass => comparison.better.push(format!("{name} passes, not listed")),
                _ => comparison.worse.push(format!("{name}: {}, not listed", outcome.word())),
            }
        }
        comparison.passed = results.values().filter(|outcome| **outcome == Outcome::Pass).count();
        comparison
    }
}

/// Whether the part to which `name` belongs has passed as a whole: its tests are not told then.
fn part_passed(name: &str, results: &Results) -> bool {
    part(name).is_some_and(|part| results.get(part) == Some(&Outcome::Pass))
}

fn part(name: &str) -> Option<&str> {
    name.split_once('/').map(|(part, _)| part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(list: &str, results: &[(&str, Outcome)]) -> Comparison {
        let results = results.iter().map(|(name, outcome)| ((*name).to_owned(), *outcome)).collect();
        List::parse(list).unwrap().compare(&results)
    }

    #[test]
    fn expected_results_are_neither_worse_nor_better() {
        let list = "# comment\npass a/one\nskip a/two: the peer does not, either\nskip a/three: hangs\n";
        let found = compare(list, &[("a/one", Outcome::Pass), ("a/two", Outcome::Skip)]);
        assert_eq!((found.passed, found.excused, found.worse.len(), found.better.len()), (1, 2, 0, 0));
    }

    #[test]
    fn listed_test_without_a_result_is_worse() {
        assert_eq!(compare("pass a/one", &[]).worse, ["a/one: no result"]);
    }

    #[test]
    fn part_that_passed_stands_for_its_tests() {
        let found = compare("skip a: the peer does not, either\npass a/one", &[("a", Outcome::Pass)]);
        assert_eq!((found.better.len(), found.worse.len()), (1, 0));
    }

    #[test]
    fn tests_of_a_listed_part_may_be_left_out_if_they_pass() {
        let results = [("a", Outcome::Fail), ("a/one", Outcome::Pass), ("a/two", Outcome::Fail)];
        let found = compare("skip a: fails with the peer, too", &results);
        assert_eq!((found.better.len(), found.worse), (0, vec!["a/two: fail, not listed".to_owned()]));
    }

    #[test]
    fn skipping_what_has_to_pass_is_worse() {
        assert_eq!(compare("pass a/one", &[("a/one", Outcome::Skip)]).worse, ["a/one: skip"]);
    }

    #[test]
    fn unlisted_tests_are_shown() {
        let found = compare("", &[("a/one", Outcome::Fail), ("a/two", Outcome::Pass)]);
        assert_eq!((found.worse.len(), found.better.len()), (1, 1));
    }

    #[test]
    fn malformed_lists_are_refused() {
        for list in ["skip a/one", "fail a/one", "pass a/one\nskip a/one: twice"] {
            assert!(List::parse(list).is_err(), "{list}");
        }
    }
}
