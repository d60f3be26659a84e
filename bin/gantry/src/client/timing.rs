//! How long requests took, for `run --timing`.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};

/// Steps and their times.
#[derive(Default)]
pub(crate) struct Timings {
    is_on: Cell<bool>,
    steps: RefCell<Vec<Step>>,
}

/// A step.
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    /// What the engine says of it: `Server-Timing`.
    pub(crate) server: Vec<(String, f64)>,
}

/// A step that has begun.
pub(crate) struct Clock(Option<(String, Instant)>);

impl Timings {
    pub(crate) fn turn_on(&self) {
        self.is_on.set(true);
    }

    pub(crate) fn begin(&self, method: &Method, path: &str) -> Clock {
        Clock(self.is_on.get().then(|| (format!("{method} {}", shorten(path)), Instant::now())))
    }

    pub(crate) fn end(&self, clock: Clock, headers: &HeaderMap) {
        if let Some((name, began)) = clock.0 {
            let server = headers.get_all("server-timing").iter().filter_map(|value| value.to_str().ok());
            let server = server.flat_map(parse).collect();
            self.steps.borrow_mut().push(Step { name, began, took: began.elapsed(), server });
        }
    }

    /// Adds a step of our own.
    pub(crate) fn add(&self, name: &str, began: Instant) {
        if self.is_on.get() {
            let step = Step { name: name.into(), began, took: began.elapsed(), server: Vec::new() };
            self.steps.borrow_mut().push(step);
        }
    }

    pub(crate) fn take(&self) -> Vec<Step> {
        let mut steps = self.steps.take();
        steps.sort_by_key(|step| step.began);
        steps
    }
}

/// Long ids tell nothing here.
fn shorten(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.len() == 64 { &part[..12] } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// `name;dur=1.5, other;desc="x";dur=2`.
fn parse(value: &str) -> Vec<(String, f64)> {
    let entry = |entry: &str| {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let duration = parts.find_map(|part| part.strip_prefix("dur="))?.parse().ok()?;
        Some((name.to_owned(), duration))
    };
    value.split(',').filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn server_timings_are_read() {
        let read = super::parse("shim;dur=1.5, net;desc=\"a\";dur=2, x, ;dur=1");
        assert_eq!(read, [("shim".to_owned(), 1.5), ("net".to_owned(), 2.0)]);
    }
}
