//! Medians, percentiles, ratios and their table.

use std::time::Duration;

/// Measurements of one runtime.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    samples: Vec<Duration>,
    pub(crate) peak_rss_kib: u64,
}

impl Series {
    pub(crate) fn new(name: &str) -> Self {
        Series { name: name.to_owned(), samples: Vec::new(), peak_rss_kib: 0 }
    }

    pub(crate) fn add(&mut self, sample: Duration) {
        self.samples.push(sample);
    }

    pub(crate) fn note_rss(&mut self, kib: u64) {
        self.peak_rss_kib = self.peak_rss_kib.max(kib);
    }

    /// The sample below which `percent` of them lie.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Prints a table; the first series is ours, and what all of them have in common (`base`) is subtracted for ratios.
pub(crate) fn print(title: &str, series: &[Series], base: Duration) {
    println!("\n## {title}");
    if base > Duration::ZERO {
        println!("(the harness's own part, {:.2} ms, is subtracted)", ms(base));
    }
    println!("| runtime | min ms | median ms | p99 ms | peak RSS KiB | ours / it |");
    println!("|---|---|---|---|---|---|");
    let less = |duration: Duration| duration.saturating_sub(base);
    let ours = series.first().map(|first| ms(less(first.median()))).unwrap_or_default();
    for one in series {
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {} | {:.2} |",
            one.name,
            ms(less(one.percentile(0))),
            ms(less(one.median())),
            ms(less(one.percentile(99))),
            one.peak_rss_kib,
            ours / ms(less(one.median())).max(f64::MIN_POSITIVE),
        );
    }
}
