//! The log: text or JSON on standard error, with a level that a reload changes.

use std::io::IsTerminal as _;

use anyhow::{Context, Result};
use gantry_config::{Level, LogFormat};
use gantry_primitives::SPANS;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use super::traces::Traces;

/// Changes the level of the log.
#[derive(Debug, Clone)]
pub(crate) struct Log(reload::Handle<Targets, Registry>);

impl Log {
    /// Begins the process's log.
    ///
    /// Where spans are sent, each of the two sees its own.
    pub(crate) fn start(level: Level, format: LogFormat, traces: Option<&Traces>) -> Result<Self> {
        let (filter, handle) = reload::Layer::new(filter(level));
        let registry = tracing_subscriber::registry();
        match traces {
            None => registry.with(filter).with(output(format)).try_init(),
            Some(traces) => registry.with(output(format).with_filter(filter)).with(traces.layer()).try_init(),
        }
        .context("cannot log")?;
        Ok(Self(handle))
    }

    /// From now on, entries below this level are left out.
    pub(crate) fn set(&self, level: Level) {
        if let Err(error) = self.0.reload(filter(level)) {
            tracing::warn!(%error, "the level of the log stays");
        }
    }
}

fn output<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let output = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => output.boxed(),
        LogFormat::Json => output.json().flatten_event(true).with_current_span(false).boxed(),
    }
}

/// The libraries below us that tell of every frame.
const TALKATIVE: [&str; 5] = ["h2", "hyper", "rustls", "tonic", "tower"];

fn filter(level: Level) -> Targets {
    let level = match level {
        Level::Trace => LevelFilter::TRACE,
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    let theirs = level.min(LevelFilter::INFO);
    let talkative = TALKATIVE.map(|target| (target, theirs));
    // Spans are for traces: no entry of the log needs them.
    Targets::new().with_default(level).with_targets(talkative).with_target(SPANS, LevelFilter::OFF)
}
