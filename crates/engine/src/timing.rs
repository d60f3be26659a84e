//! Where the time of an operation goes: for whoever looks for milliseconds.

use std::time::{Duration, Instant};

/// The most steps of one operation.
const STEPS: usize = 10;

/// The steps of an operation in their order, and how long each took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timings {
    began: Instant,
    last: Instant,
    steps: Vec<(&'static str, Duration)>,
}

impl Default for Timings {
    /// Begins now.
    fn default() -> Self {
        let now = Instant::now();
        Self { began: now, last: now, steps: Vec::new() }
    }
}

impl Timings {
    /// A step has come to its end.
    pub(crate) fn step(&mut self, name: &'static str) {
        let now = Instant::now();
        if self.steps.is_empty() {
            self.steps.reserve(STEPS);
        }
        self.steps.push((name, now.saturating_duration_since(self.last)));
        self.last = now;
    }

    /// The steps.
    pub fn steps(&self) -> &[(&'static str, Duration)] {
        &self.steps
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        self.last.saturating_duration_since(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other() {
        let mut timings = Timings::default();
        timings.step("one");
        timings.step("two");
        let names: Vec<&str> = timings.steps().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(timings.steps().iter().map(|(_, took)| *took).sum::<Duration>(), timings.total());
    }
}
