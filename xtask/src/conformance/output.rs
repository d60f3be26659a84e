//! What the suites print.

use super::{Outcome, Results};

/// How the results are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The Test Anything Protocol.
    Tap,
    /// contest's `1 / 2 : name : ok`.
    Contest,
    /// `--- PASS: Test/case (0.10s)` of Go's test programs.
    Go,
}

/// Reads what the part `part` of a suite has printed.
///
/// Names are `part/test`. They contain no `: `, which ends a name in the lists. Where one is used twice, the worse
/// outcome counts.
pub(crate) fn parse(format: Format, part: &str, text: &str) -> Results {
    let mut results = Results::new();
    for (name, outcome) in text.lines().filter_map(|line| match format {
        Format::Tap => tap(line),
        Format::Contest => contest(line),
        Format::Go => go(line),
    }) {
        let name = format!("{part}/{}", name.trim().replace(": ", ":"));
        let worst = results.entry(name).or_insert(outcome);
        *worst = outcome.max(*worst);
    }
    results
}

/// `ok 1 - name # 0.1s`, `not ok 2 name`, `ok 3 name # skip reason`. A test without a name has its number.
fn tap(line: &str) -> Option<(&str, Outcome)> {
    let (rest, outcome) = match line.strip_prefix("not ok ") {
        Some(rest) => (rest, Outcome::Fail),
        None => (line.strip_prefix("ok ")?, Outcome::Pass),
    };
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    number.parse::<u32>().ok()?;
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let padded = format!(" {rest}");
    let cut = [" # ", " #SKIP"].iter().filter_map(|mark| padded.find(mark)).min().unwrap_or(rest.len());
    let (name, remark) = rest.split_at(cut);
    let name = if name.trim().is_empty() { number } else { name };
    let skipped =
        remark.trim_start_matches([' ', '#']).get(..4).is_some_and(|word| word.eq_ignore_ascii_case("skip"));
    Some((name, if skipped && outcome == Outcome::Pass { Outcome::Skip } else { outcome }))
}

fn contest(line: &str) -> Option<(&str, Outcome)> {
    let (counter, rest) = line.split_once(" : ")?;
    let (index, count) = counter.split_once(" / ")?;
    index.parse::<u32>().and(count.parse::<u32>()).ok()?;
    let (name, word) = rest.rsplit_once(" : ")?;
    let outcome = match word {
        "ok" => Outcome::Pass,
        "skipped" => Outcome::Skip,
        _ => Outcome::Fail,
    };
    Some((name, outcome))
}

/// With `-test.v=test2json` a control character comes before what the framework prints: what tests print need not end its line.
fn go(line: &str) -> Option<(&str, Outcome)> {
    let line = line.rsplit_once('\u{16}').map_or(line, |(_, rest)| rest);
    let (word, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
    let outcome = match word {
        "PASS" => Outcome::Pass,
        "SKIP" => Outcome::Skip,
        "FAIL" => Outcome::Fail,
        _ => return None,
    };
    Some((rest.rsplit_once(" (")?.0, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, text: &str, expect: &[(&str, Outcome)]) {
        let expect: Results = expect.iter().map(|(name, outcome)| ((*name).to_owned(), *outcome)).collect();
        assert_eq!(parse(format, "part", text), expect);
    }

    #[test]
    fn tap_of_each_suite_is_read() {
        let bats =
            "1..3\nok 1 runc run [tmpfs: x]\n# ok 9 no\nnot ok 2 b # timeout after 9s\nok 3 c # skip needs d";
        let expect = [
            ("part/runc run [tmpfs:x]", Outcome::Pass),
            ("part/b", Outcome::Fail),
            ("part/c", Outcome::Skip),
        ];
        check(Format::Tap, bats, &expect);
        let crun = "ok 1 - a # 0.050s\nok 2 - b #SKIP no netns # 0.001s\nnot ok 3 - c # 1.000s";
        check(
            Format::Tap,
            crun,
            &[("part/a", Outcome::Pass), ("part/b", Outcome::Skip), ("part/c", Outcome::Fail)],
        );
    }

    #[test]
    fn tests_without_names_have_their_numbers() {
        let expect = [("part/1", Outcome::Pass), ("part/2", Outcome::Skip)];
        check(Format::Tap, "ok 1\nok 2 # SKIP no reason\nok then\n", &expect);
    }

    #[test]
    fn name_that_is_used_twice_has_the_worse_outcome() {
        check(Format::Tap, "not ok 1 - a\nok 2 - a", &[("part/a", Outcome::Fail)]);
    }

    #[test]
    fn tests_in_go_are_read() {
        let text = "\u{16}=== RUN   TestA\nhello\u{16}--- FAIL: TestA (0.10s)\n\u{16}    --- PASS: TestA/b_c (0.00s)\n\
                    --- SKIP: TestD (0.00s)\n--- of a diff: e (f)";
        let expect =
            [("part/TestA", Outcome::Fail), ("part/TestA/b_c", Outcome::Pass), ("part/TestD", Outcome::Skip)];
        check(Format::Go, text, &expect);
    }

    #[test]
    fn contest_is_read() {
        let text = "# Start group g\n1 / 3 : a : ok\n2 / 3 : b : skipped\n\treason\n3 / 3 : c : not ok\n\t1 : 2 : ok";
        check(
            Format::Contest,
            text,
            &[("part/a", Outcome::Pass), ("part/b", Outcome::Skip), ("part/c", Outcome::Fail)],
        );
    }
}
