//! The table: medians, and ours to each of the others.

use std::time::Duration;

use super::round::Sample;

/// Everything that was measured of one image.
#[derive(Debug)]
pub(crate) struct Report {
    image: String,
    rows: Vec<(String, Vec<Sample>)>,
}

impl Report {
    pub(crate) fn new(image: &str) -> Self {
        Self { image: image.to_owned(), rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, engine: &str, sample: Sample) {
        match self.rows.iter_mut().find(|row| row.0 == engine) {
            Some(row) => row.1.push(sample),
            None => self.rows.push((engine.to_owned(), vec![sample])),
        }
    }

    /// The median of each engine's pulls.
    pub(crate) fn walls(&self) -> Vec<(String, Duration)> {
        let wall =
            |samples: &[Sample]| Duration::from_secs_f64(median(samples, |sample| sample.wall.as_secs_f64()));
        self.rows.iter().map(|(name, samples)| (name.clone(), wall(samples))).collect()
    }

    /// Prints it; ratios are those of the first row to each other one.
    pub(crate) fn print(&self) {
        let Some((first, ours)) = self.rows.first() else { return };
        println!(
            "\n## Pull, {} ({} times each; stores and registry on tmpfs; medians)",
            self.image,
            ours.len()
        );
        println!(
            "| engine | wall s | {first} / it | CPU s (daemon + client) | {first} / it | MiB over idle | peak RSS MiB | \
             present ms | less a round trip | cold start ms | idle MiB |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        let wall = median(ours, |sample| sample.wall.as_secs_f64());
        let cpu = median(ours, |sample| sample.cpu().as_secs_f64());
        for (name, samples) in &self.rows {
            let of = |value: fn(&Sample) -> f64| median(samples, value);
            println!(
                "| {name} | {:.2} | {:.2} | {:.2} ({:.2} + {:.2}) | {:.2} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} | {:.1} |",
                of(|sample| sample.wall.as_secs_f64()),
                wall / of(|sample| sample.wall.as_secs_f64()),
                of(|sample| sample.cpu().as_secs_f64()),
                of(|sample| sample.daemon_cpu.as_secs_f64()),
                of(|sample| sample.client_cpu.as_secs_f64()),
                cpu / of(|sample| sample.cpu().as_secs_f64()),
                of(|sample| mib(sample.over_idle_kib)),
                of(|sample| mib(sample.high_water_kib)),
                of(|sample| ms(sample.present)),
                of(|sample| ms(sample.present.saturating_sub(sample.trip))),
                of(|sample| ms(sample.start)),
                of(|sample| mib(sample.idle_kib)),
            );
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[allow(clippy::cast_precision_loss, reason = "sizes of memory")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn median(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
